//! systemd-boot: `loader/loader.conf`, entries of type 1, and unified kernel images in `EFI/Linux`.
//!
//! The menu is one: entries on the EFI system partition and on the extended boot loader partition (XBOOTLDR) stand in
//! one order, and the `loader.conf` of the EFI system partition rules both.

use super::bls::{self, Rank};
use super::entry::{Entry, Files, Place, System, file, locate};
use super::{pe, version};
use crate::{FileKind, FileRef, PartitionType, read_small};

const ENTRY_LIMIT: usize = 4096;
const IMAGE_LIMIT: usize = 64;
const FILE_LIMIT_BYTES: u64 = 64 << 10;

/// A menu's entry before it is known which is the default.
struct Item {
    rank: Rank,
    /// The file's name, without what counts its boots.
    id: String,
    entry: Entry,
}

/// The entries of each menu: what `default` of its loader.conf matches first, then the others in their order; at last
/// the loader that firmware starts by itself, which may be a unified kernel image.
pub(super) fn entries(system: &System<'_>, passed_over: &mut Vec<String>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for places in menus(system) {
        let mut items: Vec<Item> = Vec::new();
        for place in &places {
            items.extend(of_type_1(system, place, passed_over));
            items.extend(images(system, place, passed_over));
        }
        items.sort_by(|left, right| left.rank.compare(&right.rank));
        let default = default_pattern(system, &places);
        let chosen = default
            .and_then(|pattern| items.iter().position(|item| matches(&pattern, &item.id.to_lowercase())));
        if let Some(chosen) = chosen {
            items[..=chosen].rotate_right(1);
        }
        entries.extend(items.into_iter().map(|item| item.entry));
        entries.extend(places.iter().flat_map(|place| firmwares_own(system, place, passed_over)));
    }
    entries
}

/// The places whose entries make one menu: the EFI system partition with XBOOTLDR, and each other place by itself.
fn menus(system: &System<'_>) -> Vec<Vec<Place>> {
    let kind = |place: &Place| system.volumes.list[place.volume].kind();
    let is_boot =
        |place: &Place| matches!(kind(place), Some(PartitionType::Esp | PartitionType::ExtendedBoot));
    let mut together: Vec<Place> = system.places.iter().copied().filter(is_boot).collect();
    together.sort_by_key(|place| kind(place) != Some(PartitionType::Esp));
    let mut menus = Vec::new();
    for place in system.places {
        if is_boot(place) {
            menus.extend((!together.is_empty()).then(|| std::mem::take(&mut together)));
        } else {
            menus.push(vec![*place]);
        }
    }
    menus
}

fn of_type_1(system: &System<'_>, place: &Place, passed_over: &mut Vec<String>) -> Vec<Item> {
    let read = bls::read(system, place.volume, &format!("{}/loader/entries", place.folder));
    let items = read.into_iter().filter_map(|read| {
        let entry = match read.image() {
            None => read.entry(place),
            Some(image) => {
                let image = locate(system.volumes, place, image)?;
                let (_, entry) = image_entry(system, &image, passed_over)?;
                // Options take the place of those in the image, where nothing is signed.
                if read.options.is_empty() { entry } else { Entry { cmdline: read.options.clone(), ..entry } }
            }
        };
        Some(Item { id: format!("{}.conf", read.rank.id), rank: read.rank, entry })
    });
    items.collect()
}

/// The unified kernel images of a place.
fn images(system: &System<'_>, place: &Place, passed_over: &mut Vec<String>) -> Vec<Item> {
    let fs = system.fs(place);
    let folder = format!("{}/EFI/Linux", place.folder);
    let mut names: Vec<String> = fs.list(&folder, ENTRY_LIMIT).map_or(Vec::new(), |entries| {
        let images = entries.into_iter().filter(|entry| entry.kind == FileKind::Regular);
        images.map(|entry| entry.name).filter(|name| name.to_lowercase().ends_with(".efi")).collect()
    });
    names.sort_by(|left, right| version::compare(right, left));
    names.truncate(IMAGE_LIMIT);
    let to_item = |name: String| {
        let image = file(system.volumes, place.volume, &format!("{folder}/{name}"))?;
        let (unified, entry) = image_entry(system, &image, passed_over)?;
        let rank = Rank {
            sort_key: unified.release.id,
            version: unified.release.version_id,
            ..Rank::of_name(&name[..name.len() - ".efi".len()])
        };
        Some(Item { id: format!("{}.efi", rank.id), rank, entry })
    };
    names.into_iter().filter_map(to_item).collect()
}

/// What firmware starts by itself, where that is a unified kernel image.
fn firmwares_own(system: &System<'_>, place: &Place, passed_over: &mut Vec<String>) -> Option<Entry> {
    ["BOOTX64.EFI", "BOOTAA64.EFI", "BOOTRISCV64.EFI"].iter().find_map(|name| {
        let image = file(system.volumes, place.volume, &format!("{}/EFI/BOOT/{name}", place.folder))?;
        image_entry(system, &image, passed_over).map(|(_, entry)| entry)
    })
}

/// A unified kernel image and its entry; nothing when the file is none.
fn image_entry(
    system: &System<'_>,
    image: &FileRef,
    passed_over: &mut Vec<String>,
) -> Option<(pe::Unified, Entry)> {
    match pe::read(system.volumes, image, system.architecture) {
        Ok(Some(mut unified)) => {
            let title = [&unified.release.pretty_name, &unified.kernel_version];
            let title = title.into_iter().find(|title| !title.is_empty());
            let source = title.map_or_else(|| image.path.clone(), |title| format!("{}: {title}", image.path));
            let files = Files::Known(std::mem::take(&mut unified.files));
            let cmdline = std::mem::take(&mut unified.cmdline);
            Some((unified, Entry { source, files, cmdline }))
        }
        Ok(None) => None,
        Err(why) => {
            passed_over.push(format!("{image}: {why}"));
            None
        }
    }
}

/// What `default` says in the loader.conf of the first of the places that has one, in small letters. `@saved` is
/// kept by firmware, which is not there: then the first entry is the default.
fn default_pattern(system: &System<'_>, places: &[Place]) -> Option<String> {
    let text = places.iter().find_map(|place| {
        read_small(system.fs(place), &format!("{}/loader/loader.conf", place.folder), FILE_LIMIT_BYTES).ok()
    })?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let default = text.lines().rev().find_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        (key == "default").then(|| value.trim().to_lowercase())
    });
    default.filter(|pattern| !pattern.starts_with('@'))
}

/// Whether a pattern with `*`, `?` and `[…]` matches; the suffix may be left out of it.
fn matches(pattern: &str, id: &str) -> bool {
    let glob = |pattern: &str| glob(pattern.as_bytes(), id.as_bytes());
    glob(pattern) || glob(&format!("{pattern}.conf")) || glob(&format!("{pattern}.efi"))
}

/// One `*` is remembered at a time, so the time is a product of both lengths at most.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        match one(&pattern[p..], text[t]) {
            Some(len) => (p, t) = (p + len, t + 1),
            None => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// The length of the pattern's first part, if that matches `c`.
fn one(pattern: &[u8], c: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'\\' if pattern.len() > 1 => (pattern[1] == c).then_some(2),
        b'[' => {
            let inverted = pattern.get(1).is_some_and(|&first| matches!(first, b'!' | b'^'));
            let start = 1 + usize::from(inverted);
            // A bracket that stands first in the set belongs to it.
            let end = (start + 1..pattern.len()).find(|&at| pattern[at] == b']');
            let Some(end) = end else { return (c == b'[').then_some(1) };
            let (set, mut found, mut at) = (&pattern[start..end], false, 0);
            while at < set.len() {
                let is_range = set.get(at + 1) == Some(&b'-') && at + 2 < set.len();
                found |= if is_range { (set[at]..=set[at + 2]).contains(&c) } else { set[at] == c };
                at += if is_range { 3 } else { 1 };
            }
            (found != inverted).then_some(end + 1)
        }
        first => (first == c).then_some(1),
    }
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
        assert!(matches("arch-[a-c]?", "arch-bx.efi") && !matches("arch-[!a-c]", "arch-b.conf"));
        assert!(matches("a[]]b\\*", "a]b*.conf") && matches("[", "[.conf"));
        assert!(!matches("a*b", "acbd"));
        assert!(!matches("", "a.conf"));
        assert!(!matches(&"*a".repeat(1000), &"b".repeat(1000)));
    }
}
