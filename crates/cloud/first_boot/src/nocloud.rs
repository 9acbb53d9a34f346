//! The seed as cloud-init's NoCloud data source wants it: a FAT volume with the label CIDATA.

use std::io::{Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use crate::cloud_config::{ConfigError, UserData};
use crate::{Instance, network};

/// Room for two documents of the greatest length.
const VOLUME_BYTES: usize = 1 << 20;

/// The volume's bytes.
pub fn volume(instance: &Instance) -> Result<Vec<u8>, ConfigError> {
    // cloud-init complains on a console that may have nobody before it: what is wrong is said now.
    if let Some(text) = &instance.user_data {
        UserData::look(text)?;
    }
    let network = instance.network_config.as_deref().map(network::look).transpose()?;
    let mut files = vec![
        ("meta-data", meta_data(instance)),
        ("user-data", instance.user_data.clone().unwrap_or_else(|| "#cloud-config\n{}\n".to_owned())),
        ("vendor-data", vendor_data(instance)),
    ];
    files.extend(network.map(|text| ("network-config", text.to_owned())));
    // A volume in memory, large enough: nothing here depends on what the files hold.
    write(&files).map_err(|error| ConfigError::new("seed", format!("cannot be made: {error}")))
}

fn write(files: &[(&str, String)]) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; VOLUME_BYTES];
    let options = FormatVolumeOptions::new().volume_label(*b"CIDATA     ").fat_type(FatType::Fat12);
    fatfs::format_volume(Cursor::new(&mut bytes[..]), options)?;
    {
        let volume = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new())?;
        for (name, text) in files {
            let mut file = volume.root_dir().create_file(name)?;
            file.write_all(text.as_bytes())?;
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
            name: "debian".to_owned(),
            ssh_keys: vec!["ssh-ed25519 AAAA me".to_owned()],
            password: Some("it's \"secret\"".to_owned()),
        };
        let instance = Instance {
            id: "i-1".to_owned(),
            hostname: "web1".to_owned(),
            user,
            user_data: Some("#cloud-config\npackages: [nginx]\n".to_owned()),
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
}
