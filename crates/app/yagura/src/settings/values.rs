//! Values as flags and TOML have them.
//!
//! A flag's value is text. In a file numbers and switches are TOML's own, and modules, disks and network
//! cards are tables; all of them end in the same types, which `vm_spec` checks.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use vm_spec::{BadValue, DiskSpec, ModuleSpec, NetSpec};

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
#[serde(deny_unknown_fields)]
struct DiskTable {
    path: PathBuf,
    #[serde(default, deserialize_with = "text")]
    format: Option<vm_spec::DiskFormat>,
    #[serde(default)]
    readonly: bool,
    #[serde(default, deserialize_with = "text")]
    serial: Option<vm_spec::DiskSerial>,
    #[serde(default, rename = "on-error", deserialize_with = "text")]
    on_error: Option<vm_spec::OnError>,
}

/// `[[module]]`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleTable {
    path: PathBuf,
    #[serde(default)]
    cmdline: String,
}

/// `[[net]]`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NetTable {
    tap: String,
    #[serde(default, deserialize_with = "text")]
    mac: Option<vm_spec::MacAddress>,
    queues: Option<u16>,
}

/// An array of disk tables.
pub fn disks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DiskSpec>, D::Error> {
    let tables = Vec::<DiskTable>::deserialize(deserializer)?;
    let disk = |DiskTable { path, format, readonly, serial, on_error }| DiskSpec {
        path,
        format: format.unwrap_or_default(),
        readonly,
        serial,
        on_error: on_error.unwrap_or_default(),
    };
    Ok(tables.into_iter().map(disk).collect())
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
    let card = |NetTable { tap, mac, queues }| NetSpec::new(&tap, mac, queues.unwrap_or(1));
    tables.into_iter().map(|table| card(table).map(NetArgument::Card).map_err(Error::custom)).collect()
}
