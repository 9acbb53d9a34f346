//! Where images come from.

use std::fmt::{self, Display};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Checksum;

/// By what way an image came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A vendor's image, named in the catalogue; `location` is the catalogue's alias.
    Catalogue,
    /// Built from packages; `location` is the recipe's name.
    Packages,
    /// A file; `location` is its path.
    File,
    /// An address; `location` is the URL.
    Url,
    /// An OCI image; `location` is its reference, or the archive's path.
    Oci,
    /// An instance's disk; `location` is its name.
    Instance,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSource {
    /// The way.
    pub kind: SourceKind,
    /// Where on this way; see the kind.
    pub location: String,
    /// What the source's bytes amounted to as they came, before they were unpacked or converted.
    pub checksum: Option<Checksum>,
}

impl ImageSource {
    /// A file of this host.
    pub fn file(path: &Path) -> ImageSource {
        let location = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        ImageSource { kind: SourceKind::File, location, checksum: None }
    }

    /// An address, whose file has this checksum.
    pub fn url(url: &str, checksum: Option<Checksum>) -> ImageSource {
        ImageSource { kind: SourceKind::Url, location: url.to_owned(), checksum }
    }

    /// Whether the same bytes may be had again without a person's help.
    pub fn can_be_fetched_again(&self) -> bool {
        matches!(self.kind, SourceKind::Catalogue | SourceKind::Url | SourceKind::Oci)
    }
}

impl Display for ImageSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = &self.location;
        match self.kind {
            SourceKind::Catalogue => write!(out, "the vendor's image {location}"),
            SourceKind::Packages => write!(out, "built from packages by recipe {location}"),
            SourceKind::File => write!(out, "file {location}"),
            SourceKind::Url => write!(out, "{location}"),
            SourceKind::Oci => write!(out, "OCI image {location}"),
            SourceKind::Instance => write!(out, "instance {location}"),
        }
    }
}
