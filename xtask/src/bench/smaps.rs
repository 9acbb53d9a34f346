//! A process's memory, mapping by mapping (`/proc/PID/smaps`, proc(5)).

use std::fs;

use anyhow::{Context, Result};

/// One mapping.
#[derive(Debug, Default)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// The file, or what the kernel calls it; empty where it is anonymous.
    pub name: String,
    pub resident_kib: u64,
    /// Each page divided by the number of processes that have it.
    pub proportional_kib: u64,
    pub private_dirty_kib: u64,
    pub private_clean_kib: u64,
}

impl Mapping {
    /// What would be free if this process ended.
    pub fn private_kib(&self) -> u64 {
        self.private_clean_kib + self.private_dirty_kib
    }
}

/// The mappings of a process.
pub fn of(pid: u32) -> Result<Vec<Mapping>> {
    let path = format!("/proc/{pid}/smaps");
    Ok(parse(&fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?))
}

/// The mappings in the text of `/proc/PID/smaps`.
pub fn parse(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let kib = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        match (words.first().copied(), mappings.last_mut()) {
            (Some("Rss:"), Some(mapping)) => mapping.resident_kib = kib,
            (Some("Pss:"), Some(mapping)) => mapping.proportional_kib = kib,
            (Some("Private_Dirty:"), Some(mapping)) => mapping.private_dirty_kib = kib,
            (Some("Private_Clean:"), Some(mapping)) => mapping.private_clean_kib = kib,
            (Some(range), _) => mappings.extend(header(range, &words)),
            (None, _) => {}
        }
    }
    mappings
}

/// The line that begins a mapping: range, rights, offset, device, inode, and a name if it has one.
fn header(range: &str, words: &[&str]) -> Option<Mapping> {
    let (start, end) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let name = words.get(5..).unwrap_or_default().join(" ");
    Some(Mapping { start: address(start)?, end: address(end)?, name, ..Mapping::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_have_their_names_and_figures() {
        let text = "7f00-8000 rw-p 0 00:00 0\nSize: 4 kB\nRss: 9 kB\nPss: 3 kB\nPrivate_Clean: 1 kB\n\
            Private_Dirty: 2 kB\n8000-9000 rw-p 0 08:01 77 /a/ram (deleted)\nRss: 5 kB\n";
        let mappings = parse(text);
        let [anonymous, ram] = mappings.as_slice() else { panic!("{mappings:?}") };
        assert_eq!((anonymous.start, anonymous.end, anonymous.name.as_str()), (0x7f00, 0x8000, ""));
        assert_eq!((anonymous.resident_kib, anonymous.proportional_kib, anonymous.private_kib()), (9, 3, 3));
        assert_eq!((ram.name.as_str(), ram.resident_kib, ram.private_kib()), ("/a/ram (deleted)", 5, 0));
    }
}
