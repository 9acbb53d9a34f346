//! The seed as the first-boot service wants it: a tar archive with two scripts, written here.
//!
//! `early` runs before the network is there: names, users, files. `late` runs after: packages and commands.

use crate::cloud_config::{CloudConfig, Command, ConfigError, WriteFile};
use crate::shell::{Script, quote};
use crate::user_data::{self, Kind};
use crate::{CloneIdentity, Instance, network, users};

const DOCUMENT: &str = user_data::DOCUMENT;
/// The seed's folder in the guest.
const SEED: &str = "/run/first-boot";

/// The archive's bytes.
pub fn archive(instance: &Instance) -> Result<Vec<u8>, ConfigError> {
    let parts = match &instance.user_data {
        Some(bytes) => user_data::for_service(bytes)?,
        None => Vec::new(),
    };
    let config = CloudConfig::of(&parts)?;
    let scripts = parts.iter().filter(|part| part.kind == Kind::Script).map(|part| unix_lines(&part.bytes));
    let scripts: Vec<(String, Vec<u8>)> =
        scripts.enumerate().map(|(index, bytes)| (format!("user-script-{}", index + 1), bytes)).collect();
    let early = early(instance, &config)?;
    let late = late(&config, scripts.iter().map(|(name, _)| name.as_str()));
    let mut files = vec![
        ("instance-id".to_owned(), instance.id.clone().into_bytes()),
        ("early".to_owned(), early.into_bytes()),
    ];
    files.extend(late.map(|script| ("late".to_owned(), script.into_bytes())));
    files.extend(scripts);
    pack(&files).map_err(|_| ConfigError::new("seed", "cannot be made"))
}

/// The archive that tells a clone who it is.
pub fn clone_archive(clone: &CloneIdentity) -> Result<Vec<u8>, ConfigError> {
    let mut script = Script::new();
    let instance = Instance { hostname: clone.hostname.clone(), ..Instance::default() };
    name(&mut script, &instance, &CloudConfig::of(&[])?)?;
    script.file("/etc/machine-id", format!("{}\n", clone.machine_id).as_bytes(), 0o444, false);
    host_keys(&mut script);
    // What had read them, and what asks for addresses by the machine id.
    script.line("for unit in ssh systemd-networkd; do");
    script.line("systemctl --quiet is-active \"$unit\" && try systemctl restart \"$unit\"");
    script.line("done");
    pack(&[("clone".to_owned(), script.finish().into_bytes())])
        .map_err(|_| ConfigError::new("clone", "cannot be made"))
}

/// Whether these bytes begin an archive that [`archive`] has made.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"instance-id\0")
}

/// A script with the line ends of Windows has them changed, as by cloud-init: else nothing could run it.
fn unix_lines(script: &[u8]) -> Vec<u8> {
    let first = script.iter().position(|byte| *byte == b'\n');
    if !first.is_some_and(|at| at > 0 && script[at - 1] == b'\r') {
        return script.to_vec();
    }
    let next_is_line_end = |at: usize| script.get(at + 1) == Some(&b'\n');
    let kept = script.iter().enumerate().filter(|(at, byte)| **byte != b'\r' || !next_is_line_end(*at));
    kept.map(|(_, byte)| *byte).collect()
}

fn pack(files: &[(String, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, &bytes[..])?;
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
    users::write(&mut script, instance, config)?;
    access(&mut script, config);
    if let Some(zone) = &config.timezone {
        script.run(&["ln", "-sf", &format!("/usr/share/zoneinfo/{zone}"), "/etc/localtime"]);
        script.file("/etc/timezone", format!("{zone}\n").as_bytes(), 0o644, false);
    }
    if let Some(locale) = &config.locale {
        script.file("/etc/default/locale", format!("LANG={}\n", quote(locale)).as_bytes(), 0o644, false);
    }
    config.write_files.iter().filter(|file| !file.defer).for_each(|file| write(&mut script, file));
    Ok(script.finish())
}

/// Nothing, where nothing is to be done late: then nothing waits for the network.
fn late<'a>(config: &CloudConfig, user_scripts: impl Iterator<Item = &'a str>) -> Option<String> {
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
    config.write_files.iter().filter(|file| file.defer).for_each(|file| write(&mut script, file));
    for entry in &config.runcmd {
        command(&mut script, entry);
    }
    for name in user_scripts {
        let path = format!("{SEED}/{name}");
        script.run(&["chmod", "700", &path]);
        script.run(&[&path]);
    }
    if let Some(message) = &config.final_message {
        script.run(&["printf", "%s\n", message]);
    }
    (!script.is_empty()).then(|| script.finish())
}

/// A command of a person's, which may have secrets in it: a failure is told by its place.
fn command(script: &mut Script, command: &Command) {
    let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
    script.run_called(&command.called, &words);
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
            return Err(ConfigError::new(
                DOCUMENT,
                "what hostname or fqdn says cannot be a host name (letters, digits and '-')",
            ));
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

fn write(script: &mut Script, file: &WriteFile) {
    let WriteFile { path, content, mode, owner, append, defer: _ } = file;
    script.file(path, content, *mode, *append);
    if let Some(owner) = owner {
        script.run(&["chown", owner, path]);
    }
}

#[cfg(test)]
mod tests;
