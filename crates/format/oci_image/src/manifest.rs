//! Manifests and indexes (image-spec v1.1, "Image Manifest", "Image Index"; Docker's schema 2 is the same in all that
//! matters here).

use image_model::{Architecture, Digest};
use serde::Deserialize;

use crate::OciImageError;

/// Longest manifest, index or configuration that is read, as registries limit them.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// More layers than any sensible image has; overlay file systems end long before.
pub const LAYERS_MAX: usize = 512;

/// A pointer to a blob (image-spec, "Content Descriptors").
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An index or a manifest; which, is told by what it has.
#[derive(Debug, Deserialize)]
struct Document {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// What a manifest or an index leads to.
#[derive(Debug)]
pub enum Manifest {
    /// To several images.
    Index(Vec<Descriptor>),
    /// To one.
    Image {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, the lowest first.
        layers: Vec<Descriptor>,
    },
}

/// Reads a manifest or an index.
///
/// # Errors
/// It makes no sense, or is both.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, OciImageError> {
    let document: Document = parse(bytes, "manifest")?;
    match document {
        Document { manifests: Some(manifests), config: None, layers: None } => Ok(Manifest::Index(manifests)),
        Document { manifests: None, config: Some(config), layers: Some(layers) } => {
            if layers.is_empty() || layers.len() > LAYERS_MAX {
                return Err(OciImageError::nonsense(format!(
                    "it has {} layers (1 to {LAYERS_MAX})",
                    layers.len()
                )));
            }
            Ok(Manifest::Image { config, layers })
        }
        // One that is both is taken for one by some and for the other by others.
        _ => Err(OciImageError::nonsense("its manifest is neither of one image nor of several")),
    }
}

/// The one of several images that is for these processors.
///
/// # Errors
/// There is none.
pub fn choose(manifests: &[Descriptor], wanted: Architecture) -> Result<&Descriptor, OciImageError> {
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let fits = |platform: &Platform| {
        platform.os == "linux" && platform.architecture.parse::<Architecture>() == Ok(wanted)
    };
    manifests.iter().find(|it| it.platform.as_ref().is_some_and(fits)).ok_or_else(|| {
        let platforms = manifests.iter().filter_map(|it| it.platform.as_ref());
        let found =
            platforms.map(|it| platform(&it.os, &it.architecture)).filter(|it| it != "unknown/unknown");
        OciImageError::platform(wanted, &found.collect::<Vec<_>>())
    })
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, OciImageError> {
    serde_json::from_slice(bytes).map_err(|error| {
        OciImageError::nonsense({
            let line = error.line();
            format!("its {what}, line {line}: {}", messages::parser_words(&error.to_string()))
        })
    })
}

pub(crate) fn platform(os: &str, architecture: &str) -> String {
    format!("{os}/{architecture}").escape_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:abababababababababababababababababababababababababababababababab";

    fn descriptor(rest: &str) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{DIGEST}","size":5{rest}}}"#
        )
    }

    fn platform(os: &str, architecture: &str) -> String {
        descriptor(&format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#))
    }

    #[test]
    fn manifests_are_one_thing_or_the_other() {
        let one = descriptor("");
        let image = format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one}]}}"#);
        assert!(matches!(parse_manifest(image.as_bytes()), Ok(Manifest::Image { .. })));
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{one}]}}"#);
        assert!(matches!(parse_manifest(index.as_bytes()), Ok(Manifest::Index(_))));
        for bad in [
            "",
            "{}",
            "[]",
            &format!(r#"{{"config":{one},"layers":[{one}],"manifests":[{one}]}}"#),
            &format!(r#"{{"config":{one},"layers":[]}}"#),
            &format!(r#"{{"layers":[{one}]}}"#),
            &image.replace(DIGEST, "sha256:../../x"),
            &image.replace("\"size\":5", "\"size\":-1"),
        ] {
            assert!(parse_manifest(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_platform_is_chosen() {
        let all = [platform("windows", "amd64"), platform("linux", "arm64"), platform("linux", "amd64")];
        let index = format!(r#"{{"manifests":[{}]}}"#, all.join(","));
        let Manifest::Index(manifests) = parse_manifest(index.as_bytes()).unwrap() else { panic!() };
        let chosen = choose(&manifests, Architecture::X86_64).unwrap().platform.clone().unwrap();
        assert_eq!((chosen.os.as_str(), chosen.architecture.as_str()), ("linux", "amd64"));
        let error = choose(&manifests, Architecture::Riscv64).unwrap_err().to_string();
        assert!(error.contains("linux/arm64") && error.contains("riscv64"), "{error}");
        assert!(choose(&[], Architecture::X86_64).is_err());
    }
}
