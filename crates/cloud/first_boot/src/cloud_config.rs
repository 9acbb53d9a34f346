//! cloud-config documents, as far as the first-boot service goes.
//!
//! The names and their meaning are cloud-init's. A key that is not here is refused rather than left undone.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::USER_DATA_MAX_BYTES;

/// What is wrong with a document that a person wrote.
#[derive(Debug, thiserror::Error)]
#[error("{document}: {why}")]
pub struct ConfigError {
    document: &'static str,
    why: String,
}

impl ConfigError {
    pub(crate) fn new(document: &'static str, why: impl Into<String>) -> ConfigError {
        ConfigError { document, why: why.into() }
    }
}

/// User data that the first-boot service can do.
#[derive(Debug)]
pub enum UserData {
    /// Settings.
    Config(Box<CloudConfig>),
    /// A script of the guest's, run late.
    Script(String),
}

const DOCUMENT: &str = "user data";

impl UserData {
    /// Understands everything, or refuses.
    pub fn parse(text: &str) -> Result<UserData, ConfigError> {
        match kind(text)? {
            Kind::Script => Ok(UserData::Script(text.to_owned())),
            Kind::Config => yaml::<Option<CloudConfig>>(DOCUMENT, text)
                .map(|config| UserData::Config(Box::new(config.unwrap_or_default()))),
            Kind::Other(head) => Err(ConfigError::new(
                DOCUMENT,
                format!(
                    "begins with '{head}', which only cloud-init knows; this image has a smaller first-boot service"
                ),
            )),
        }
    }

    /// Looks only whether cloud-init would be able to read it.
    pub fn look(text: &str) -> Result<(), ConfigError> {
        match kind(text)? {
            Kind::Config => yaml::<serde::de::IgnoredAny>(DOCUMENT, text).map(drop),
            Kind::Script | Kind::Other(_) => Ok(()),
        }
    }
}

enum Kind<'a> {
    Config,
    Script,
    Other(&'a str),
}

fn kind(text: &str) -> Result<Kind<'_>, ConfigError> {
    if text.len() > USER_DATA_MAX_BYTES {
        let why = format!("has {} bytes; {USER_DATA_MAX_BYTES} are the most", text.len());
        return Err(ConfigError::new(DOCUMENT, why));
    }
    let head = text.lines().next().unwrap_or("").trim_end();
    match head {
        "#cloud-config" => Ok(Kind::Config),
        _ if head.starts_with("#!") => Ok(Kind::Script),
        _ if head.starts_with('#') || head.starts_with("Content-Type:") => Ok(Kind::Other(head)),
        _ => Err(ConfigError::new(
            DOCUMENT,
            "its first line has to be '#cloud-config', or '#!' and an interpreter",
        )),
    }
}

/// One YAML document as a `T`; what is wrong is told on one line, with its place.
pub fn yaml<T: DeserializeOwned>(document: &'static str, text: &str) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map_or(String::new(), |place| format!("line {}: ", place.line()));
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or("").to_owned();
        ConfigError::new(document, format!("{place}{}", plainer(&message)))
    })
}

/// An unknown key is the commonest fault, and serde's list of all known ones no help.
fn plainer(message: &str) -> String {
    let key = message.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    match key {
        Some((key, _)) => format!(
            "'{key}' is nothing that the first-boot service of this image knows; take an image with cloud-init for it"
        ),
        None => message.to_owned(),
    }
}

/// The settings. Section "Module reference" of cloud-init's manual.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudConfig {
    pub hostname: Option<String>,
    pub fqdn: Option<String>,
    pub prefer_fqdn_over_hostname: bool,
    pub preserve_hostname: bool,
    pub manage_etc_hosts: Option<serde::de::IgnoredAny>,
    pub user: Option<String>,
    pub users: Option<Vec<UserEntry>>,
    pub groups: Vec<String>,
    pub ssh_authorized_keys: Vec<String>,
    pub ssh_pwauth: Option<bool>,
    pub disable_root: Option<bool>,
    pub password: Option<String>,
    pub chpasswd: ChangePasswords,
    pub timezone: Option<String>,
    pub locale: Option<String>,
    pub write_files: Vec<WriteFile>,
    pub package_update: bool,
    pub package_upgrade: bool,
    pub packages: Vec<String>,
    pub bootcmd: Vec<CommandEntry>,
    pub runcmd: Vec<CommandEntry>,
    pub growpart: Option<serde::de::IgnoredAny>,
    pub resize_rootfs: Option<bool>,
    pub final_message: Option<String>,
}

/// `chpasswd`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChangePasswords {
    pub expire: Option<bool>,
    pub users: Vec<UserPassword>,
}

/// A password of `chpasswd.users`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPassword {
    pub name: String,
    pub password: String,
    #[serde(rename = "type", default)]
    pub kind: PasswordKind,
}

/// Whether a password is one, or what `crypt` made of it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PasswordKind {
    #[default]
    Hash,
    Text,
}

/// An element of `users`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum UserEntry {
    /// `default`.
    Name(String),
    /// A user with all that belongs to one.
    User(Box<User>),
}

/// A user.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub gecos: Option<String>,
    pub homedir: Option<String>,
    pub primary_group: Option<String>,
    pub groups: Option<Words>,
    pub shell: Option<String>,
    pub uid: Option<u32>,
    pub system: bool,
    pub no_create_home: bool,
    pub sudo: Option<Sudo>,
    pub lock_passwd: Option<bool>,
    pub passwd: Option<String>,
    pub hashed_passwd: Option<String>,
    pub plain_text_passwd: Option<String>,
    pub ssh_authorized_keys: Vec<String>,
}

/// `a, b`, or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Words {
    Text(String),
    List(Vec<String>),
}

impl Words {
    /// Joined by commas.
    pub fn joined(&self) -> String {
        match self {
            Words::Text(text) => text.split(',').map(str::trim).collect::<Vec<_>>().join(","),
            Words::List(list) => list.join(","),
        }
    }
}

/// What follows the user's name in `sudoers`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Sudo {
    /// `false`: none.
    No(#[expect(dead_code, reason = "there is nothing to tell true from")] bool),
    Rule(String),
    Rules(Vec<String>),
}

impl Sudo {
    /// The rules.
    pub fn rules(&self) -> &[String] {
        match self {
            Sudo::No(_) => &[],
            Sudo::Rule(rule) => std::slice::from_ref(rule),
            Sudo::Rules(rules) => rules,
        }
    }
}

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteFile {
    pub path: String,
    pub content: String,
    pub encoding: Option<String>,
    pub permissions: Option<Permissions>,
    pub owner: Option<String>,
    pub append: bool,
    pub defer: bool,
}

/// Octal digits, quoted or not: YAML's writers differ in what `0644` is, so that its text is taken.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Permissions(String);

impl Permissions {
    /// As bits.
    pub fn bits(&self) -> Option<u32> {
        let digits = self.0.trim_start_matches("0o");
        u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777)
    }
}

/// A command for the shell, or words.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum CommandEntry {
    Shell(String),
    Words(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = UserData::parse(text).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    }

    #[test]
    fn what_people_write_is_understood() {
        let text = "#cloud-config\nhostname: web1\nusers:\n  - default\n  - name: ann\n    groups: sudo, adm\n    \
            sudo: ALL=(ALL) NOPASSWD:ALL\n    ssh_authorized_keys:\n      - ssh-ed25519 AAAA ann\nwrite_files:\n  \
            - path: /etc/motd\n    content: |\n      hello\n    permissions: '0644'\n  - {path: /x, permissions: 0600}\n\
            runcmd:\n  - [sh, -c, 'echo a > /b']\n  - echo done\n";
        let UserData::Config(config) = UserData::parse(text).unwrap() else { panic!() };
        assert_eq!(config.hostname.as_deref(), Some("web1"));
        let users = config.users.unwrap();
        let UserEntry::User(ann) = &users[1] else { panic!() };
        assert_eq!(ann.groups.as_ref().unwrap().joined(), "sudo,adm");
        assert_eq!(ann.sudo.as_ref().unwrap().rules().len(), 1);
        let bits: Vec<_> =
            config.write_files.iter().map(|file| file.permissions.as_ref().unwrap().bits()).collect();
        assert_eq!(bits, [Some(0o644), Some(0o600)]);
        assert_eq!(config.runcmd.len(), 2);
        assert!(matches!(UserData::parse("#cloud-config\n").unwrap(), UserData::Config(_)));
    }

    #[test]
    fn faults_are_told_with_their_line() {
        assert!(refused("#cloud-config\nhostname: a\nsnap: {}\n").contains("line 3: 'snap' is nothing that"));
        assert!(refused("#cloud-config\nhostname: [\n").starts_with("user data: line "));
        assert!(refused("hostname: a\n").contains("first line has to be '#cloud-config'"));
        assert!(refused("#include\nhttp://127.0.0.1/\n").contains("'#include', which only cloud-init knows"));
        assert!(
            refused(&format!("#cloud-config\n#{}", "x".repeat(USER_DATA_MAX_BYTES))).contains("are the most")
        );
        assert!(UserData::look("#include\nx\n").is_ok());
        assert!(UserData::look("#cloud-config\nsnap: {}\n").is_ok());
        assert!(UserData::look("#cloud-config\nsnap: {\n").is_err());
    }

    #[test]
    fn a_document_that_multiplies_itself_is_refused() {
        let mut text = "#cloud-config\na: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in ('b'..='z').zip('a'..) {
            let list = vec![format!("*{before}"); 9].join(",");
            text.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        assert!(UserData::look(&text).is_err());
    }
}
