//! Target `catalogue`: a catalogue of images, and a list of checksums, each of any text.
//!
//! Always: a mistake is one line, at a line of the file; an entry has something to be had from, one file for each
//! architecture, and no list that may be changed on its way; a checksum that is found stands in the list.

use std::collections::HashSet;
use std::path::Path;

use image_model::ChecksumKind;
use image_sources::{Catalogue, CatalogueError, VendorChecksum, find_checksum};

use crate::{Notation, Script, Seed};

const CATALOGUE: u8 = 0;
/// With the length of a file's name and the name before it.
const LIST: u8 = 1;
const LIST_SHA512: u8 = 2;
const KINDS: u8 = 3;

/// Runs one input: what it is, then its text.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.u8() % KINDS {
        CATALOGUE => check_catalogue(&String::from_utf8_lossy(script.remaining())),
        LIST => check_list(&mut script, ChecksumKind::Sha256),
        _ => check_list(&mut script, ChecksumKind::Sha512),
    }
}

fn check_catalogue(text: &str) {
    let path = Path::new("x.toml");
    let mut catalogue = Catalogue::default();
    match catalogue.add(path, text) {
        Ok(()) => {}
        Err(CatalogueError::Form { line, what, .. }) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "{line}: {what}");
            assert!(!what.is_empty() && !what.chars().any(char::is_control), "{what:?}");
            return assert_eq!(catalogue, Catalogue::default(), "half a file was added");
        }
        Err(error) => panic!("{error}"),
    }
    for entry in catalogue.entries() {
        assert_eq!(catalogue.entry(&entry.alias).expect("it is there").alias, entry.alias);
        assert!(!entry.files.is_empty() || entry.recipe.is_some());
        let architectures: HashSet<_> = entry.files.iter().map(|file| file.architecture).collect();
        assert_eq!(architectures.len(), entry.files.len());
        for file in &entry.files {
            assert!(matches!(file.url.scheme(), "http" | "https") && file.url.username().is_empty());
            if let VendorChecksum::Listed { url, .. } = &file.checksum {
                assert!(url.scheme() == "https" || is_here(url.host_str().unwrap_or_default()), "{url}");
            }
        }
    }
    let once = catalogue.clone();
    catalogue.add(path, text).expect("as before");
    assert_eq!(catalogue, once);
}

/// An address of this host.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

fn check_list(script: &mut Script<'_>, kind: ChecksumKind) {
    let length = usize::from(script.u8());
    let name = String::from_utf8_lossy(script.bytes(length)).into_owned();
    let list = String::from_utf8_lossy(script.remaining());
    if let Ok(found) = find_checksum(&list, &name, kind) {
        assert_eq!((found.kind(), found.hex().len()), (kind, kind.digits()));
        assert!(list.to_ascii_lowercase().contains(found.hex()), "{}", found.hex());
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<Seed> {
    let entry = |more: &str, file: &str| {
        format!(
            "[[image]]\nalias = \"a/1\"\nos = \"a\"\nrelease = \"1\"\ndescription = \"A\"\nmin_disk = \"1G\"\nmin_memory = \"64M\"\nboot = \"from-disk\"\nfirst_boot = \"none\"\n{more}{file}"
        )
    };
    let file = |architecture: &str, format: &str, checksum: &str| {
        format!(
            "[[image.file]]\narchitecture = \"{architecture}\"\nurl = \"https://a.example/b.x\"\nformat = \"{format}\"\n{checksum}\n"
        )
    };
    let list = "sha256_list = \"https://a.example/S\"";
    let list_here = "sha512_list = \"http://127.0.0.1/S\"";
    let pinned = format!("checksum = \"sha256:{}\"", "ab".repeat(32));
    let two = file("x86_64", "qcow2", list) + &file("aarch64", "raw.xz", &pinned);
    let firmware = entry("variant = \"v\"\ndefault_user = \"u\"\n", &file("riscv64", "oci.gz", list_here))
        .replace("from-disk", "firmware")
        .replace("\"none\"", "\"cloud-init\"");
    let catalogue = |text: &str| Notation::new().u8(CATALOGUE).bytes(text.as_bytes()).finish();
    let listed =
        |kind: u8, text: &str| Notation::new().u8(kind).u8(3).bytes(b"b.x").bytes(text.as_bytes()).finish();
    let (short, long) = ("a1".repeat(32), "c3".repeat(64));
    vec![
        ("two_files", catalogue(&entry("", &two))),
        ("recipe", catalogue(&entry("recipe = \"a/1\"\n", ""))),
        ("firmware", catalogue(&firmware)),
        ("twice", catalogue(&(entry("", &two) + &entry("", &two)))),
        ("unknown_key", catalogue(&entry("x = 1\n", &two))),
        ("gnu", listed(LIST, &format!("{short} *./b.x\n"))),
        ("bsd", listed(LIST, &format!("# b.x\nSHA256 (b.x) = {short}\n"))),
        ("alone", listed(LIST, &short)),
        ("sha512", listed(LIST_SHA512, &format!("{long}  b.x"))),
    ]
}
