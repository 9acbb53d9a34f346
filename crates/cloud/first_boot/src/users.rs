//! Lines of shell that make users, their groups, keys and passwords.

use crate::Instance;
use crate::cloud_config::{CloudConfig, ConfigError, PasswordKind, User, UserEntry};
use crate::shell::{Script, quote};
use crate::user_data::DOCUMENT;

/// Everybody whom the instance is to have.
///
/// # Errors
/// A name that nobody can have; or a default user is wanted, and nobody has said who that is.
pub fn write(script: &mut Script, instance: &Instance, config: &CloudConfig) -> Result<(), ConfigError> {
    for group in &config.groups {
        script.line(&format!("getent group {0} >/dev/null || try groupadd {0}", quote(login(&group.name)?)));
    }
    let default = [UserEntry::Default];
    for entry in config.users.as_deref().unwrap_or(&default) {
        match entry {
            UserEntry::Default => write_default(script, instance, config)?,
            UserEntry::User(user) => add(script, user)?,
        }
    }
    for group in &config.groups {
        for member in &group.members {
            let (name, group) = (quote(login(member)?), quote(&group.name));
            script.line(&format!("try usermod --append --groups {group} {name}"));
        }
    }
    for entry in &config.passwords {
        set_password(script, &entry.name, &entry.password, entry.kind)?;
        if config.expire_passwords {
            script.run(&["passwd", "--expire", "--quiet", login(&entry.name)?]);
        }
    }
    Ok(())
}

fn write_default(script: &mut Script, instance: &Instance, config: &CloudConfig) -> Result<(), ConfigError> {
    let Some(name) = config.user.as_deref().or(instance.user.name.as_deref()) else {
        let why = "the image names no user who logs in; say one by 'user: NAME' in user data, or by --user NAME when the \
            image is imported";
        return Err(ConfigError::new(DOCUMENT, why));
    };
    let mut keys = instance.user.ssh_keys.clone();
    keys.extend(config.ssh_authorized_keys.iter().cloned());
    add(script, &default_user(name, &keys))?;
    if let Some(password) = config.password.as_ref().or(instance.user.password.as_ref()) {
        set_password(script, name, password, PasswordKind::Text)?;
        // Cloud-init's default is to have it changed at once, where user data sets it.
        if config.password.is_some() && config.expire_passwords {
            script.run(&["passwd", "--expire", "--quiet", name]);
        }
    }
    Ok(())
}

fn default_user(name: &str, keys: &[String]) -> User {
    User {
        name: name.to_owned(),
        groups: vec!["adm".to_owned(), "sudo".to_owned()],
        sudo: vec!["ALL=(ALL) NOPASSWD:ALL".to_owned()],
        shell: Some("/bin/bash".to_owned()),
        ssh_authorized_keys: keys.to_vec(),
        lock_passwd: true,
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
    if !user.sudo.is_empty() {
        let rules: String = user.sudo.iter().map(|rule| format!("{name} {rule}\n")).collect();
        let path = format!("/etc/sudoers.d/90-first-boot-{}", name.replace('.', "_"));
        script.file(&path, rules.as_bytes(), 0o440, false);
    }
    if let Some((password, kind)) = &user.password {
        set_password(script, name, password, *kind)?;
    }
    if user.lock_passwd {
        script.run(&["usermod", "--lock", name]);
    }
    authorize(script, name, &user.ssh_authorized_keys);
    Ok(())
}

/// The user's groups joined by commas; those that are missing are made.
fn groups(script: &mut Script, user: &User) -> Result<String, ConfigError> {
    for group in &user.groups {
        let group = quote(login(group)?);
        script.line(&format!("getent group {group} >/dev/null || try groupadd {group}"));
    }
    Ok(user.groups.join(","))
}

fn authorize(script: &mut Script, name: &str, keys: &[String]) {
    if keys.is_empty() {
        return;
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
}

fn set_password(
    script: &mut Script,
    name: &str,
    password: &str,
    kind: PasswordKind,
) -> Result<(), ConfigError> {
    let name = login(name)?;
    if password.contains(['\n', '\r', '\0']) {
        return Err(ConfigError::new(DOCUMENT, format!("the password of {name} has more than one line")));
    }
    let flag = if kind == PasswordKind::Hash { " --encrypted" } else { "" };
    // By the shell's own printf: it is in no list of processes.
    let line = quote(&format!("{name}:{password}"));
    script.line(&format!("printf '%s\\n' {line} | try chpasswd{flag}"));
    Ok(())
}

/// A name for `useradd`. What is none may be a password in the wrong place, and is not repeated.
fn login(name: &str) -> Result<&str, ConfigError> {
    let fits = !name.is_empty()
        && name.len() <= 32
        && !name.starts_with(['-', '.'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let why = "a user's or group's name has to be of letters, digits, '-', '_' and '.', 32 of them at most";
    if fits { Ok(name) } else { Err(ConfigError::new(DOCUMENT, why)) }
}
