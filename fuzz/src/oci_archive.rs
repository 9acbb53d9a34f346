//! Target `oci_archive`: an archive of any bytes, or a sound one with its documents changed (digests made right) and then
//! its bytes (headers' checksums made right); the image in it is read.
//!
//! Always: the same bytes say the same; an image is for the processors that were asked for; its layers are as many as
//! are let through, lie in the archive and are no more than was allowed; its words fit into an answer; a complaint is short.

use std::io::Cursor;

use image_model::{Architecture, Digest};
use oci_image::{CONFIG_BYTES_MAX, LAYERS_MAX, OciOptions, check_sizes, read_archive};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::{Notation, Script, Seed};

/// Longer than any complaint.
pub(crate) const COMPLAINT_BYTES_MAX: usize = 4096;
const BLOCK_BYTES: usize = 512;
/// Most layers and most entries more of an input: each is hashed and looked at, which takes time.
const LAYERS_OF_INPUT_MAX: usize = 12;
const ENTRIES_OF_INPUT_MAX: usize = 12;
/// How layers are said to be; the last is no layer.
const MEDIA_TYPES: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "text/plain",
];
const KINDS: [u8; 8] = *b"00\x0057xLK";

/// The whole archive is in the input.
const ANY_BYTES: u8 = 0x80;
/// As `docker save` writes it.
const SAVED: u8 = 1;
/// The index leads to another one.
const NESTED: u8 = 2;
/// Few bytes are allowed.
const SMALL: u8 = 4;
/// It is wanted for other processors.
const FOREIGN: u8 = 8;

/// A layer: media type, data.
const LAYER: u8 = 0;
/// A change of a document: which, where, how many bytes go, which come.
const EDIT: u8 = 1;
/// An entry more: kind, name, data.
const ENTRY: u8 = 2;
/// A change of the archive's byte: block, offset in it, byte; the block's checksum as a header is made right.
const BYTE: u8 = 3;
const OPERATIONS: u8 = 4;

const CONFIG: usize = 0;
const MANIFEST: usize = 1;
const INNER_INDEX: usize = 2;
const INDEX: usize = 3;
const DOCUMENTS: usize = 4;

struct Edit<'a> {
    at: usize,
    removed: usize,
    inserted: &'a [u8],
}

/// What an input asks for.
#[derive(Default)]
struct Plan<'a> {
    flags: u8,
    layers: Vec<(&'static str, &'a [u8])>,
    edits: [Vec<Edit<'a>>; DOCUMENTS],
    entries: Vec<(u8, &'a [u8], &'a [u8])>,
    bytes: Vec<(usize, usize, u8)>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let architecture = if flags & FOREIGN != 0 { Architecture::Aarch64 } else { Architecture::X86_64 };
    let options = OciOptions { architecture, bytes_max: if flags & SMALL != 0 { 64 } else { 1 << 20 } };
    if flags & ANY_BYTES != 0 {
        check(script.remaining(), options);
    } else {
        check(&build(&plan(flags, &mut script)), options);
    }
}

fn check(archive: &[u8], options: OciOptions) {
    let read = || read_archive(Cursor::new(archive), options);
    let found = read();
    assert_eq!(found, read());
    let image = match found {
        Ok(image) => image,
        Err(error) => return assert!(error.to_string().len() < COMPLAINT_BYTES_MAX, "{error}"),
    };
    assert_eq!(image.architecture, options.architecture);
    assert!((1..=LAYERS_MAX).contains(&image.layers.len()));
    assert!(image.config.words_bytes() <= CONFIG_BYTES_MAX);
    assert!(image.layers.iter().all(|layer| layer.range.lies_in(archive.len() as u64)));
    check_sizes(image.layers.iter().map(|layer| layer.range.length_bytes), options).expect("what is allowed");
}

fn plan<'a>(flags: u8, script: &mut Script<'a>) -> Plan<'a> {
    let mut plan = Plan { flags, ..Plan::default() };
    while let Some(operation) = script.operation(OPERATIONS) {
        match operation {
            LAYER => {
                let media_type = MEDIA_TYPES[usize::from(script.u8()) % MEDIA_TYPES.len()];
                let length = usize::from(script.u8());
                let data = script.bytes(length);
                if plan.layers.len() < LAYERS_OF_INPUT_MAX {
                    plan.layers.push((media_type, data));
                }
            }
            EDIT => {
                let document = usize::from(script.u8()) % DOCUMENTS;
                let (at, removed, length) = (script.u16(), script.u8(), script.u8());
                let inserted = script.bytes(length.into());
                plan.edits[document].push(Edit { at: at.into(), removed: removed.into(), inserted });
            }
            ENTRY => {
                let (kind, name, data) = (script.u8(), script.u8() % 101, script.u8());
                let (name, data) = (script.bytes(name.into()), script.bytes(data.into()));
                if plan.entries.len() < ENTRIES_OF_INPUT_MAX {
                    plan.entries.push((kind, name, data));
                }
            }
            _ => plan.bytes.push((script.u16().into(), script.u16().into(), script.u8())),
        }
    }
    plan
}

/// The archive, with digests that fit.
fn build(plan: &Plan<'_>) -> Vec<u8> {
    let mut archive = Vec::new();
    let layers: Vec<(String, &[u8])> = plan.layers.iter().map(|(_, data)| (blob_name(data), *data)).collect();
    for (at, (name, data)) in layers.iter().enumerate() {
        // Layers that are the same are there once.
        if layers[..at].iter().all(|(known, _)| known != name) {
            append(&mut archive, b'0', name.as_bytes(), data);
        }
    }
    let config = plan.changed(CONFIG, config(plan));
    append(&mut archive, b'0', blob_name(&config).as_bytes(), &config);
    if plan.flags & SAVED != 0 {
        let names: Vec<&String> = layers.iter().map(|(name, _)| name).collect();
        let saved = format!(r#"[{{"Config":"{}","RepoTags":null,"Layers":{names:?}}}]"#, blob_name(&config));
        append(&mut archive, b'0', b"./manifest.json", &plan.changed(INDEX, saved));
    } else {
        let manifest = plan.changed(MANIFEST, manifest(plan, &config));
        append(&mut archive, b'0', blob_name(&manifest).as_bytes(), &manifest);
        let mut top = manifest;
        if plan.flags & NESTED != 0 {
            top = plan.changed(INNER_INDEX, index(&top));
            append(&mut archive, b'0', blob_name(&top).as_bytes(), &top);
        }
        append(&mut archive, b'0', b"index.json", &plan.changed(INDEX, index(&top)));
    }
    for (kind, name, data) in &plan.entries {
        append(&mut archive, KINDS[usize::from(*kind) % KINDS.len()], name, data);
    }
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    for (block, offset, byte) in &plan.bytes {
        let start = block % (archive.len() / BLOCK_BYTES) * BLOCK_BYTES;
        let block = &mut archive[start..start + BLOCK_BYTES];
        block[offset % BLOCK_BYTES] = *byte;
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    archive
}

impl Plan<'_> {
    /// A document with the input's changes.
    fn changed(&self, document: usize, text: String) -> Vec<u8> {
        let mut text = text.into_bytes();
        for edit in &self.edits[document] {
            let at = edit.at.min(text.len());
            let end = (at + edit.removed).min(text.len());
            text.splice(at..end, edit.inserted.iter().copied());
        }
        text
    }
}

fn config(plan: &Plan<'_>) -> String {
    let diff_ids: Vec<String> = plan.layers.iter().map(|(_, data)| digest(data)).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"],"Cmd":["sh"],"User":"www","WorkingDir":"/","Labels":{{"org.opencontainers.image.title":"t"}}}},"rootfs":{{"type":"layers","diff_ids":{diff_ids:?}}}}}"#
    )
}

fn manifest(plan: &Plan<'_>, config: &[u8]) -> String {
    let layers: Vec<String> = plan.layers.iter().map(|(kind, data)| descriptor(kind, data, "")).collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", config, "");
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","))
}

fn index(of: &[u8]) -> String {
    let platform = r#","platform":{"os":"linux","architecture":"amd64"}"#;
    let one = descriptor("application/vnd.oci.image.manifest.v1+json", of, platform);
    format!(r#"{{"schemaVersion":2,"manifests":[{one}]}}"#)
}

fn descriptor(media_type: &str, bytes: &[u8], more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}{more}}}"#, digest(bytes), bytes.len())
}

fn digest(bytes: &[u8]) -> String {
    Digest::from_bytes(Sha256::digest(bytes).into()).to_string()
}

fn blob_name(bytes: &[u8]) -> String {
    format!("blobs/{}", digest(bytes).replace(':', "/"))
}

fn append(archive: &mut Vec<u8>, kind: u8, name: &[u8], data: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.set_size(data.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    archive.extend(header.as_bytes());
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Inputs to start from.
pub fn seeds() -> Vec<Seed> {
    let layer = |notation: Notation, kind: u8, data: &[u8]| {
        notation.u8(LAYER).u8(kind).u8(data.len() as u8).bytes(data)
    };
    let two = |flags: u8| layer(layer(Notation::new().u8(flags), 0, b"one"), 1, b"two");
    let edit = |notation: Notation, document: usize, at: u16, removed: u8, inserted: &[u8]| {
        let notation = notation.u8(EDIT).u8(document as u8).u16(at).u8(removed);
        notation.u8(inserted.len() as u8).bytes(inserted)
    };
    let entry = two(0).u8(ENTRY).u8(0).u8(10).u8(2).bytes(b"oci-layout").bytes(b"{}");
    let whole = build(&plan(0, &mut Script::new(&two(0).finish()[1..])));
    vec![
        ("layout", two(0).finish()),
        ("nested", two(NESTED).finish()),
        ("saved", two(SAVED).finish()),
        ("small", layer(two(SMALL), 2, &[7; 80]).finish()),
        ("foreign", two(FOREIGN).finish()),
        ("same_layers", layer(two(SAVED), 0, b"one").finish()),
        ("no_layer", Notation::new().u8(0).u8(LAYER).u8(4).finish()),
        ("entry", entry.finish()),
        ("edited_config", edit(two(0), CONFIG, 17, 5, b"arm64").finish()),
        ("edited_manifest", edit(two(0), MANIFEST, 0, 0, b" ").finish()),
        ("edited_index", edit(two(NESTED), INNER_INDEX, 19, 9, b"layers").finish()),
        ("edited_saved", edit(two(SAVED), INDEX, 0, 1, b"[{},").finish()),
        ("byte", two(0).u8(BYTE).u16(0).u16(124).u8(b'7').finish()),
        ("whole", Notation::new().u8(ANY_BYTES).bytes(&whole).finish()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_images_that_are_read() {
        for (name, layers) in [("layout", 2), ("nested", 2), ("saved", 2), ("same_layers", 3), ("entry", 2)] {
            let seed = seeds().into_iter().find(|(known, _)| *known == name).expect("a seed").1;
            let archive = build(&plan(seed[0], &mut Script::new(&seed[1..])));
            let options = OciOptions { architecture: Architecture::X86_64, bytes_max: 1 << 20 };
            let image = read_archive(Cursor::new(archive), options).expect(name);
            assert_eq!(image.layers.len(), layers, "{name}");
        }
    }
}
