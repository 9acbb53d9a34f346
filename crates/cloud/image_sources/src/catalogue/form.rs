//! The catalogue's file as it is written, checked word by word while it is read: a mistake is told with its
//! line.

use std::net::IpAddr;

use image_model::{Alias, Architecture, Checksum};
use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;
use vm_spec::{DiskSize, MemorySize};

use crate::file_kind::FileKind;

const WORD_CHARS_MAX: usize = 64;
const LINE_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileForm {
    #[serde(default)]
    pub(super) image: Vec<Spanned<EntryForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryForm {
    pub(super) alias: Alias,
    pub(super) os: Word,
    pub(super) release: Word,
    pub(super) variant: Option<Word>,
    pub(super) description: Line,
    pub(super) default_user: Option<Word>,
    pub(super) min_disk: DiskText,
    pub(super) min_memory: MemoryText,
    pub(super) boot: BootForm,
    pub(super) first_boot: FirstBootForm,
    /// The recipe that builds the like of it from packages.
    pub(super) recipe: Option<Alias>,
    #[serde(default)]
    pub(super) file: Vec<Spanned<VendorFileForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VendorFileForm {
    pub(super) architecture: ArchitectureText,
    pub(super) url: Address,
    pub(super) format: KindText,
    /// The checksum itself,
    pub(super) checksum: Option<Checksum>,
    /// or where a list with it is, and of what kind.
    pub(super) sha256_list: Option<Address>,
    pub(super) sha512_list: Option<Address>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BootForm {
    FromDisk,
    Firmware,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FirstBootForm {
    CloudInit,
    None,
}

/// Defines a type that is read from a text by a function.
macro_rules! text {
    ($name:ident, $inner:ty, $parse:expr) => {
        #[derive(Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) $inner);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<$name, String> {
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(&text).map($name)
            }
        }
    };
}

text!(Word, String, word);
text!(Line, String, line);
text!(Address, Url, address);
text!(DiskText, DiskSize, |text| text.parse().map_err(|error: vm_spec::BadValue| error.to_string()));
text!(MemoryText, MemorySize, |text| text.parse().map_err(|error: vm_spec::BadValue| error.to_string()));
text!(ArchitectureText, Architecture, |text| text.parse().map_err(|error: image_model::NameError| error.0));
text!(KindText, FileKind, |text| text.parse().map_err(|error: crate::FileKindError| error.to_string()));

fn word(text: &str) -> Result<String, String> {
    let right = (1..=WORD_CHARS_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
    let refused = || format!("'{}' takes up to 64 letters, digits and . _ + -", text.escape_default());
    right.then(|| text.to_owned()).ok_or_else(refused)
}

fn line(text: &str) -> Result<String, String> {
    let right = text.chars().count() <= LINE_CHARS_MAX && !text.chars().any(char::is_control);
    let refused = || format!("a description is one line of up to {LINE_CHARS_MAX} characters");
    right.then(|| text.to_owned()).ok_or_else(refused)
}

/// An address of a file, with a name at its end, without passwords and the like.
fn address(text: &str) -> Result<Url, String> {
    let url = crate::fetch::parse_url(text).map_err(|error| error.to_string())?;
    let shown = text.escape_default();
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("'{shown}' has a user, a password or a # in it"));
    }
    if file_name(&url).is_empty() {
        return Err(format!("'{shown}' is a folder, not a file"));
    }
    Ok(url)
}

/// The name at the end of an address.
pub(super) fn file_name(url: &Url) -> &str {
    url.path().rsplit('/').next().unwrap_or_default()
}

/// Whether what comes from there may be changed on the way: plain http, but for this host itself.
pub(super) fn is_open_to_change(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    url.scheme() != "https" && !is_here
}
