//! An image with one layer, as an OCI archive (image-spec, "Image Layout").

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::cases::Tree;

/// Programs of a usual image, each a link to busybox.
const PROGRAMS: &[&str] = &[
    "sh", "id", "env", "cat", "echo", "sleep", "stat", "hostname", "printf", "ps", "test", "sed", "kill",
    "[", "true",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/srv/ann:/bin/sh\n";
const GROUP: &str = "root:x:0:\nann:x:1000:\nstaff:x:50:ann\naudio:x:29:ann\n";

/// The archive's bytes.
pub fn image(config: &str, tree: Tree, busybox: &[u8]) -> Result<Vec<u8>> {
    let layer = layer(tree, busybox)?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": serde_json::from_str::<Value>(config)?,
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [descriptor("application/vnd.oci.image.manifest.v1+json", &manifest)],
    });
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "oci-layout", EntryType::Regular, "", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut archive, "index.json", EntryType::Regular, "", 0o644, index.to_string().as_bytes())?;
    for blob in [&config, &manifest, &layer] {
        let name = digest(blob).replace(':', "/");
        add(&mut archive, &format!("blobs/{name}"), EntryType::Regular, "", 0o644, blob)?;
    }
    Ok(archive.into_inner()?)
}

fn layer(tree: Tree, busybox: &[u8]) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    match tree {
        Tree::OneProgram => add(&mut layer, "busybox", EntryType::Regular, "", 0o755, busybox)?,
        Tree::Usual => {
            for folder in ["bin/", "etc/", "run/", "run/db/"] {
                add(&mut layer, folder, EntryType::Directory, "", 0o755, b"")?;
            }
            add(&mut layer, "bin/busybox", EntryType::Regular, "", 0o755, busybox)?;
            add(&mut layer, "bin/closed", EntryType::Regular, "", 0o600, b"#!/bin/sh\n")?;
            for program in PROGRAMS {
                add(&mut layer, &format!("bin/{program}"), EntryType::Symlink, "busybox", 0o777, b"")?;
            }
            add(&mut layer, "etc/passwd", EntryType::Regular, "", 0o644, PASSWD.as_bytes())?;
            add(&mut layer, "etc/group", EntryType::Regular, "", 0o644, GROUP.as_bytes())?;
            add(&mut layer, "pipe", EntryType::Fifo, "", 0o640, b"")?;
        }
    }
    Ok(layer.into_inner()?)
}

fn add(
    archive: &mut tar::Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    link: &str,
    mode: u32,
    data: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    if !link.is_empty() {
        header.set_link_name(link)?;
    }
    Ok(archive.append_data(&mut header, name, data)?)
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(blob), "size": blob.len()})
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
