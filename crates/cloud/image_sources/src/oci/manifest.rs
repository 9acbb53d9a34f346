//! Manifests, indexes and configurations (image-spec v1.1; Docker's schema 2 is the same in all that matters
//! here).

use std::collections::BTreeMap;

use image_store::{Architecture, Digest};
use serde::Deserialize;

use super::OciError;
use image_import::Compression;

/// Longest manifest, index or configuration that is read, as registries limit them.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// More layers than any sensible image has; overlay file systems end long before.
const LAYERS_MAX: usize = 512;
/// Media types that a registry is asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A pointer to a blob (image-spec, "Content Descriptors").
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
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
pub(super) enum Manifest {
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

/// What a container would be started with (image-spec, "Image Configuration").
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OciConfig {
    /// `NAME=value`.
    #[serde(deserialize_with = "or_none")]
    pub env: Vec<String>,
    /// What is executed, before `cmd`.
    #[serde(deserialize_with = "or_none")]
    pub entrypoint: Vec<String>,
    /// Its arguments, or what is executed where there is no entry point.
    #[serde(deserialize_with = "or_none")]
    pub cmd: Vec<String>,
    /// As whom: a name or a number, with `:` and a group behind it perhaps.
    #[serde(deserialize_with = "or_none")]
    pub user: String,
    /// Where.
    #[serde(deserialize_with = "or_none")]
    pub working_dir: String,
    /// The signal that asks it to end.
    #[serde(deserialize_with = "or_none")]
    pub stop_signal: String,
    /// What its maker says of it.
    #[serde(deserialize_with = "or_none")]
    pub labels: BTreeMap<String, String>,
}

/// `null` is what Go writes for what is empty.
fn or_none<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct ConfigFile {
    architecture: String,
    os: String,
    #[serde(default, deserialize_with = "or_none")]
    config: OciConfig,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

/// A configuration, as far as it matters here.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) architecture: Architecture,
    pub(super) config: OciConfig,
    /// The SHA-256 of each layer as it is when it is decompressed.
    pub(super) diff_ids: Vec<Digest>,
}

/// Reads a manifest or an index.
pub(super) fn parse_manifest(bytes: &[u8]) -> Result<Manifest, OciError> {
    let document: Document = parse(bytes, "manifest")?;
    match document {
        Document { manifests: Some(manifests), config: None, layers: None } => Ok(Manifest::Index(manifests)),
        Document { manifests: None, config: Some(config), layers: Some(layers) } => {
            if layers.is_empty() || layers.len() > LAYERS_MAX {
                return Err(nonsense(format!("it has {} layers (1 to {LAYERS_MAX})", layers.len())));
            }
            Ok(Manifest::Image { config, layers })
        }
        // One that is both is taken for one by some and for the other by others.
        _ => Err(nonsense("its manifest is neither of one image nor of several")),
    }
}

/// Reads a configuration whose image has `layers` layers.
pub(super) fn parse_config(bytes: &[u8], layers: usize, wanted: Architecture) -> Result<Config, OciError> {
    let file: ConfigFile = parse(bytes, "configuration")?;
    let architecture = file.architecture.parse::<Architecture>().ok().filter(|_| file.os == "linux");
    let Some(architecture) = architecture.filter(|found| *found == wanted) else {
        return Err(OciError::Platform { wanted, found: vec![platform(&file.os, &file.architecture)] });
    };
    if file.rootfs.kind != "layers" || file.rootfs.diff_ids.len() != layers {
        return Err(nonsense("its configuration and its manifest differ in their layers"));
    }
    Ok(Config { architecture, config: file.config, diff_ids: file.rootfs.diff_ids })
}

/// The one of several images that is for these processors.
pub(super) fn choose(manifests: &[Descriptor], wanted: Architecture) -> Result<&Descriptor, OciError> {
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
        OciError::Platform { wanted, found: found.collect() }
    })
}

/// How a layer is compressed (image-spec, "Image Layer Filesystem Changeset").
pub(super) fn layer_compression(media_type: &str) -> Result<Compression, OciError> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(Compression::None)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        _ => Err(nonsense(format!(
            "a layer is of the kind '{}', which is not read",
            media_type.escape_default()
        ))),
    }
}

pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|error| nonsense(format!("its {what} cannot be read: {error}")))
}

pub(super) fn nonsense(what: impl Into<String>) -> OciError {
    OciError::Nonsense(what.into())
}

fn platform(os: &str, architecture: &str) -> String {
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

    #[test]
    fn configurations_are_read_as_docker_writes_them() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"],"Cmd":["sh"],"Entrypoint":null,"User":"www","Unknown":1}},
               "rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}},"history":[]}}"#
        );
        let config = parse_config(text.as_bytes(), 1, Architecture::X86_64).unwrap();
        assert_eq!((config.config.env.len(), config.config.user.as_str()), (1, "www"));
        assert!(config.config.entrypoint.is_empty());
        assert!(parse_config(text.as_bytes(), 2, Architecture::X86_64).is_err());
        assert!(parse_config(text.as_bytes(), 1, Architecture::Aarch64).is_err());
        let none = text.replace(r#""config":{"Env""#, r#""config":null,"x":{"Env""#);
        assert_eq!(
            parse_config(none.as_bytes(), 1, Architecture::X86_64).unwrap().config,
            OciConfig::default()
        );
    }
}
