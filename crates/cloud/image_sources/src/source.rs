//! What a person names when a new image is to be made, as a checked type.

use std::path::{Path, PathBuf};

use image_model::Alias;
use oci_image::OciReference;
use reqwest::Url;

use crate::file_kind::FileKind;

/// A place where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An entry of the catalogue; where its vendor cannot be reached, its recipe.
    Catalogue(Alias),
    /// A file of this host.
    File {
        /// Where.
        path: PathBuf,
        /// What is in it, as stated or as its name says; nothing where its contents are to tell.
        kind: Option<FileKind>,
    },
    /// An address.
    Url {
        /// Which.
        url: Url,
        /// The same.
        kind: Option<FileKind>,
    },
    /// An OCI image of a registry.
    Oci(OciReference),
}

/// A word that names no source: what is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

impl Source {
    /// Tells by its form what a person means: `oci:…` is an OCI image, `https://…` an address, what has a `.`
    /// or `/` at its start a file, and all else a name of the catalogue. `kind` is what the person stated
    /// with `--format`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str, kind: Option<FileKind>) -> Result<Source, SourceError> {
        let refused = |error: &dyn std::fmt::Display| SourceError(error.to_string());
        let kind_of = |name: &Path| kind.or_else(|| FileKind::of_name(name));
        if text.starts_with("oci:") {
            return text.parse().map(Source::Oci).map_err(|error| refused(&error));
        }
        if text.contains("://") {
            let url = crate::fetch::parse_url(text).map_err(|error| refused(&error))?;
            let kind = kind_of(Path::new(url.path()));
            return Ok(Source::Url { url, kind });
        }
        if text.starts_with(['.', '/']) {
            let path = PathBuf::from(text);
            let kind = kind_of(&path);
            return Ok(Source::File { path, kind });
        }
        text.parse().map(Source::Catalogue).map_err(|error| refused(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_tells_what_is_meant() {
        let parse = |text| Source::parse(text, None);
        assert_eq!(parse("debian/12"), Ok(Source::Catalogue("debian/12".parse().unwrap())));
        assert!(matches!(parse("oci:registry.example/a:1"), Ok(Source::Oci(_))));
        assert!(matches!(parse("./a.qcow2"), Ok(Source::File { .. })));
        assert!(matches!(parse("/a.raw.xz"), Ok(Source::File { .. })));
        assert!(matches!(parse("https://a.example/b.qcow2?c=d"), Ok(Source::Url { .. })));
        assert!(matches!(parse("/a.img"), Ok(Source::File { kind: None, .. })), "its contents tell");
        let stated = Source::parse("/a.img", "qcow2".parse().ok());
        assert!(matches!(stated, Ok(Source::File { kind: Some(_), .. })));
        for bad in ["", "oci:", "ftp://a.example/b.raw", "Debian", "a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
