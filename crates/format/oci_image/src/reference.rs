//! Names of OCI images: `registry.example:5000/team/name:tag@sha256:…`.
//!
//! The registry has to be named: none is taken for granted.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

use image_model::{Digest, NameError};

const REPOSITORY_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;
const DEFAULT_TAG: &str = "latest";

/// Where an OCI image is (distribution-spec, "Pull").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciReference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl OciReference {
    /// The registry's host, with its port if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest that the manifest has to have.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// Whether the registry is on this host, where plain HTTP is good enough.
    pub fn is_here(&self) -> bool {
        let host = self.host.rsplit_once(':').map_or(self.host.as_str(), |(host, _)| host);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for OciReference {
    type Err = NameError;

    /// Takes it with or without `oci:` before it.
    fn from_str(text: &str) -> Result<OciReference, NameError> {
        // What stands before an @ that is no digest's may be a login.
        let hidden = text.split_once('@').filter(|(_, rest)| !rest.starts_with("sha256:"));
        let shown = hidden.map_or(text, |(_, rest)| rest).escape_default();
        let bad = |why: &str| NameError(format!("'{shown}' is not the name of an OCI image: {why}"));
        let text = text.strip_prefix("oci:").unwrap_or(text);
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) if digest.starts_with("sha256:") => (name, Some(digest.parse()?)),
            Some(_) => {
                return Err(bad(
                    "behind the @ there has to be sha256:…, and before the host no user or password",
                ));
            }
        };
        let (host, path) = name.split_once('/').filter(|(host, _)| is_host(host)).ok_or_else(|| {
            bad("the registry has to be named, as in oci:registry.example/name:tag; there is no default")
        })?;
        let (repository, tag) = match path.split_once(':') {
            None => (path, None),
            Some((repository, tag)) if is_tag(tag) => (repository, Some(tag.to_owned())),
            Some(_) => return Err(bad("the tag takes letters, digits and . _ -")),
        };
        let right = repository.len() <= REPOSITORY_CHARS_MAX && repository.split('/').all(is_component);
        if !right {
            return Err(bad("the name takes lower-case letters and digits, with . _ - between them"));
        }
        Ok(OciReference { host: host.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

impl Display for OciReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.host, self.repository)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(out, ":{tag}"))?;
        self.digest.map_or(Ok(()), |digest| write!(out, "@{digest}"))
    }
}

/// A host name with a dot or a port in it, or `localhost`: what a part of a repository's name cannot be taken
/// for.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_named = host == "localhost" || host.contains('.') || port.is_some();
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok()) && is_named
}

fn is_component(part: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(edge)
        && part.ends_with(edge)
        && part.chars().all(|c| edge(c) || "._-".contains(c))
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=TAG_CHARS_MAX).contains(&tag.len())
        && tag.starts_with(inner)
        && tag.chars().all(|c| inner(c) || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let digits = "ab".repeat(32);
        let whole = format!("oci:registry.example:5000/team/name:1.2@sha256:{digits}");
        let reference: OciReference = whole.parse().unwrap();
        assert_eq!((reference.host(), reference.repository()), ("registry.example:5000", "team/name"));
        assert_eq!(reference.version(), format!("sha256:{digits}"));
        assert_eq!(format!("oci:{reference}"), whole);
        assert_eq!("r.example/n".parse::<OciReference>().unwrap().version(), "latest");
        assert!("127.0.0.1:80/n".parse::<OciReference>().unwrap().is_here());
        assert!("localhost/n".parse::<OciReference>().unwrap().is_here());
        assert!(!"127.0.0.1.example/n".parse::<OciReference>().unwrap().is_here());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            "debian",
            "debian:12",
            "library/debian:12",
            "r.example/",
            "r.example/..",
            "r.example/a/../b",
            "r.example/A",
            "r.example/a:",
            "r.example/a:b/c",
            "r.example/a@md5:00",
            "r.example/a@sha256:00",
            "-r.example/a",
            "r.example:x/a",
            "r.example/a?b",
            "r example.x/a",
            "user@r.example/a",
        ] {
            assert!(bad.parse::<OciReference>().is_err(), "{bad}");
        }
        let error = "debian:12".parse::<OciReference>().unwrap_err().to_string();
        assert!(error.contains("registry has to be named"), "{error}");
    }
}
