//! Boot Loader Specification entries, type 1: `loader/entries/*.conf`, which GRUB's `blscfg` and systemd-boot read.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::entry::{Entry, Files, Place, System};
use super::version;
use crate::read_small;

const ENTRY_LIMIT: usize = 4096;
const FILE_LIMIT_BYTES: u64 = 64 << 10;
/// Entries that are read of one folder.
const READ_LIMIT: usize = 256;

/// An entry's file.
pub(super) struct BlsEntry {
    /// The file's name without `.conf` and without what counts its boots.
    pub(super) id: String,
    pub(super) title: String,
    sort_key: String,
    machine_id: String,
    version: String,
    linux: String,
    efi: String,
    initrds: Vec<String>,
    options: String,
    tries_are_used_up: bool,
}

/// Reads the entries of a place, in no order.
pub(super) fn read(system: &System<'_>, place: &Place) -> Vec<BlsEntry> {
    let fs = system.fs(place);
    let folder = format!("{}/loader/entries", place.folder);
    let Ok(mut names) = fs.list(&folder, ENTRY_LIMIT) else { return Vec::new() };
    names.sort_by(|left, right| version::compare(&right.name, &left.name));
    let confs = names.iter().filter(|entry| entry.name.ends_with(".conf")).take(READ_LIMIT);
    confs
        .filter_map(|entry| {
            let text = read_small(fs, &format!("{folder}/{}", entry.name), FILE_LIMIT_BYTES).ok()?;
            Some(parse(&entry.name, &String::from_utf8_lossy(&text)))
        })
        .collect()
}

fn parse(name: &str, text: &str) -> BlsEntry {
    let stem = name.strip_suffix(".conf").unwrap_or(name);
    let (id, tries) = match stem.rsplit_once('+') {
        Some((id, tries)) if tries.starts_with(|c: char| c.is_ascii_digit()) => (id, Some(tries)),
        _ => (stem, None),
    };
    let left = tries.map(|tries| tries.split('-').next().unwrap_or_default());
    let mut entry = BlsEntry {
        id: id.to_owned(),
        title: String::new(),
        sort_key: String::new(),
        machine_id: String::new(),
        version: String::new(),
        linux: String::new(),
        efi: String::new(),
        initrds: Vec::new(),
        options: String::new(),
        tries_are_used_up: left.is_some_and(|left| left.trim_start_matches('0').is_empty()),
    };
    for line in text.lines() {
        let line = line.trim();
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        match key {
            "title" => value.clone_into(&mut entry.title),
            "sort-key" => value.clone_into(&mut entry.sort_key),
            "machine-id" => value.clone_into(&mut entry.machine_id),
            "version" => value.clone_into(&mut entry.version),
            "linux" => value.clone_into(&mut entry.linux),
            "efi" | "uki" => value.clone_into(&mut entry.efi),
            // GRUB takes several in a line, too.
            "initrd" => entry.initrds.extend(value.split_whitespace().map(str::to_owned)),
            "options" => {
                entry.options = format!("{} {value}", entry.options).trim().to_owned();
            }
            _ => {}
        }
    }
    entry
}

impl BlsEntry {
    /// The specification's order ("Sorting"), the entry to be preferred first.
    pub(super) fn order(&self, other: &BlsEntry) -> Ordering {
        let by_key = || match (self.sort_key.is_empty(), other.sort_key.is_empty()) {
            (false, false) => self
                .sort_key
                .cmp(&other.sort_key)
                .then_with(|| self.machine_id.cmp(&other.machine_id))
                .then_with(|| version::compare(&other.version, &self.version)),
            (left, right) => left.cmp(&right),
        };
        let used_up = self.tries_are_used_up.cmp(&other.tries_are_used_up);
        used_up.then_with(by_key).then_with(|| self.order_by_name(other))
    }

    /// GRUB's order: by the files' names, the newest first.
    pub(super) fn order_by_name(&self, other: &BlsEntry) -> Ordering {
        version::compare(&other.id, &self.id).then_with(|| other.id.cmp(&self.id))
    }

    /// The path of the unified kernel image that it starts, if it starts one.
    pub(super) fn image(&self) -> Option<&str> {
        (!self.efi.is_empty() && self.linux.is_empty()).then_some(self.efi.as_str())
    }

    /// As an entry of a menu; `variables` stand for what begins with `$`.
    pub(super) fn into_entry(
        self,
        place: &Place,
        folder: &str,
        variables: &BTreeMap<String, String>,
    ) -> Entry {
        let title = if self.title.is_empty() { self.id.clone() } else { self.title };
        let expand = |text: &str| expand(text, variables);
        let initrds = self
            .initrds
            .iter()
            .flat_map(|path| expand(path).split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        Entry {
            source: format!("{folder}/loader/entries/{}.conf: {title}", self.id),
            files: Files::Paths {
                volume: place.volume,
                kernel: expand(&self.linux),
                initrds: initrds.collect(),
            },
            cmdline: expand(&self.options),
        }
    }
}

/// Replaces `$name` and `${name}`; what is not known is nothing.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    /// The longest text that comes of it.
    const LIMIT: usize = 16 << 10;
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
        };
        let value = variables.get(name).map_or("", String::as_str);
        if expanded.len() + value.len() > LIMIT {
            break;
        }
        expanded.push_str(value);
        rest = behind;
    }
    expanded.push_str(rest);
    expanded.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_with_its_variables() {
        let entry = parse(
            "id-6.1+3-0.conf",
            "# x\ntitle  Fedora Linux\nversion 6.1\nlinux /vmlinuz-6.1\ninitrd /a.img $tuned\ninitrd /b.img\n\
             options root=UUID=1 ${kernelopts}\noptions $unknown quiet\n",
        );
        assert_eq!((entry.id.as_str(), entry.tries_are_used_up), ("id-6.1", false));
        let variables = BTreeMap::from([
            ("kernelopts".to_owned(), "ro x".to_owned()),
            ("tuned".to_owned(), "/t".to_owned()),
        ]);
        let place = Place { volume: 0, folder: "", is_root: false };
        let entry = entry.into_entry(&place, "", &variables);
        assert_eq!(entry.cmdline, "root=UUID=1 ro x  quiet");
        let Files::Paths { kernel, initrds, .. } = entry.files else { panic!("paths") };
        assert_eq!((kernel.as_str(), initrds.join(" ")), ("/vmlinuz-6.1", "/a.img /t /b.img".to_owned()));
    }

    #[test]
    fn the_specifications_order() {
        let entry = |name: &str, text: &str| parse(name, text);
        let mut entries = [
            entry("rescue.conf", ""),
            entry("a+0-3.conf", "sort-key a\nversion 9"),
            entry("b.conf", "sort-key debian\nversion 6.1.0-9"),
            entry("c.conf", "sort-key debian\nversion 6.1.0-10"),
            entry("d.conf", "sort-key arch\nversion 1"),
            entry("z-2.conf", ""),
            entry("z-10.conf", ""),
        ];
        entries.sort_by(BlsEntry::order);
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["d", "c", "b", "z-10", "z-2", "rescue", "a"]);
    }
}
