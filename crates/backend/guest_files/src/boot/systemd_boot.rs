//! systemd-boot: `loader/loader.conf`, entries of type 1, and unified kernel images in `EFI/Linux`.

use std::collections::BTreeMap;

use super::entry::{Entry, Files, Place, System, file, locate};
use super::{bls, pe, version};
use crate::{FileKind, read_small};

const ENTRY_LIMIT: usize = 4096;
const IMAGE_LIMIT: usize = 64;
const FILE_LIMIT_BYTES: u64 = 64 << 10;

/// A menu's entry before it is known which is the default.
struct Item {
    id: String,
    entry: Entry,
}

/// The entries of a place: what `default` of loader.conf matches first, then entries of type 1 in their order, then
/// unified kernel images, the newest first.
pub(super) fn entries(system: &System<'_>, place: &Place, passed_over: &mut Vec<String>) -> Vec<Entry> {
    let mut read = bls::read(system, place);
    read.sort_by(bls::BlsEntry::order);
    let mut items = Vec::new();
    for entry in read {
        let id = format!("{}.conf", entry.id);
        let Some(image) = entry.image() else {
            items.push(Item { id, entry: entry.into_entry(place, place.folder, &BTreeMap::new()) });
            continue;
        };
        if let Some(entry) = image_entry(system, place, image, passed_over) {
            items.push(Item { id, entry });
        }
    }
    items.extend(images(system, place, passed_over));
    let pattern = default_pattern(system, place);
    if let Some(pattern) = pattern
        && let Some(default) = items.iter().position(|item| matches(&pattern, &item.id.to_lowercase()))
    {
        items[..=default].rotate_right(1);
    }
    items.into_iter().map(|item| item.entry).collect()
}

/// The unified kernel images of a place; at last the loader that firmware starts by itself, which may be one.
fn images(system: &System<'_>, place: &Place, passed_over: &mut Vec<String>) -> Vec<Item> {
    let fs = system.fs(place);
    let folder = format!("{}/EFI/Linux", place.folder);
    let mut names: Vec<String> = fs.list(&folder, ENTRY_LIMIT).map_or(Vec::new(), |entries| {
        let images = entries.into_iter().filter(|entry| entry.kind == FileKind::Regular);
        images.map(|entry| entry.name).filter(|name| name.to_lowercase().ends_with(".efi")).collect()
    });
    names.sort_by(|left, right| version::compare(right, left));
    names.truncate(IMAGE_LIMIT);
    let mut paths: Vec<String> = names.into_iter().map(|name| format!("{folder}/{name}")).collect();
    for name in ["BOOTX64.EFI", "BOOTAA64.EFI", "BOOTRISCV64.EFI"] {
        paths.push(format!("{}/EFI/BOOT/{name}", place.folder));
    }
    let to_item = |path: String| {
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        Some(Item { entry: image_entry(system, place, &path, passed_over)?, id })
    };
    paths.into_iter().filter_map(to_item).collect()
}

/// The entry of a unified kernel image; nothing when the file is none.
fn image_entry(
    system: &System<'_>,
    place: &Place,
    path: &str,
    passed_over: &mut Vec<String>,
) -> Option<Entry> {
    let image =
        file(system.volumes, place.volume, path).or_else(|| locate(system.volumes, place.volume, path))?;
    match pe::read(system.volumes, &image, system.architecture) {
        Ok(Some(unified)) => Some(Entry {
            source: unified
                .title
                .map_or_else(|| image.path.clone(), |title| format!("{}: {title}", image.path)),
            files: Files::Known(unified.files),
            cmdline: unified.cmdline,
        }),
        Ok(None) => None,
        Err(error) => {
            passed_over.push(format!("{image}: {error}"));
            None
        }
    }
}

/// What `default` in loader.conf says, in small letters.
fn default_pattern(system: &System<'_>, place: &Place) -> Option<String> {
    let path = format!("{}/loader/loader.conf", place.folder);
    let text = read_small(system.fs(place), &path, FILE_LIMIT_BYTES).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        (key == "default").then(|| value.trim().to_lowercase())
    })
}

/// Whether a pattern with `*` and `?` matches; the suffix `.conf` may be left out of it.
fn matches(pattern: &str, id: &str) -> bool {
    let glob = |pattern: &str| glob(pattern.as_bytes(), id.as_bytes());
    glob(pattern) || glob(&format!("{pattern}.conf"))
}

/// One `*` is remembered at a time, so the time is a product of both lengths at most.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("arch", "arch.conf"));
        assert!(matches("arch*", "arch-lts.conf"));
        assert!(matches("*-6.?.conf", "id-6.1.conf"));
        assert!(matches("**", ""));
        assert!(!matches("a*b", "acbd"));
        assert!(!matches("", "a.conf"));
        assert!(!matches(&"*a".repeat(1000), &"b".repeat(1000)));
    }
}
