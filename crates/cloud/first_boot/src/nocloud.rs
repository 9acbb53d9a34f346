//! The seed as cloud-init's NoCloud data source wants it: a FAT volume with the label CIDATA.

use std::io::{Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

use crate::cloud_config::ConfigError;
use crate::{Instance, network, user_data};

/// Length of a volume besides what its files hold, in bytes: a mebibyte is the least that is sensible.
const SPARE_BYTES: usize = 1 << 20;

/// The volume's bytes.
pub fn volume(instance: &Instance) -> Result<Vec<u8>, ConfigError> {
    // cloud-init complains on a console that may have nobody before it: what is wrong is said now.
    if let Some(bytes) = &instance.user_data {
        user_data::look(bytes)?;
    }
    let network = instance.network_config.as_deref().map(network::look).transpose()?;
    let mut files = vec![
        ("meta-data", meta_data(instance).into_bytes()),
        ("user-data", instance.user_data.clone().unwrap_or_else(|| b"#cloud-config\n{}\n".to_vec())),
        ("vendor-data", vendor_data(instance).into_bytes()),
    ];
    files.extend(network.map(|text| ("network-config", text.as_bytes().to_vec())));
    // A volume in memory, large enough: nothing here depends on what the files hold.
    write(&files).map_err(|_| ConfigError::new("seed", "cannot be made"))
}

fn write(files: &[(&str, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let held: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut bytes = vec![0; (SPARE_BYTES + held + held / 8).next_multiple_of(SPARE_BYTES)];
    let options = FormatVolumeOptions::new().volume_label(*b"CIDATA     ");
    fatfs::format_volume(Cursor::new(&mut bytes[..]), options)?;
    {
        let volume = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new())?;
        for (name, contents) in files {
            let mut file = volume.root_dir().create_file(name)?;
            file.write_all(contents)?;
        }
        volume.unmount()?;
    }
    Ok(bytes)
}

/// JSON is YAML, and its writer quotes what has to be.
fn meta_data(instance: &Instance) -> String {
    let value = serde_json::json!({
        "instance-id": instance.id,
        "local-hostname": instance.hostname,
        "public-keys": instance.user.ssh_keys,
    });
    format!("{value}\n")
}

/// Defaults that user data can replace.
fn vendor_data(instance: &Instance) -> String {
    let mut value = serde_json::json!({ "growpart": { "mode": "auto" }, "resize_rootfs": true });
    if let Some(password) = &instance.user.password {
        value["password"] = password.as_str().into();
        value["chpasswd"] = serde_json::json!({ "expire": false });
    }
    format!("#cloud-config\n{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DefaultUser;
    use std::io::Read;

    #[test]
    fn the_volume_has_label_and_files() {
        let user = DefaultUser {
            name: Some("debian".to_owned()),
            ssh_keys: vec!["ssh-ed25519 AAAA me".to_owned()],
            password: Some("it's \"secret\"".to_owned()),
        };
        let instance = Instance {
            id: "i-1".to_owned(),
            hostname: "web1".to_owned(),
            user,
            user_data: Some(b"#cloud-config\npackages: [nginx]\n".to_vec()),
            network_config: None,
        };
        let bytes = volume(&instance).unwrap();
        let volume = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label().trim(), "CIDATA");
        let read = |name: &str| {
            let mut text = String::new();
            volume.root_dir().open_file(name).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let meta: serde_json::Value = serde_json::from_str(&read("meta-data")).unwrap();
        assert_eq!((&meta["instance-id"], &meta["local-hostname"]), (&"i-1".into(), &"web1".into()));
        assert_eq!(meta["public-keys"][0], "ssh-ed25519 AAAA me");
        assert!(read("vendor-data").contains(r#""password":"it's \"secret\"""#));
        assert_eq!(read("user-data"), "#cloud-config\npackages: [nginx]\n");
        assert!(volume.root_dir().open_file("network-config").is_err());
    }

    #[test]
    fn user_data_of_all_lengths_find_room() {
        for length in [1, 60 << 10, 1 << 20, 5_000_001, crate::USER_DATA_MAX_BYTES] {
            let mut text = b"#!/bin/sh\n#".to_vec();
            text.resize(length.max(text.len()), b'x');
            let bytes = volume(&Instance { user_data: Some(text.clone()), ..Instance::default() }).unwrap();
            let volume = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
            let mut read = Vec::new();
            volume.root_dir().open_file("user-data").unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read.len(), text.len());
        }
    }
}
