//! Target `oci_documents`: manifests, indexes, configurations and names of OCI images, each of any text.
//!
//! Always: an image has as many layers as are let through, and its configuration as many as its manifest; what is chosen
//! is one of those that were to be chosen from; a name that is taken apart is the same when it is put together; a complaint
//! about a document is short.

use image_model::Architecture;
use oci_image::{
    CONFIG_BYTES_MAX, LAYERS_MAX, Manifest, OciImageError, OciReference, choose, layer_compression,
    parse_config, parse_manifest,
};

use crate::oci_archive::COMPLAINT_BYTES_MAX;
use crate::{Notation, Script, Seed};

const ARCHITECTURES: [Architecture; 3] = [Architecture::X86_64, Architecture::Aarch64, Architecture::Riscv64];

const MANIFEST: u8 = 0;
/// With the number of the manifest's layers before it.
const CONFIG: u8 = 1;
const REFERENCE: u8 = 2;
const KINDS: u8 = 3;

/// Runs one input: what it is, then its text.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.u8() % KINDS {
        MANIFEST => check_manifest(script.remaining()),
        CONFIG => check_config(usize::from(script.u8()), script.remaining()),
        _ => check_reference(&String::from_utf8_lossy(script.remaining())),
    }
}

fn check_manifest(text: &[u8]) {
    match parse_manifest(text) {
        Err(error) => complaint(&error),
        Ok(Manifest::Image { layers, .. }) => {
            assert!((1..=LAYERS_MAX).contains(&layers.len()));
            for layer in &layers {
                layer_compression(&layer.media_type).map(drop).unwrap_or_else(|error| complaint(&error));
            }
        }
        Ok(Manifest::Index(manifests)) => {
            for architecture in ARCHITECTURES {
                match choose(&manifests, architecture) {
                    Ok(chosen) => assert!(manifests.iter().any(|one| std::ptr::eq(one, chosen))),
                    Err(error) => complaint(&error),
                }
            }
        }
    }
}

fn check_config(layers: usize, text: &[u8]) {
    for architecture in ARCHITECTURES {
        match parse_config(text, layers, architecture) {
            Err(error) => complaint(&error),
            Ok(config) => {
                assert_eq!((config.architecture, config.diff_ids.len()), (architecture, layers));
                assert!(config.config.words_bytes() <= CONFIG_BYTES_MAX);
            }
        }
    }
}

fn check_reference(text: &str) {
    let Ok(reference) = text.parse::<OciReference>() else { return };
    assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
    assert_eq!(format!("oci:{reference}").parse(), Ok(reference.clone()));
    for part in [reference.host(), reference.repository(), &reference.version()] {
        assert!(!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic()), "{part:?}");
        assert!(!part.contains(['?', '#', '%', '\\']), "{part:?}");
        assert!(!part.split('/').any(|name| matches!(name, "" | "." | "..")), "{part:?}");
    }
}

fn complaint(error: &OciImageError) {
    assert!(error.to_string().len() < COMPLAINT_BYTES_MAX, "{error}");
}

/// Inputs to start from.
pub fn seeds() -> Vec<Seed> {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let descriptor = |kind: &str, more: &str| {
        format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":5{more}}}"#)
    };
    let platform = |os: &str, architecture: &str| {
        let platform = format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#);
        descriptor("manifest.v1+json", &platform)
    };
    let config = descriptor("config.v1+json", "");
    let layers = ["tar", "tar+gzip", "tar+zstd"].map(|kind| descriptor(&format!("layer.v1.{kind}"), ""));
    let image = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
    let manifests = [platform("linux", "amd64"), platform("linux", "arm64"), platform("unknown", "unknown")];
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, manifests.join(","));
    let alone = format!(r#"{{"manifests":[{config}]}}"#);
    let words = r#"{"Env":["A=b"],"Entrypoint":null,"Cmd":["sh"],"User":"www","WorkingDir":"/x","Labels":{"org.opencontainers.image.title":"t"}}"#;
    let configuration = |words: &str| {
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{words},"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
        )
    };
    let manifest = |text: &str| Notation::new().u8(MANIFEST).bytes(text.as_bytes()).finish();
    let config = |text: &str| Notation::new().u8(CONFIG).u8(1).bytes(text.as_bytes()).finish();
    let reference = |text: &str| Notation::new().u8(REFERENCE).bytes(text.as_bytes()).finish();
    vec![
        ("image", manifest(&image)),
        ("index", manifest(&index)),
        ("alone", manifest(&alone)),
        ("config", config(&configuration(words))),
        ("config_null", config(&configuration("null"))),
        ("reference", reference(&format!("oci:registry.example:5000/team/name:1.2@{digest}"))),
        ("reference_short", reference("localhost/a.b-c__d")),
    ]
}
