//! Values as flags and TOML have them.
//!
//! A flag's value is text. In a file numbers and switches are TOML's own, and modules, disks and network
//! cards are tables; all of them end in the same types, which `vm_spec` checks.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use vm_spec::{BadValue, ConsoleSpec, DiskSpec, ModuleSpec, NetSpec, names_with_commas, with_doubled_commas};

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    On,
    Off,
}

impl FromStr for Switch {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "on" => Ok(Switch::On),
            "off" => Ok(Switch::Off),
            _ => Err(BadValue(format!("'{text}' is neither on nor off"))),
        }
    }
}

/// An I/O port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortNumber(pub u16);

impl FromStr for PortNumber {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number
            .map(PortNumber)
            .map_err(|_| BadValue(format!("'{text}' is not a port; write 0xf4 (0 to 0xffff)")))
    }
}

/// Reads what `--disk` takes, whose path may be of any bytes.
pub fn disk_argument() -> impl TypedValueParser<Value = DiskSpec> {
    OsStringValueParser::new().try_map(|text: OsString| {
        refuse_ambiguous(&text, "disk", names_with_commas(&text, "path"), |name| {
            format!(
                "double its comma (path={}) if it is meant, else put path= last",
                with_doubled_commas(name)
            )
        })?;
        DiskSpec::parse(&text)
    })
}

/// Reads what `--module` takes, whose path may be of any bytes.
pub fn module_argument() -> impl TypedValueParser<Value = ModuleSpec> {
    OsStringValueParser::new().try_map(|text: OsString| {
        refuse_ambiguous(&text, "module", ModuleSpec::names_with_equals(&text), |name| {
            let doubled = name.to_string_lossy().replace('=', "==");
            format!("double its equals sign ({doubled}) if it is meant, else name it in a configuration file")
        })?;
        ModuleSpec::parse(&text)
    })
}

/// Reads what `--console` takes, whose path may be of any bytes.
pub fn console_argument() -> impl TypedValueParser<Value = ConsoleSpec> {
    OsStringValueParser::new().try_map(|text: OsString| ConsoleSpec::parse(&text))
}

/// Refuses `text` where one of `names`, which it can also be read as, is a file.
fn refuse_ambiguous(
    text: &OsStr,
    what: &str,
    names: Vec<OsString>,
    advice: impl Fn(&OsStr) -> String,
) -> Result<(), BadValue> {
    let there = names.into_iter().find(|name| Path::new(name).symlink_metadata().is_ok());
    there.map_or(Ok(()), |name| {
        let (text, shown, advice) = (text.display(), name.display(), advice(&name));
        Err(BadValue(format!("{what} '{text}': there is a file '{shown}'; {advice}")))
    })
}

/// What `--net` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetArgument {
    /// No card at all, whatever the file says.
    None,
    /// A card.
    Card(NetSpec),
}

impl FromStr for NetArgument {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == "none" { Ok(NetArgument::None) } else { text.parse().map(NetArgument::Card) }
    }
}

/// The cards that were asked for.
pub fn cards(arguments: Vec<NetArgument>) -> Result<Vec<NetSpec>, BadValue> {
    let all = arguments.len();
    let cards = arguments.into_iter().filter_map(|argument| match argument {
        NetArgument::None => None,
        NetArgument::Card(card) => Some(card),
    });
    let cards: Vec<NetSpec> = cards.collect();
    if !cards.is_empty() && cards.len() < all {
        return Err(BadValue("net none together with a network card: leave one of them out".to_owned()));
    }
    Ok(cards)
}

/// A TOML string.
pub fn text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(Error::custom)
}

/// A TOML string that names a file.
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    file_name(deserializer).map(Some)
}

/// TOML strings that name files.
pub fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.into_iter().map(|name| check_name(name).map_err(Error::custom)).collect()
}

fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    check_name(String::deserialize(deserializer)?).map_err(Error::custom)
}

fn check_name(name: String) -> Result<PathBuf, BadValue> {
    match name.as_str() {
        "" => Err(BadValue("a name of no letters is no file's".to_owned())),
        text if text.contains('\0') => Err(BadValue("a file's name has no zero byte".to_owned())),
        _ => Ok(name.into()),
    }
}

/// A TOML integer, or a string.
pub fn number<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Scalar { expected: "a whole number", booleans: false, target: PhantomData })
}

/// A TOML boolean, or a string.
pub fn switch<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Scalar { expected: "on or off", booleans: true, target: PhantomData })
}

/// Turns a TOML value into the text that a flag would have had, and that into a `T`.
struct Scalar<T> {
    expected: &'static str,
    /// Whether booleans are taken, or else integers.
    booleans: bool,
    target: PhantomData<T>,
}

impl<T: FromStr<Err: Display>> Visitor<'_> for Scalar<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        text.parse().map(Some).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<T>, E> {
        if self.booleans {
            return Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self));
        }
        self.visit_str(&value.to_string())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<T>, E> {
        if !self.booleans {
            return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self));
        }
        self.visit_str(if value { "on" } else { "off" })
    }
}

/// `[[disk]]`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DiskTable {
    #[serde(deserialize_with = "file_name")]
    path: PathBuf,
    #[serde(default, deserialize_with = "text")]
    format: Option<vm_spec::DiskFormat>,
    #[serde(default)]
    force_raw: bool,
    #[serde(default, deserialize_with = "number")]
    block_size: Option<vm_spec::BlockSize>,
    #[serde(default)]
    readonly: bool,
    #[serde(default, deserialize_with = "text")]
    id: Option<vm_spec::DeviceId>,
    #[serde(default, deserialize_with = "text")]
    serial: Option<vm_spec::DiskSerial>,
    #[serde(default, deserialize_with = "text")]
    on_error: Option<vm_spec::OnError>,
}

/// `[[module]]`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleTable {
    #[serde(deserialize_with = "file_name")]
    path: PathBuf,
    #[serde(default)]
    cmdline: String,
}

/// `[[net]]`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NetTable {
    tap: Option<String>,
    #[serde(default)]
    unplugged: bool,
    #[serde(default, deserialize_with = "text")]
    id: Option<vm_spec::DeviceId>,
    #[serde(default, deserialize_with = "text")]
    mac: Option<vm_spec::MacAddress>,
    queues: Option<u16>,
}

/// A path, or an array of paths.
pub fn one_or_more_paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    deserializer.deserialize_any(Paths)
}

struct Paths;

impl<'de> Visitor<'de> for Paths {
    type Value = Vec<PathBuf>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path or a list of paths")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<Vec<PathBuf>, E> {
        Ok(vec![check_name(path.to_owned()).map_err(E::custom)?])
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<PathBuf>, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = list.next_element::<String>()? {
            paths.push(check_name(path).map_err(A::Error::custom)?);
        }
        Ok(paths)
    }
}

/// An array of disk tables.
pub fn disks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DiskSpec>, D::Error> {
    let tables = Vec::<DiskTable>::deserialize(deserializer)?;
    let disk = |DiskTable { id, path, format, force_raw, block_size, readonly, serial, on_error }| {
        let (format, on_error) = (format.unwrap_or_default(), on_error.unwrap_or_default());
        let disk = DiskSpec { id, path, format, force_raw, block_size, readonly, serial, on_error };
        disk.check().map(|()| disk).map_err(Error::custom)
    };
    tables.into_iter().map(disk).collect()
}

/// An array of module tables.
pub fn modules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ModuleSpec>, D::Error> {
    let tables = Vec::<ModuleTable>::deserialize(deserializer)?;
    let module = |ModuleTable { path, cmdline }| ModuleSpec { path, cmdline };
    Ok(tables.into_iter().map(module).collect())
}

/// An array of network card tables.
pub fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NetArgument>, D::Error> {
    let tables = Vec::<NetTable>::deserialize(deserializer)?;
    let card = |NetTable { tap, unplugged, id, mac, queues }| {
        if tap.is_none() != unplugged {
            return Err(Error::custom("a card has either an interface (tap) or is unplugged"));
        }
        let card = NetSpec::new(tap.as_deref(), mac, queues.unwrap_or(1)).map_err(Error::custom)?;
        Ok(NetArgument::Card(NetSpec { id, ..card }))
    };
    tables.into_iter().map(card).collect()
}
