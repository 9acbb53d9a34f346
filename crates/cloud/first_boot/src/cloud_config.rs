//! cloud-config documents, as far as the first-boot service goes.
//!
//! The names and their meaning are cloud-init's. A key that is not here is refused rather than left undone.

use crate::fields::{Field, Keys};
use crate::ssh_keys;
use crate::user_data::Part;
use crate::yaml;

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

/// Keys that are known here; user data that begins with one of them was meant to be settings.
pub const KEYS: [&str; 25] = [
    "hostname",
    "fqdn",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "manage_etc_hosts",
    "user",
    "users",
    "groups",
    "ssh_authorized_keys",
    "ssh_pwauth",
    "disable_root",
    "password",
    "chpasswd",
    "timezone",
    "locale",
    "write_files",
    "package_update",
    "package_upgrade",
    "packages",
    "bootcmd",
    "runcmd",
    "growpart",
    "resize_rootfs",
    "final_message",
    "network",
];

/// The settings. Section "Module reference" of cloud-init's manual.
#[derive(Default)]
pub struct CloudConfig {
    pub hostname: Option<String>,
    pub fqdn: Option<String>,
    pub prefer_fqdn_over_hostname: bool,
    pub preserve_hostname: bool,
    pub user: Option<String>,
    pub users: Option<Vec<UserEntry>>,
    pub groups: Vec<Group>,
    pub ssh_authorized_keys: Vec<String>,
    pub ssh_pwauth: Option<bool>,
    pub disable_root: Option<bool>,
    pub password: Option<String>,
    pub passwords: Vec<UserPassword>,
    pub expire_passwords: bool,
    pub timezone: Option<String>,
    pub locale: Option<String>,
    pub write_files: Vec<WriteFile>,
    pub package_update: bool,
    pub package_upgrade: bool,
    pub packages: Vec<String>,
    pub bootcmd: Vec<Command>,
    pub runcmd: Vec<Command>,
    pub resize_rootfs: Option<bool>,
    pub final_message: Option<String>,
}

/// A group and who is to be in it.
pub struct Group {
    pub name: String,
    pub members: Vec<String>,
}

/// A password that is set for a user.
pub struct UserPassword {
    pub name: String,
    pub password: String,
    pub kind: PasswordKind,
}

/// Whether a password is one, or what `crypt` made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordKind {
    Hash,
    Text,
}

/// An element of `users`.
pub enum UserEntry {
    /// `default`.
    Default,
    /// A user with all that belongs to one.
    User(Box<User>),
}

/// A user.
#[derive(Default)]
pub struct User {
    pub name: String,
    pub gecos: Option<String>,
    pub homedir: Option<String>,
    pub primary_group: Option<String>,
    pub groups: Vec<String>,
    pub shell: Option<String>,
    pub uid: Option<u32>,
    pub system: bool,
    pub no_create_home: bool,
    pub sudo: Vec<String>,
    /// Whether no password opens the account.
    pub lock_passwd: bool,
    pub password: Option<(String, PasswordKind)>,
    pub ssh_authorized_keys: Vec<String>,
}

/// A file.
pub struct WriteFile {
    pub path: String,
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    pub owner: Option<String>,
    pub append: bool,
    pub defer: bool,
}

/// A command, and what messages call it: it may have secrets in it.
pub struct Command {
    pub called: String,
    pub words: Vec<String>,
}

/// Permissions of a file of which nothing is said.
const USUAL_MODE: u32 = 0o644;

/// Looks whether cloud-init will find settings in a document, and no private keys where public ones belong.
pub fn look(part: &Part) -> Result<(), ConfigError> {
    let Some(node) = load(part)? else { return Ok(()) };
    let document = Field::document(part.document(), &node);
    let public = |field: &Field<'_>| {
        let elements = if field.is_list() { field.list()? } else { vec![field.clone()] };
        match elements
            .iter()
            .find(|key| key.node().scalar().is_some_and(|text| ssh_keys::is_private(text.as_bytes())))
        {
            Some(key) => Err(key.fault(ssh_keys::KeyFault::Private)),
            None => Ok(()),
        }
    };
    entries_named(&document, "ssh_authorized_keys").iter().try_for_each(public)?;
    for users in entries_named(&document, "users").iter().filter(|users| users.is_list()) {
        for user in users.list()? {
            entries_named(&user, "ssh_authorized_keys").iter().try_for_each(public)?;
        }
    }
    Ok(())
}

/// The values of a key, which cloud-init lets be there twice.
fn entries_named<'a>(field: &Field<'a>, name: &str) -> Vec<Field<'a>> {
    field.every_entry().into_iter().filter(|(key, _)| key == name).map(|(_, field)| field).collect()
}

fn load(part: &Part) -> Result<Option<yaml::Node>, ConfigError> {
    part.document().load(part.text()?, "hostname: web1")
}

/// What documents for cloud-init say of who can log in.
pub struct Logins {
    /// Users, passwords and keys; nothing else.
    pub config: CloudConfig,
    /// Whether keys are fetched from elsewhere (`ssh_import_id`).
    pub imports_keys: bool,
    /// A key of a document that is not known here, which may let somebody in, too.
    pub unknown: Option<String>,
}

/// The keys that decide who can log in: of a document, of a user, of `chpasswd`, of a user there.
const LOGIN_KEYS: [&str; 5] = ["user", "users", "ssh_authorized_keys", "password", "chpasswd"];
const LOGIN_USER_KEYS: [&str; 6] =
    ["name", "lock_passwd", "plain_text_passwd", "hashed_passwd", "passwd", "ssh_authorized_keys"];
const LOGIN_PASSWORD_KEYS: [&str; 6] = ["users", "list", "expire", "name", "password", "type"];
const IMPORT_KEYS: &str = "ssh_import_id";

impl Logins {
    /// Reads what there is of it in all documents among `parts`, whatever else stands in them.
    ///
    /// # Errors
    /// A value makes no sense here.
    pub fn of(parts: &[Part]) -> Result<Logins, ConfigError> {
        let mut logins = Logins { config: CloudConfig::new(), imports_keys: false, unknown: None };
        for part in parts.iter().filter(|part| part.kind == crate::user_data::Kind::CloudConfig) {
            let Some(node) = load(part)? else { continue };
            let document = Field::document(part.document(), &node);
            let users = entries_named(&document, "users");
            let users = users.iter().filter(|users| users.is_list()).map(Field::list);
            let users = users.collect::<Result<Vec<_>, _>>()?.concat();
            let imports = |field: &Field<'_>| !entries_named(field, IMPORT_KEYS).is_empty();
            logins.imports_keys |= imports(&document) || users.iter().any(imports);
            let mut keys = document.every_entry().into_iter().map(|(key, _)| key);
            let unknown = keys.find(|key| !KEYS.contains(&&**key) && key != IMPORT_KEYS);
            logins.unknown = logins.unknown.or(unknown);
            let node = only(&node, &LOGIN_KEYS, &|key, value| match key {
                "users" => each(value, &LOGIN_USER_KEYS),
                "chpasswd" => {
                    only(value, &LOGIN_PASSWORD_KEYS, &|_, value| each(value, &LOGIN_PASSWORD_KEYS))
                }
                _ => value.clone(),
            });
            logins.config.read(Field::document(part.document(), &node).keys()?)?;
        }
        Ok(logins)
    }
}

/// Keys with values without all other keys, the values changed.
fn only(node: &yaml::Node, keys: &[&str], change: &dyn Fn(&str, &yaml::Node) -> yaml::Node) -> yaml::Node {
    let yaml::Value::Map(map) = &node.value else { return node.clone() };
    let kept = map.iter().filter_map(|(key, value)| {
        let name = key.scalar().filter(|name| keys.contains(name))?;
        Some((key.clone(), change(name, value)))
    });
    yaml::Node { line: node.line, value: yaml::Value::Map(kept.collect()) }
}

/// The same for each element of a list.
fn each(node: &yaml::Node, keys: &[&str]) -> yaml::Node {
    let yaml::Value::List(list) = &node.value else { return node.clone() };
    let list = list.iter().map(|node| only(node, keys, &|_, value| value.clone())).collect();
    yaml::Node { line: node.line, value: yaml::Value::List(list) }
}

impl CloudConfig {
    /// What holds where nothing is said.
    fn new() -> CloudConfig {
        CloudConfig { expire_passwords: true, ..CloudConfig::default() }
    }

    /// The settings of all documents among `parts`; a later one's keys replace an earlier one's, as with cloud-init.
    ///
    /// # Errors
    /// A key is not known, or its value makes no sense.
    pub fn of(parts: &[Part]) -> Result<CloudConfig, ConfigError> {
        let mut config = CloudConfig::new();
        for part in parts.iter().filter(|part| part.kind == crate::user_data::Kind::CloudConfig) {
            if let Some(node) = load(part)? {
                config.read(Field::document(part.document(), &node).keys()?)?;
            }
        }
        Ok(config)
    }

    fn read(&mut self, mut keys: Keys<'_>) -> Result<(), ConfigError> {
        fn replace<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        replace(&mut self.hostname, keys.text("hostname")?);
        replace(&mut self.fqdn, keys.text("fqdn")?);
        replace(&mut self.user, keys.text("user")?);
        replace(&mut self.password, keys.text("password")?);
        replace(&mut self.timezone, keys.text("timezone")?);
        replace(&mut self.locale, keys.text("locale")?);
        replace(&mut self.final_message, keys.text("final_message")?);
        replace(&mut self.disable_root, keys.flag("disable_root")?);
        if let Some(field) = keys.take("ssh_pwauth") {
            let unchanged = field.node().scalar() == Some("unchanged");
            self.ssh_pwauth = if unchanged { None } else { Some(field.flag()?) };
        }
        if let Some(field) = keys.take("resize_rootfs") {
            // In the background is how it is done anyway.
            let background = field.node().scalar() == Some("noblock");
            self.resize_rootfs = if background { None } else { Some(field.flag()?) };
        }
        for (name, place) in [
            ("prefer_fqdn_over_hostname", &mut self.prefer_fqdn_over_hostname),
            ("preserve_hostname", &mut self.preserve_hostname),
            ("package_update", &mut self.package_update),
            ("package_upgrade", &mut self.package_upgrade),
        ] {
            *place = keys.flag(name)?.unwrap_or(*place);
        }
        // The disk has no partitions, and /etc/hosts is written in any case.
        keys.take("growpart");
        keys.take("manage_etc_hosts");
        self.read_lists(&mut keys)?;
        keys.finish()
    }

    fn read_lists(&mut self, keys: &mut Keys<'_>) -> Result<(), ConfigError> {
        if let Some(field) = keys.take("users") {
            self.users = Some(users(&field)?);
        }
        if let Some(field) = keys.take("groups") {
            self.groups = groups(&field)?;
        }
        if let Some(field) = keys.take("ssh_authorized_keys") {
            self.ssh_authorized_keys = authorized(&field)?;
        }
        if let Some(field) = keys.take("chpasswd") {
            let mut keys = field.keys()?;
            self.expire_passwords = keys.flag("expire")?.unwrap_or(true);
            self.passwords = passwords(&mut keys)?;
            keys.finish()?;
        }
        if let Some(field) = keys.take("write_files") {
            self.write_files = field.list()?.iter().map(file).collect::<Result<_, _>>()?;
        }
        if let Some(field) = keys.take("packages") {
            self.packages = field.list()?.iter().map(package).collect::<Result<_, _>>()?;
        }
        if let Some(field) = keys.take("bootcmd") {
            self.bootcmd = commands("bootcmd", &field)?;
        }
        if let Some(field) = keys.take("runcmd") {
            self.runcmd = commands("runcmd", &field)?;
        }
        Ok(())
    }
}

fn users(field: &Field<'_>) -> Result<Vec<UserEntry>, ConfigError> {
    if !field.is_list() {
        // One name, or several with commas between them.
        return Ok(field.words()?.into_iter().map(named).collect());
    }
    field.list()?.iter().map(user).collect()
}

fn named(name: String) -> UserEntry {
    if name == "default" {
        UserEntry::Default
    } else {
        UserEntry::User(Box::new(User { name, lock_passwd: true, ..User::default() }))
    }
}

fn user(field: &Field<'_>) -> Result<UserEntry, ConfigError> {
    if !field.is_map() {
        return field.text().map(named).map_err(|_| {
            field.fault(format!(
                "has to be a user's name, or keys with values such as 'name: ann', and is {}",
                field.node().kind()
            ))
        });
    }
    let mut keys = field.keys()?;
    let name = keys.text("name")?.ok_or_else(|| field.fault("has no name"))?;
    let hash = |text: String| (text, PasswordKind::Hash);
    let (plain, hashed, old) =
        (keys.text("plain_text_passwd")?, keys.text("hashed_passwd")?, keys.text("passwd")?);
    let user = User {
        name,
        gecos: keys.text("gecos")?,
        homedir: keys.text("homedir")?,
        primary_group: keys.text("primary_group")?,
        groups: keys.take("groups").map_or(Ok(Vec::new()), |field| field.words())?,
        shell: keys.text("shell")?,
        uid: keys.take("uid").map(|field| field.number()).transpose()?,
        system: keys.flag("system")?.unwrap_or(false),
        no_create_home: keys.flag("no_create_home")?.unwrap_or(false),
        sudo: keys.take("sudo").map_or(Ok(Vec::new()), |field| sudo(&field))?,
        lock_passwd: keys.flag("lock_passwd")?.unwrap_or(true),
        password: plain.map(|text| (text, PasswordKind::Text)).or(hashed.map(hash)).or(old.map(hash)),
        ssh_authorized_keys: keys
            .take("ssh_authorized_keys")
            .map_or(Ok(Vec::new()), |field| authorized(&field))?,
    };
    keys.finish()?;
    Ok(UserEntry::User(Box::new(user)))
}

/// What follows the user's name in `sudoers`.
fn sudo(field: &Field<'_>) -> Result<Vec<String>, ConfigError> {
    const WANTED: &str = "has to be a rule such as 'ALL=(ALL) NOPASSWD:ALL', a list of rules, or false";
    match field.node().truth() {
        Some(false) => return Ok(Vec::new()),
        Some(true) => return Err(field.fault(format!("{WANTED}, and is true"))),
        None => {}
    }
    let rules = if field.is_list() { field.list()? } else { vec![field.clone()] };
    rules
        .iter()
        .map(|rule| match rule.text() {
            Ok(text) if text.contains('=') && !text.contains(['\n', '\0']) => Ok(text),
            _ => Err(rule.fault(WANTED)),
        })
        .collect()
}

/// Public keys: a list, or one.
fn authorized(field: &Field<'_>) -> Result<Vec<String>, ConfigError> {
    let elements = if field.is_list() { field.list()? } else { vec![field.clone()] };
    let mut keys = Vec::new();
    for element in elements {
        match ssh_keys::parse(element.text()?.as_bytes()) {
            Ok(found) => keys.extend(found),
            Err(ssh_keys::KeyFault::Private) => return Err(element.fault(ssh_keys::KeyFault::Private)),
            Err(_) => {
                return Err(
                    element.fault("is not an SSH public key: a line such as 'ssh-ed25519 AAAA... name'")
                );
            }
        }
    }
    Ok(keys)
}

/// Names, perhaps with members.
fn groups(field: &Field<'_>) -> Result<Vec<Group>, ConfigError> {
    if !field.is_list() && !field.is_map() {
        return Ok(field.words()?.into_iter().map(|name| Group { name, members: Vec::new() }).collect());
    }
    let elements = if field.is_list() { field.list()? } else { vec![field.clone()] };
    let mut groups = Vec::new();
    for element in elements {
        if !element.is_map() {
            groups.push(Group { name: element.text()?, members: Vec::new() });
            continue;
        }
        for (name, members) in element.entries()? {
            groups.push(Group { name, members: members.words()? });
        }
    }
    Ok(groups)
}

/// `chpasswd.users`, and the older `chpasswd.list`.
fn passwords(keys: &mut Keys<'_>) -> Result<Vec<UserPassword>, ConfigError> {
    let mut passwords = Vec::new();
    for field in keys.take("users").map_or(Ok(Vec::new()), |field| field.list())? {
        let mut keys = field.keys()?;
        let name = keys.text("name")?.ok_or_else(|| field.fault("has no name"))?;
        let kind = match keys.take("type") {
            None => PasswordKind::Hash,
            Some(kind) => match &*kind.text()? {
                "hash" => PasswordKind::Hash,
                "text" => PasswordKind::Text,
                _ => return Err(kind.fault("has to be 'hash' or 'text' here")),
            },
        };
        let password = keys.text("password")?.ok_or_else(|| field.fault("has no password"))?;
        passwords.push(UserPassword { name, password, kind });
        keys.finish()?;
    }
    let Some(field) = keys.take("list") else { return Ok(passwords) };
    let lines =
        if field.is_list() { field.texts()? } else { field.text()?.lines().map(str::to_owned).collect() };
    for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        let Some((name, password)) = line.split_once(':') else {
            return Err(field.fault("has to have lines such as 'name:password'"));
        };
        if matches!(password, "R" | "RANDOM") {
            return Err(field.fault("a password that cloud-init makes up cannot be had here; give one"));
        }
        // As cloud-init tells them apart: $1$, $2a$, $2y$, $5$, $6$ and their like.
        let hashed = password.starts_with('$') && password.matches('$').count() >= 3;
        let kind = if hashed { PasswordKind::Hash } else { PasswordKind::Text };
        passwords.push(UserPassword { name: name.to_owned(), password: password.to_owned(), kind });
    }
    Ok(passwords)
}

fn file(field: &Field<'_>) -> Result<WriteFile, ConfigError> {
    let mut keys = field.keys()?;
    let path = keys.text("path")?.ok_or_else(|| field.fault("has no path"))?;
    if !path.starts_with('/') {
        return Err(field.fault("its path has to begin with '/'"));
    }
    let raw = keys.take("content").map_or(Ok(Vec::new()), |field| field.bytes())?;
    let encoding = keys.text("encoding")?;
    let content = decoded(raw, encoding.as_deref()).map_err(|why| field.fault(why))?;
    let mode = match keys.take("permissions") {
        None => USUAL_MODE,
        Some(field) => permissions(&field)?,
    };
    let file = WriteFile {
        path,
        content,
        mode,
        owner: keys.text("owner")?,
        append: keys.flag("append")?.unwrap_or(false),
        defer: keys.flag("defer")?.unwrap_or(false),
    };
    keys.finish()?;
    Ok(file)
}

/// Octal digits, quoted or not.
fn permissions(field: &Field<'_>) -> Result<u32, ConfigError> {
    let digits = field.node().scalar().unwrap_or("").trim_start_matches("0o");
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777);
    bits.ok_or_else(|| field.fault("has to be octal digits such as '0644'"))
}

fn decoded(content: Vec<u8>, encoding: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let name = encoding.unwrap_or("text/plain").to_ascii_lowercase();
    let (packed, encoded) = match &*name {
        "text/plain" | "text" => (false, false),
        "b64" | "base64" => (false, true),
        "gz" | "gzip" => (true, false),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => (true, true),
        _ => return Err("its encoding is none of text/plain, b64, gzip, gz+b64"),
    };
    let content = if encoded {
        let text = String::from_utf8(content).ok().and_then(|text| crate::fields::decode_base64(&text));
        text.ok_or("its content is not base64")?
    } else {
        content
    };
    if packed {
        crate::user_data::gunzip_content(&content).ok_or("its content is not gzip data")
    } else {
        Ok(content)
    }
}

/// A name, or a name and a version.
fn package(field: &Field<'_>) -> Result<String, ConfigError> {
    let words = if field.is_list() { field.texts()? } else { vec![field.text()?] };
    match &words[..] {
        [name] => Ok(name.clone()),
        [name, version] => Ok(format!("{name}={version}")),
        _ => Err(field.fault("has to be a package's name, or a list of its name and version")),
    }
}

/// Commands for the shell, or words.
fn commands(key: &str, field: &Field<'_>) -> Result<Vec<Command>, ConfigError> {
    let mut commands = Vec::new();
    for element in field.list()? {
        if element.is_null() {
            continue;
        }
        let words = if element.is_list() {
            element.list()?.iter().map(word).collect::<Result<Vec<_>, _>>()?
        } else if element.is_map() {
            return Err(element.fault(
                "has to be a command, and is keys with values; put a command with ': ' in it into quotes",
            ));
        } else {
            vec!["sh".to_owned(), "-c".to_owned(), word(&element)?]
        };
        if words.is_empty() {
            return Err(element.fault("is a command without words"));
        }
        commands.push(Command { called: format!("{key}, line {}", element.node().line), words });
    }
    Ok(commands)
}

/// A word of a command, as it was typed: `true` is a program, too.
fn word(field: &Field<'_>) -> Result<String, ConfigError> {
    match field.node().scalar() {
        Some(text) if !text.contains('\0') => Ok(text.to_owned()),
        Some(_) => Err(field.fault("has a NUL character in it")),
        None => field.text(),
    }
}

#[cfg(test)]
mod tests;
