//! The seed as the first-boot service wants it: a tar archive with two scripts, written here.
//!
//! `early` runs before the network is there: names, users, files. `late` runs after: packages and commands.

use base64::Engine;

use crate::cloud_config::{
    CloudConfig, CommandEntry, ConfigError, PasswordKind, Permissions, Sudo, User, UserData, UserEntry,
    Words, WriteFile,
};
use crate::shell::{Script, quote};
use crate::{Instance, network};

const DOCUMENT: &str = "user data";
/// The seed's folder in the guest.
const SEED: &str = "/run/first-boot";

/// The archive's bytes.
pub fn archive(instance: &Instance) -> Result<Vec<u8>, ConfigError> {
    let (config, user_script) = match instance.user_data.as_deref().map(UserData::parse).transpose()? {
        None => (CloudConfig::default(), None),
        Some(UserData::Config(config)) => (*config, None),
        Some(UserData::Script(text)) => (CloudConfig::default(), Some(text)),
    };
    let early = early(instance, &config)?;
    let late = late(&config, user_script.is_some())?;
    let mut files = vec![("instance-id", instance.id.clone()), ("early", early)];
    files.extend(late.map(|script| ("late", script)));
    files.extend(user_script.map(|text| ("user-script", text)));
    pack(&files).map_err(|error| ConfigError::new("seed", format!("cannot be made: {error}")))
}

fn pack(files: &[(&str, String)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    archive.into_inner()
}

fn early(instance: &Instance, config: &CloudConfig) -> Result<String, ConfigError> {
    let mut script = Script::new();
    for entry in &config.bootcmd {
        command(&mut script, entry);
    }
    if !config.preserve_hostname {
        name(&mut script, instance, config)?;
    }
    if config.resize_rootfs != Some(false) {
        grow(&mut script);
    }
    host_keys(&mut script);
    for file in network::files(instance.network_config.as_deref())? {
        let path = format!("/etc/systemd/network/{}", file.name);
        script.file(&path, file.text.as_bytes(), 0o644, false);
    }
    users(&mut script, instance, config)?;
    access(&mut script, config);
    if let Some(zone) = &config.timezone {
        script.run(&["ln", "-sf", &format!("/usr/share/zoneinfo/{zone}"), "/etc/localtime"]);
        script.file("/etc/timezone", format!("{zone}\n").as_bytes(), 0o644, false);
    }
    if let Some(locale) = &config.locale {
        script.file("/etc/default/locale", format!("LANG={}\n", quote(locale)).as_bytes(), 0o644, false);
    }
    config.write_files.iter().filter(|file| !file.defer).try_for_each(|file| write(&mut script, file))?;
    Ok(script.finish())
}

/// Nothing, where nothing is to be done late: then nothing waits for the network.
fn late(config: &CloudConfig, user_script: bool) -> Result<Option<String>, ConfigError> {
    let mut script = Script::new();
    if config.package_update || config.package_upgrade || !config.packages.is_empty() {
        script.line("export DEBIAN_FRONTEND=noninteractive");
        script.run(&["apt-get", "update"]);
    }
    if config.package_upgrade {
        script.run(&["apt-get", "--yes", "upgrade"]);
    }
    if !config.packages.is_empty() {
        let mut words = vec!["apt-get", "--yes", "install", "--"];
        words.extend(config.packages.iter().map(String::as_str));
        script.run(&words);
    }
    config.write_files.iter().filter(|file| file.defer).try_for_each(|file| write(&mut script, file))?;
    for entry in &config.runcmd {
        command(&mut script, entry);
    }
    if user_script {
        let path = format!("{SEED}/user-script");
        script.run(&["chmod", "700", &path]);
        script.run(&[&path]);
    }
    if let Some(message) = &config.final_message {
        script.run(&["printf", "%s\n", message]);
    }
    Ok((!script.is_empty()).then(|| script.finish()))
}

fn command(script: &mut Script, entry: &CommandEntry) {
    match entry {
        CommandEntry::Shell(text) => script.run(&["sh", "-c", text]),
        CommandEntry::Words(words) => script.run(&words.iter().map(String::as_str).collect::<Vec<_>>()),
    }
}

/// The host's name, which user data wins.
fn name(script: &mut Script, instance: &Instance, config: &CloudConfig) -> Result<(), ConfigError> {
    let full = config.fqdn.as_deref();
    let short = config.hostname.as_deref().or(full.and_then(|name| name.split('.').next()));
    let short = short.unwrap_or(&instance.hostname);
    for name in [Some(short), full].into_iter().flatten() {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(ConfigError::new(DOCUMENT, format!("'{name}' cannot be a host name")));
        }
    }
    let shown = if config.prefer_fqdn_over_hostname { full.unwrap_or(short) } else { short };
    script.file("/etc/hostname", format!("{shown}\n").as_bytes(), 0o644, false);
    script.run(&["hostname", shown]);
    script.line("try sed -i '/^127\\.0\\.1\\.1[[:space:]]/d' /etc/hosts");
    let names = full.map_or(short.to_owned(), |full| format!("{full} {short}"));
    script.file("/etc/hosts", format!("127.0.1.1 {names}\n").as_bytes(), 0o644, true);
    Ok(())
}

/// The root file system takes all of its disk. It does so while the rest goes on.
fn grow(script: &mut Script) {
    script.line("root=$(findmnt -no SOURCE /)");
    script.line("case $(findmnt -no FSTYPE /) in");
    script.line("ext4) try resize2fs \"$root\" 2>/dev/null ;;");
    script.line("xfs) try xfs_growfs / >/dev/null ;;");
    script.line("btrfs) try btrfs filesystem resize max / >/dev/null ;;");
    script.line("esac");
}

/// Keys of this instance alone. RSA's take long to find, and no client of this decade wants them.
fn host_keys(script: &mut Script) {
    script.line("if command -v ssh-keygen >/dev/null; then");
    script.line("for kind in ed25519 ecdsa; do");
    script.line("file=/etc/ssh/ssh_host_${kind}_key");
    script.line("rm -f \"$file\" \"$file.pub\"");
    script.line("try ssh-keygen -q -t \"$kind\" -N '' -f \"$file\"");
    script.line("done");
    script.line("fi");
}

fn users(script: &mut Script, instance: &Instance, config: &CloudConfig) -> Result<(), ConfigError> {
    for group in &config.groups {
        script.line(&format!("getent group {0} >/dev/null || try groupadd {0}", quote(login(group)?)));
    }
    let default_name = config.user.as_deref().unwrap_or(&instance.user.name);
    let mut keys = instance.user.ssh_keys.clone();
    keys.extend(config.ssh_authorized_keys.iter().cloned());
    let default = [UserEntry::Name("default".to_owned())];
    for entry in config.users.as_deref().unwrap_or(&default) {
        match entry {
            UserEntry::Name(name) if name == "default" => {
                let user = default_user(default_name, &keys);
                add(script, &user)?;
                let password = config.password.as_ref().or(instance.user.password.as_ref());
                if let Some(password) = password {
                    set_password(script, default_name, password, PasswordKind::Text)?;
                    // Cloud-init's default is to have it changed at once, where user data sets it.
                    if config.password.is_some() && config.chpasswd.expire != Some(false) {
                        script.run(&["passwd", "--expire", "--quiet", default_name]);
                    }
                }
            }
            UserEntry::Name(name) => add(script, &User { name: name.clone(), ..User::default() })?,
            UserEntry::User(user) => add(script, user)?,
        }
    }
    for entry in &config.chpasswd.users {
        set_password(script, &entry.name, &entry.password, entry.kind)?;
        if config.chpasswd.expire != Some(false) {
            script.run(&["passwd", "--expire", "--quiet", login(&entry.name)?]);
        }
    }
    Ok(())
}

fn default_user(name: &str, keys: &[String]) -> User {
    User {
        name: name.to_owned(),
        groups: Some(Words::Text("adm,sudo".to_owned())),
        sudo: Some(Sudo::Rule("ALL=(ALL) NOPASSWD:ALL".to_owned())),
        shell: Some("/bin/bash".to_owned()),
        ssh_authorized_keys: keys.to_vec(),
        ..User::default()
    }
}

fn add(script: &mut Script, user: &User) -> Result<(), ConfigError> {
    let name = login(&user.name)?;
    let mut words = vec!["useradd".to_owned()];
    let mut option = |flag: &str, value: Option<String>| {
        value.into_iter().for_each(|value| words.extend([flag.to_owned(), value]));
    };
    option("--shell", Some(user.shell.clone().unwrap_or_else(|| "/bin/bash".to_owned())));
    option("--comment", user.gecos.clone());
    option("--home-dir", user.homedir.clone());
    option("--gid", user.primary_group.clone());
    option("--uid", user.uid.map(|uid| uid.to_string()));
    if user.system {
        words.push("--system".to_owned());
    }
    words.push(if user.no_create_home { "--no-create-home" } else { "--create-home" }.to_owned());
    words.push(name.to_owned());
    let groups = groups(script, user)?;
    let known = format!("id -u {} >/dev/null 2>&1", quote(name));
    if !groups.is_empty() {
        let append = format!("try usermod --append --groups {} {}", quote(&groups), quote(name));
        script.line(&format!("if {known}; then {append}; fi"));
        words.extend(["--groups".to_owned(), groups]);
    }
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    script.line(&format!("{known} || try {}", words.join(" ")));
    if let Some(sudo) = &user.sudo {
        let rules: String =
            sudo.rules().iter().map(|rule| format!("{name} {}\n", rule.replace('\n', " "))).collect();
        let path = format!("/etc/sudoers.d/90-first-boot-{}", name.replace('.', "_"));
        script.file(&path, rules.as_bytes(), 0o440, false);
    }
    if let Some(text) = &user.plain_text_passwd {
        set_password(script, name, text, PasswordKind::Text)?;
    } else if let Some(hash) = user.hashed_passwd.as_ref().or(user.passwd.as_ref()) {
        set_password(script, name, hash, PasswordKind::Hash)?;
    }
    if user
        .lock_passwd
        .unwrap_or(user.plain_text_passwd.is_none() && user.passwd.is_none() && user.hashed_passwd.is_none())
    {
        script.run(&["usermod", "--lock", name]);
    }
    authorize(script, name, &user.ssh_authorized_keys)
}

/// The user's groups joined by commas; those that are missing are made.
fn groups(script: &mut Script, user: &User) -> Result<String, ConfigError> {
    let joined = user.groups.as_ref().map(Words::joined).unwrap_or_default();
    for group in joined.split(',').filter(|group| !group.is_empty()) {
        let group = quote(login(group)?);
        script.line(&format!("getent group {group} >/dev/null || try groupadd {group}"));
    }
    Ok(joined)
}

fn authorize(script: &mut Script, name: &str, keys: &[String]) -> Result<(), ConfigError> {
    if keys.is_empty() {
        return Ok(());
    }
    if let Some(key) = keys.iter().find(|key| key.contains('\n') || key.split_whitespace().count() < 2) {
        let why =
            format!("'{}' is not an SSH key: a line such as 'ssh-ed25519 AAAA... name'", key.escape_debug());
        return Err(ConfigError::new("SSH keys", why));
    }
    let text = keys.join("\n") + "\n";
    let name = quote(name);
    script.line(&format!("home=$(getent passwd {name} | cut -d: -f6)"));
    script.line(&format!("group=$(id -gn {name})"));
    script.line(&format!("try install -d -m 700 -o {name} -g \"$group\" \"$home/.ssh\""));
    script.line("file=$home/.ssh/authorized_keys");
    script.line(&format!("printf %s {} >>\"$file\" || failed=1", quote(&text)));
    script.line("try chmod 600 \"$file\"");
    script.line(&format!("try chown {name}:\"$group\" \"$file\""));
    Ok(())
}

fn set_password(
    script: &mut Script,
    name: &str,
    password: &str,
    kind: PasswordKind,
) -> Result<(), ConfigError> {
    if password.contains(['\n', '\0']) {
        return Err(ConfigError::new(DOCUMENT, format!("the password of {name} has more than one line")));
    }
    let flag = if kind == PasswordKind::Hash { " --encrypted" } else { "" };
    let line = quote(&format!("{}:{password}", login(name)?));
    script.line(&format!("printf '%s\\n' {line} | try chpasswd{flag}"));
    Ok(())
}

/// Who may come in how.
fn access(script: &mut Script, config: &CloudConfig) {
    let mut text = String::new();
    if let Some(allowed) = config.ssh_pwauth {
        text.push_str(if allowed { "PasswordAuthentication yes\n" } else { "PasswordAuthentication no\n" });
    }
    if let Some(disabled) = config.disable_root {
        text.push_str(if disabled { "PermitRootLogin no\n" } else { "PermitRootLogin prohibit-password\n" });
    }
    if !text.is_empty() {
        script.file("/etc/ssh/sshd_config.d/50-first-boot.conf", text.as_bytes(), 0o644, false);
    }
}

fn write(script: &mut Script, file: &WriteFile) -> Result<(), ConfigError> {
    let WriteFile { path, content, encoding, permissions, owner, append, defer: _ } = file;
    let fault = |why: &str| ConfigError::new(DOCUMENT, format!("write_files: {path}: {why}"));
    if !path.starts_with('/') {
        return Err(fault("its path has to begin with /"));
    }
    let contents = match encoding.as_deref() {
        None | Some("text/plain" | "text") => content.clone().into_bytes(),
        Some("b64" | "base64") => {
            let text: String = content.split_whitespace().collect();
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|_| fault("its content is not base64"))?
        }
        Some(other) => {
            return Err(fault(&format!("encoding {other} is not known here (there are b64, text/plain)")));
        }
    };
    let mode = match permissions.as_ref().map(Permissions::bits) {
        None => 0o644,
        Some(Some(bits)) => bits,
        Some(None) => return Err(fault("its permissions are not octal digits such as '0644'")),
    };
    script.file(path, &contents, mode, *append);
    if let Some(owner) = owner {
        script.run(&["chown", owner, path]);
    }
    Ok(())
}

/// A name for `useradd`.
fn login(name: &str) -> Result<&str, ConfigError> {
    let fits = !name.is_empty()
        && name.len() <= 32
        && !name.starts_with(['-', '.'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits {
        Ok(name)
    } else {
        Err(ConfigError::new(DOCUMENT, format!("'{name}' cannot be a user's or group's name")))
    }
}

#[cfg(test)]
mod tests;
