//! Boot Loader Specification entries, type 1: `loader/entries/*.conf`, which GRUB's `blscfg` and systemd-boot read.

use std::cmp::Ordering;

use super::entry::{Entry, Files, Place, System};
use super::{Architecture, version};
use crate::read_small;

const ENTRY_LIMIT: usize = 4096;
const FILE_LIMIT_BYTES: u64 = 64 << 10;
/// Entries that are read of one folder.
const READ_LIMIT: usize = 256;

/// What the order of entries goes by (the specification's "Sorting"), of type 1 and of unified kernel images alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Rank {
    /// The file's name without its suffix and without what counts its boots.
    pub(super) id: String,
    pub(super) sort_key: String,
    pub(super) machine_id: String,
    pub(super) version: String,
    /// Tries that are left, and tries that were made; nothing when they are not counted.
    pub(super) tries: Option<(u32, u32)>,
}

impl Rank {
    /// Of a file's name, without its suffix: `name+3-1` has three tries left, and had one.
    pub(super) fn of_name(stem: &str) -> Rank {
        let counted = stem.rsplit_once('+').and_then(|(id, tries)| {
            let (left, done) = tries.split_once('-').unwrap_or((tries, "0"));
            let number =
                |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok());
            Some((id, (number(left)??, number(done)??)))
        });
        match counted {
            Some((id, tries)) => Rank { id: id.to_owned(), tries: Some(tries), ..Rank::default() },
            None => Rank { id: stem.to_owned(), ..Rank::default() },
        }
    }

    /// The entry to be preferred first: those that have no tries left come last.
    pub(super) fn compare(&self, other: &Rank) -> Ordering {
        let is_used_up = |rank: &Rank| rank.tries.is_some_and(|(left, _)| left == 0);
        let by_key = || match (self.sort_key.is_empty(), other.sort_key.is_empty()) {
            (false, false) => self
                .sort_key
                .cmp(&other.sort_key)
                .then_with(|| self.machine_id.cmp(&other.machine_id))
                .then_with(|| version::compare(&other.version, &self.version)),
            (left, right) => left.cmp(&right),
        };
        let by_tries = || match (self.tries, other.tries) {
            (Some((left, done)), Some((other_left, other_done))) => {
                other_left.cmp(&left).then(done.cmp(&other_done))
            }
            _ => Ordering::Equal,
        };
        let used_up = is_used_up(self).cmp(&is_used_up(other));
        used_up.then_with(by_key).then_with(|| self.compare_names(other)).then_with(by_tries)
    }

    /// By the files' names, the newest first.
    fn compare_names(&self, other: &Rank) -> Ordering {
        version::compare(&other.id, &self.id).then_with(|| other.id.cmp(&self.id))
    }
}

/// An entry's file.
pub(super) struct BlsEntry {
    pub(super) rank: Rank,
    pub(super) title: String,
    linux: String,
    efi: String,
    initrds: Vec<String>,
    /// Without anything replaced: only GRUB replaces variables in it.
    pub(super) options: String,
    architecture: String,
}

/// Reads the entries of a folder, in no order.
pub(super) fn read(system: &System<'_>, volume: usize, folder: &str) -> Vec<BlsEntry> {
    let fs = &*system.volumes.list[volume].fs;
    let Ok(mut names) = fs.list(folder, ENTRY_LIMIT) else { return Vec::new() };
    names.sort_by(|left, right| version::compare(&right.name, &left.name));
    let confs = names.iter().filter(|entry| entry.name.ends_with(".conf")).take(READ_LIMIT);
    confs
        .filter_map(|entry| {
            let text = read_small(fs, &format!("{folder}/{}", entry.name), FILE_LIMIT_BYTES).ok()?;
            Some(parse(&entry.name, &String::from_utf8_lossy(&text)))
        })
        .filter(|entry| entry.is_for(system.architecture))
        .collect()
}

fn parse(name: &str, text: &str) -> BlsEntry {
    let mut entry = BlsEntry {
        rank: Rank::of_name(name.strip_suffix(".conf").unwrap_or(name)),
        title: String::new(),
        linux: String::new(),
        efi: String::new(),
        initrds: Vec::new(),
        options: String::new(),
        architecture: String::new(),
    };
    for line in text.lines() {
        let line = line.trim();
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        match key {
            "title" => value.clone_into(&mut entry.title),
            "sort-key" => value.clone_into(&mut entry.rank.sort_key),
            "machine-id" => value.clone_into(&mut entry.rank.machine_id),
            "version" => value.clone_into(&mut entry.rank.version),
            "linux" => value.clone_into(&mut entry.linux),
            "efi" | "uki" => value.clone_into(&mut entry.efi),
            "architecture" => value.clone_into(&mut entry.architecture),
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
    /// By the files' names, the newest first: GRUB's order.
    pub(super) fn order_by_name(&self, other: &BlsEntry) -> Ordering {
        self.rank.compare_names(&other.rank)
    }

    /// The path of the unified kernel image that it starts, if it starts one.
    pub(super) fn image(&self) -> Option<&str> {
        (!self.efi.is_empty() && self.linux.is_empty()).then_some(self.efi.as_str())
    }

    pub(super) fn has_kernel(&self) -> bool {
        !self.linux.is_empty()
    }

    pub(super) fn shown_title(&self) -> &str {
        if self.title.is_empty() { &self.rank.id } else { &self.title }
    }

    /// As an entry of systemd-boot's menu.
    pub(super) fn entry(&self, place: &Place) -> Entry {
        Entry {
            source: format!("{}/loader/entries/{}.conf: {}", place.folder, self.rank.id, self.shown_title()),
            files: Files::Paths { place: *place, kernel: self.linux.clone(), initrds: self.initrds.clone() },
            cmdline: self.options.clone(),
        }
    }

    /// The lines that GRUB's `blscfg` makes of it, where paths begin on `device` (in parentheses, or nothing).
    pub(super) fn script(&self, device: &str) -> String {
        let initrds: Vec<String> = self
            .initrds
            .iter()
            .map(|path| if path.starts_with('$') { path.clone() } else { format!("{device}{path}") })
            .collect();
        let initrd =
            if initrds.is_empty() { String::new() } else { format!("initrd {}\n", initrds.join(" ")) };
        format!("linux {device}{} {}\n{initrd}", self.linux, self.options)
    }

    fn is_for(&self, architecture: Architecture) -> bool {
        // As UEFI calls processors, in any case of letters.
        let known: &[&str] = match architecture {
            Architecture::X86_64 => &["x64", "x86_64", "x86-64", "amd64"],
            Architecture::Aarch64 => &["aa64", "aarch64", "arm64"],
            Architecture::Riscv64 => &["riscv64"],
        };
        let own = self.architecture.to_lowercase();
        own.is_empty() || known.contains(&own.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_stands() {
        let entry = parse(
            "id-6.1+3-0.conf",
            "# x\ntitle  Fedora Linux\nversion 6.1\nlinux /vmlinuz-6.1\ninitrd /a.img $tuned\ninitrd /b.img\n\
             options root=UUID=1 ${kernelopts}\noptions $unknown quiet\n",
        );
        assert_eq!((entry.rank.id.as_str(), entry.rank.tries), ("id-6.1", Some((3, 0))));
        let line = "root=UUID=1 ${kernelopts} $unknown quiet";
        assert_eq!(
            entry.script("(hd0,gpt2)"),
            format!("linux (hd0,gpt2)/vmlinuz-6.1 {line}\ninitrd (hd0,gpt2)/a.img $tuned (hd0,gpt2)/b.img\n")
        );
        let entry = entry.entry(&Place { volume: 0, folder: "", is_root: false });
        assert_eq!(entry.cmdline, line);
        let Files::Paths { kernel, initrds, .. } = entry.files else { panic!("paths") };
        assert_eq!((kernel.as_str(), initrds.join(" ")), ("/vmlinuz-6.1", "/a.img $tuned /b.img".to_owned()));
    }

    #[test]
    fn names_that_count_boots() {
        for (name, id, tries) in [
            ("a", "a", None),
            ("a+3", "a", Some((3, 0))),
            ("a+3-1", "a", Some((3, 1))),
            ("a+0-03", "a", Some((0, 3))),
            ("a+b", "a+b", None),
            ("a+3-x", "a+3-x", None),
            ("gcc+12-1+2", "gcc+12-1", Some((2, 0))),
            ("a+", "a+", None),
            ("a+99999999999", "a+99999999999", None),
        ] {
            let rank = Rank::of_name(name);
            assert_eq!((rank.id.as_str(), rank.tries), (id, tries), "{name}");
        }
    }

    #[test]
    fn entries_for_other_processors_are_told() {
        let is_for = |text: &str| parse("a.conf", text).is_for(Architecture::X86_64);
        assert!(is_for("linux /k") && is_for("architecture X64") && !is_for("architecture aa64"));
    }

    #[test]
    fn the_specifications_order() {
        let entry = |name: &str, text: &str| parse(name, text).rank;
        let mut entries = [
            entry("rescue.conf", ""),
            entry("a+0-3.conf", "sort-key a\nversion 9"),
            entry("b.conf", "sort-key debian\nversion 6.1.0-9"),
            entry("c.conf", "sort-key debian\nversion 6.1.0-10"),
            entry("d.conf", "sort-key arch\nversion 1"),
            entry("z-2.conf", ""),
            entry("z-10.conf", ""),
            entry("t+1-2.conf", ""),
            entry("t+2-1.conf", ""),
        ];
        entries.sort_by(Rank::compare);
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["d", "c", "b", "z-10", "z-2", "t", "t", "rescue", "a"]);
        assert_eq!(entries[5].tries, Some((2, 1)));
    }
}
