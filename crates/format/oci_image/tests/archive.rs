//! Archives with OCI images, good ones and hostile ones.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::collections::BTreeMap;
use std::io::Cursor;

use image_model::Architecture;
use oci_image::{
    ArchivedImage, ArchivedLayer, CONFIG_BYTES_MAX, LAYERS_MAX, LayerCompression, OciImageError, OciOptions,
    read_archive,
};
use sha2::{Digest, Sha256};

const OPTIONS: OciOptions = OciOptions { architecture: Architecture::X86_64, bytes_max: 1 << 20 };
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

type Entries = Vec<(String, Vec<u8>)>;

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn blob(bytes: &[u8]) -> (String, Vec<u8>) {
    (format!("blobs/sha256/{}", hex(bytes)), bytes.to_vec())
}

fn descriptor(media_type: &str, bytes: &[u8], more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}{more}}}"#, digest(bytes), bytes.len())
}

/// Bytes that look like nothing, the same each time.
fn body(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// A configuration of an image with these layers.
fn config(config: &str, layers: &[&[u8]]) -> String {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", digest(layer))).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    )
}

/// A layout with an image of two layers, of which the second is said to be packed by gzip, and with one that is not
/// there.
struct Layout {
    entries: Entries,
    manifest: Vec<u8>,
    config: Vec<u8>,
    layers: [Vec<u8>; 2],
}

impl Layout {
    fn new() -> Layout {
        let layers = [body(30_000), body(20_000)];
        let words = r#"{"Env":["A=b"],"Entrypoint":["/x"],"User":"www"}"#;
        let config = config(words, &[&layers[0], b"what is in the second"]).into_bytes();
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#,
            descriptor(CONFIG, &config, ""),
            descriptor(LAYER, &layers[0], ""),
            descriptor(&format!("{LAYER}+gzip"), &layers[1], "")
        )
        .into_bytes();
        let platform =
            |architecture: &str| format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}"#);
        let inner = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
            descriptor(MANIFEST, b"the manifest for arm64", &platform("arm64")),
            descriptor(MANIFEST, &manifest, &platform("amd64"))
        )
        .into_bytes();
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(INDEX, &inner, ""));
        let mut entries = vec![("oci-layout".to_owned(), b"{}".to_vec())];
        entries.extend([&config, &manifest, &inner, &layers[0], &layers[1]].map(|bytes| blob(bytes)));
        entries.push(("index.json".to_owned(), index.into_bytes()));
        Layout { entries, manifest, config, layers }
    }

    fn without(&self, name: &str) -> Entries {
        self.entries.iter().filter(|(known, _)| known != name).cloned().collect()
    }

    /// With other bytes under a name.
    fn with(&self, name: &str, change: impl Fn(&mut Vec<u8>)) -> Entries {
        let mut entries = self.entries.clone();
        change(&mut entries.iter_mut().find(|(known, _)| known == name).unwrap().1);
        entries
    }
}

/// A tar archive of these entries.
fn archive<N: AsRef<str>, B: AsRef<[u8]>>(entries: &[(N, B)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.as_ref().len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name.as_ref(), bytes.as_ref()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn read(archive: &[u8]) -> Result<ArchivedImage, OciImageError> {
    read_archive(Cursor::new(archive), OPTIONS)
}

/// What is where a layer is said to be.
fn bytes_of(archive: &[u8], layer: &ArchivedLayer) -> Vec<u8> {
    let start = layer.range.offset_bytes as usize;
    archive[start..start + layer.range.length_bytes as usize].to_vec()
}

fn layers_of(archive: &[u8], image: &ArchivedImage) -> Vec<Vec<u8>> {
    image.layers.iter().map(|layer| bytes_of(archive, layer)).collect()
}

#[track_caller]
fn refuse(archive: &[u8], words: &str) {
    let error = read(archive).unwrap_err().to_string();
    assert!(error.contains(words), "{words}: {error}");
}

#[test]
fn a_layout_is_read() {
    let layout = Layout::new();
    let bytes = archive(&layout.entries);
    let found = read(&bytes).unwrap();
    assert_eq!(found.architecture, Architecture::X86_64);
    assert_eq!(found.digest.to_string(), digest(&layout.manifest));
    assert_eq!((&*found.config.env, &*found.config.user), (&["A=b".to_owned()][..], "www"));
    assert_eq!(layers_of(&bytes, &found), layout.layers);
    let [first, second] = found.layers.as_slice() else { panic!("{found:?}") };
    assert_eq!((first.compression, second.compression), (LayerCompression::None, LayerCompression::Gzip));
    assert_eq!(first.digest, first.diff_id);
    assert_eq!(second.diff_id.to_string(), digest(b"what is in the second"));
}

#[test]
fn what_docker_save_writes_is_read() {
    let layers = [body(3000), body(2000)];
    let config = config("null", &[&layers[0], &layers[1]]);
    let saved = |manifest: &str| {
        archive(&[
            ("c.json", config.as_bytes()),
            ("./one/layer.tar", &layers[0]),
            ("two/layer.tar", &layers[1]),
            ("manifest.json", manifest.as_bytes()),
        ])
    };
    let named = |layers: &str| format!(r#"[{{"Config":"c.json","RepoTags":["a:b"],"Layers":[{layers}]}}]"#);
    let bytes = saved(&named(r#""one/layer.tar","two/layer.tar""#));
    let found = read(&bytes).unwrap();
    assert_eq!(layers_of(&bytes, &found), layers);
    assert!(found.layers.iter().all(|layer| layer.digest == layer.diff_id));
    assert_eq!(found.digest.to_string(), digest(config.as_bytes()));
    refuse(&saved("[]"), "holds 0 images");
    refuse(&saved(&named("")), "has 0 layers");
    refuse(&saved(&named(r#""one/layer.tar""#)), "differ in their layers");
    refuse(&saved(&named(r#""one/layer.tar","../../../../etc/passwd""#)), "no file ../../");
    let options = OciOptions { bytes_max: 4999, ..OPTIONS };
    let error = read_archive(Cursor::new(&bytes), options).unwrap_err();
    assert_eq!(error, OciImageError::TooLarge { bytes: 5000, bytes_max: 4999 });
}

#[test]
fn hostile_archives_are_refused() {
    let layout = Layout::new();
    let refuse = |entries: &Entries, words: &str| refuse(&archive(entries), words);
    let layer = blob(&layout.layers[0]).0;
    refuse(&Vec::new(), "neither an index.json");
    refuse(&layout.without(&layer), "no file");
    refuse(&layout.with(&layer, |bytes| bytes.push(0)), "not as long as its manifest says");
    let twice = [&layout.entries[..], &layout.entries[1..2]].concat();
    refuse(&twice, "twice");
    for document in [&layout.config, &layout.manifest] {
        refuse(&layout.with(&blob(document).0, |bytes| bytes[5] ^= 1), "is damaged");
    }
    refuse(&layout.with("index.json", |bytes| *bytes = vec![b' '; 5 << 20]), "too long");
    let many: Entries = (0..9000).map(|at| (format!("{at}"), Vec::new())).collect();
    refuse(&many, "more than 8192 entries");
    let error = read_archive(
        Cursor::new(archive(&layout.entries)),
        OciOptions { architecture: Architecture::Riscv64, ..OPTIONS },
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("linux/riscv64"), "{error}");
}

#[test]
fn images_have_as_many_layers_as_are_taken() {
    let layer = body(10);
    let saved = |count: usize| {
        let config = config("{}", &vec![&layer[..]; count]);
        let names = vec!["\"l\""; count].join(",");
        let manifest = format!(r#"[{{"Config":"c","Layers":[{names}]}}]"#);
        archive(&[("l", &layer[..]), ("c", config.as_bytes()), ("manifest.json", manifest.as_bytes())])
    };
    assert_eq!(read(&saved(LAYERS_MAX)).unwrap().layers.len(), LAYERS_MAX);
    refuse(&saved(LAYERS_MAX + 1), "has 513 layers");
}

#[test]
fn long_words_are_refused() {
    let config = config(&format!(r#"{{"User":"{}"}}"#, "x".repeat(CONFIG_BYTES_MAX)), &[b""]);
    let manifest = br#"[{"Config":"c","Layers":["l"]}]"#;
    refuse(&archive(&[("l", &b""[..]), ("c", config.as_bytes()), ("manifest.json", manifest)]), "of words");
}

#[test]
fn changed_archives_are_refused_or_say_the_same() {
    let layout = Layout::new();
    let good = archive(&layout.entries);
    let ends: BTreeMap<u64, u64> = read(&good)
        .unwrap()
        .layers
        .iter()
        .map(|layer| (layer.range.offset_bytes, layer.range.length_bytes))
        .collect();
    let in_layer =
        |at: usize| ends.iter().any(|(start, length)| (*start..start + length).contains(&(at as u64)));
    let mut refused = 0;
    for change in body(4 * 3000).chunks(4) {
        let at = usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
        let mut bad = good.clone();
        // Headers and documents are a small part of it, and get half of the changes.
        let at = if change[3] & 1 == 0 { at % bad.len() } else { at % bad.len() / 512 * 512 + at % 160 };
        let at = at.min(bad.len() - 1);
        bad[at] ^= change[3] | 1;
        match read(&bad) {
            Ok(found) => assert_eq!(found.digest.to_string(), digest(&layout.manifest)),
            Err(error) => {
                refused += 1;
                // Who unpacks layers sees what is wrong with them.
                assert!(!in_layer(at), "{at}: {error}");
                assert!(
                    matches!(error, OciImageError::Nonsense(_) | OciImageError::Platform { .. }),
                    "{error}"
                );
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn an_index_that_leads_to_itself_ends() {
    // An index cannot name its own digest; a chain longer than anybody needs stands for it.
    let mut entries = Vec::new();
    let mut next = b"{}".to_vec();
    for _ in 0..8 {
        entries.push(blob(&next));
        next = format!(r#"{{"manifests":[{}]}}"#, descriptor(INDEX, &next, "")).into_bytes();
    }
    entries.push(("index.json".to_owned(), next));
    refuse(&archive(&entries), "without end");
}

#[test]
fn archives_cannot_claim_more_than_they_have() {
    for size in [1 << 20, 1 << 40, 0x7FFF_FFFF_FFFF_FFFF_u64, u64::MAX] {
        let mut header = tar::Header::new_gnu();
        header.set_path("index.json").unwrap();
        header.set_size(size);
        header.set_cksum();
        let mut archive = header.as_bytes().to_vec();
        archive.extend([0; 2048]);
        refuse(&archive, "no sound OCI image");
    }
    refuse(&body(100_000), "is no tar archive");
}
