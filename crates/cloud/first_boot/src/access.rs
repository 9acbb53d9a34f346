//! Whether anybody will be able to log in, as far as user data tells.

use crate::cloud_config::{CloudConfig, ConfigError, Logins, UserEntry};
use crate::fields::quoted;
use crate::user_data::{self, Kind};
use crate::{Instance, SeedReader};

/// Ways into a guest.
#[derive(Clone, Copy, Default)]
struct Ways {
    password: bool,
    key: bool,
}

/// A line for a person where nobody will be able to log in; `has_network` is whether the guest has a card, without which
/// a key is of no use.
///
/// # Errors
/// User data cannot be understood.
pub fn nobody(
    reader: SeedReader,
    instance: &Instance,
    has_network: bool,
) -> Result<Option<String>, ConfigError> {
    let parts = match &instance.user_data {
        Some(bytes) => user_data::for_reader(reader, bytes)?,
        None => Vec::new(),
    };
    // What other kinds and other keys do, nobody can tell from here.
    let decides_itself = parts.iter().any(|part| part.kind != Kind::CloudConfig);
    let logins = match reader {
        SeedReader::CloudInit => Logins::of(&parts),
        SeedReader::Service => {
            CloudConfig::of(&parts).map(|config| Logins { config, imports_keys: false, unknown: None })
        }
    };
    // What is wrong with it is told elsewhere, or taken by cloud-init in its own way.
    let Ok(Logins { config, imports_keys, unknown }) = logins else { return Ok(None) };
    let mut ways = ways(reader, instance, &config);
    ways.key |= imports_keys;
    let why = match ways {
        Ways { password: true, .. } => return Ok(None),
        Ways { key: true, .. } if has_network => return Ok(None),
        Ways { key: true, .. } => "there are keys only, and the VM has no network card (--net)",
        Ways { .. } => "neither user data nor --ssh-key has a password or a key that lets somebody in",
    };
    let hope = match unknown {
        _ if decides_itself => ", unless a script of user data sees to it".to_owned(),
        Some(key) => format!(", unless {} of user data sees to it", quoted(&key)),
        None => String::new(),
    };
    Ok(Some(format!("nobody will be able to log in{hope}: {why}")))
}

fn ways(reader: SeedReader, instance: &Instance, config: &CloudConfig) -> Ways {
    let mut ways = Ways { password: !config.passwords.is_empty(), key: false };
    let default = [UserEntry::Default];
    for entry in config.users.as_deref().unwrap_or(&default) {
        match entry {
            UserEntry::Default => {
                let user = &instance.user;
                ways.password |= user.password.is_some() || config.password.is_some();
                ways.key |= !user.ssh_keys.is_empty() || !config.ssh_authorized_keys.is_empty();
            }
            UserEntry::User(user) => {
                ways.password |= user.password.is_some() && !user.lock_passwd;
                ways.key |= !user.ssh_authorized_keys.is_empty();
                // cloud-init gives the keys of the machine to the first user where there is no default one.
                ways.key |= reader == SeedReader::CloudInit && !instance.user.ssh_keys.is_empty();
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DefaultUser;
    use crate::ssh_keys::tests::example;

    fn told(reader: SeedReader, user_data: &str, keys: bool, network: bool) -> String {
        let ssh_keys = if keys { vec![example("me")] } else { Vec::new() };
        let instance = Instance {
            user: DefaultUser { name: Some("debian".to_owned()), ssh_keys, password: None },
            user_data: Some(user_data.as_bytes().to_vec()),
            ..Instance::default()
        };
        nobody(reader, &instance, network).unwrap().unwrap_or_default()
    }

    #[test]
    fn it_is_told_before_the_boot() {
        let key = example("");
        let config = |text: &str| format!("#cloud-config\n{text}\n");
        let user = |text: &str| config(&format!("users: [{{name: ann, {text}}}]"));
        // User data, whether --ssh-key was given; whether somebody gets in at the console, and by the network.
        let cases = [
            (config("hostname: a"), false, false, false),
            (config("hostname: a"), true, false, true),
            (config("password: 12345"), false, true, true),
            (config(&format!("ssh_authorized_keys: ['{key}']")), false, false, true),
            (user("gecos: x"), false, false, false),
            (user("plain_text_passwd: x"), false, false, false),
            (user("plain_text_passwd: x, lock_passwd: false"), false, true, true),
            (user(&format!("ssh_authorized_keys: ['{key}']")), false, false, true),
            (config("users: []"), true, false, false),
            (config("chpasswd: {users: [{name: root, password: x, type: text}]}"), false, true, true),
            (config("chpasswd: {list: 'root:x'}"), false, true, true),
            ("#!/bin/sh\nuseradd x\n".to_owned(), false, false, false),
        ];
        for (text, keys, console, network) in cases {
            for reader in [SeedReader::CloudInit, SeedReader::Service] {
                assert_eq!(told(reader, &text, keys, false).is_empty(), console, "{text}");
                assert_eq!(told(reader, &text, keys, true).is_empty(), network, "{text}");
            }
        }
        assert!(told(SeedReader::Service, "#!/bin/sh\n", false, true).contains("unless a script"));
        // Keys that only cloud-init knows.
        let cases = [
            ("snap: {commands: [snap install x]}", false, false),
            ("ntp: {enabled: true}\npassword: x", true, true),
            ("ntp: {}\nusers: [{name: ann, plain_text_passwd: x, selinux_user: y}]", false, false),
            (
                "ntp: {}\nusers: [default, {name: ann, passwd: x, lock_passwd: no, doas: [permit nopass ann]}]",
                true,
                true,
            ),
            ("ssh_import_id: [gh:ann]", false, true),
            ("users: [{name: ann, ssh_import_id: [gh:ann]}]", false, true),
            (
                "chpasswd: {expire: no, users: [{name: ann, type: text, password: x, later: y}], more: z}",
                true,
                true,
            ),
            ("apt: {}\nusers: ann", false, false),
        ];
        for (text, console, network) in cases {
            let told = |network| told(SeedReader::CloudInit, &config(text), false, network);
            assert_eq!((told(false).is_empty(), told(true).is_empty()), (console, network), "{text}");
        }
        let unknown = told(SeedReader::CloudInit, &config("snap: {}\nhostname: a"), false, true);
        assert!(
            unknown.starts_with("nobody will be able to log in, unless 'snap' of user data sees to it: "),
            "{unknown}"
        );
        let odd = told(SeedReader::CloudInit, &config("\"x y\": 1"), false, true);
        assert!(odd.contains("unless a key of user data"), "{odd}");
        assert!(told(SeedReader::Service, "#cloud-config\n", true, false).contains("--net"));
    }
}
