//! Files and devices by the names that a script gives them, and the searches for devices.

use super::condition;
use super::device::{self, Elsewhere};
use super::expand::options;
use super::run::{Flow, Runner};
use crate::boot::entry;
use crate::{FileKind, FileRef, FsError, TableKind, read_small};

/// The longest configuration or environment block.
const TEXT_LIMIT_BYTES: u64 = 1 << 20;

/// What `search` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sought {
    File,
    Label,
    Uuid,
}

impl Runner<'_> {
    /// The volumes that a device, or else the root, means.
    fn views(&self, device: Option<&str>) -> Result<Vec<usize>, String> {
        let volumes = self.system.volumes;
        let relative = matches!(self.menu.variables.get("btrfs_relative_path"), "y" | "yes" | "1");
        match (device, &self.lost_root) {
            (None, Some(lost)) => Err(lost.clone()),
            (device, _) => {
                let device = device.unwrap_or_else(|| self.menu.variables.get("root"));
                device::resolve(volumes, device, relative).map_err(|Elsewhere(what)| what)
            }
        }
    }

    /// The file that `(device)/path`, or a path on the root, means, and nowhere else.
    pub(super) fn find_file(&self, name: &str) -> Result<FileRef, String> {
        let (views, path) = self.place(name)?;
        let found = views.iter().find_map(|&volume| entry::file(self.system.volumes, volume, path));
        found.ok_or_else(|| format!("there is no {path} on {}", self.system.volumes.list[views[0]].place()))
    }

    /// The directory of a name: its volume, and its path there.
    pub(super) fn find_folder(&self, name: &str) -> Result<(usize, String), String> {
        let (views, path) = self.place(name)?;
        let path = path.trim_end_matches('/');
        // Where /boot has no file system of its own.
        let candidates = [path.to_owned(), format!("/boot{path}")];
        let found = candidates.iter().find_map(|path| {
            let volume =
                views.iter().find(|&&volume| self.kind(volume, path) == Some(FileKind::Directory))?;
            Some((*volume, path.clone()))
        });
        found.ok_or_else(|| format!("there is no {path} on {}", self.system.volumes.list[views[0]].place()))
    }

    fn place<'n>(&self, name: &'n str) -> Result<(Vec<usize>, &'n str), String> {
        let (device, path) = device::split(name).map_err(|Elsewhere(what)| what)?;
        if !path.starts_with('/') {
            return Err(format!("'{name}' is no path, which would begin with a slash"));
        }
        Ok((self.views(device)?, path))
    }

    fn kind(&self, volume: usize, path: &str) -> Option<FileKind> {
        let path = if path.is_empty() { "/" } else { path };
        self.system.volumes.list[volume].fs.metadata(path).ok().map(|metadata| metadata.kind)
    }

    /// What is under a name, on the first volume that has it.
    fn kind_of(&self, name: &str) -> Option<FileKind> {
        let (views, path) = self.place(name).ok()?;
        views.iter().find_map(|&volume| self.kind(volume, path.trim_end_matches('/')))
    }

    /// A file's text.
    pub(super) fn read_text(&self, name: &str) -> Result<String, String> {
        let file = self.find_file(name)?;
        let fs = &*self.system.volumes.list[file.volume()].fs;
        let text = read_small(fs, &file.path, TEXT_LIMIT_BYTES);
        text.map(|text| String::from_utf8_lossy(&text).into_owned())
            .map_err(|error: FsError| format!("{file}: {error}"))
    }

    /// A file's name with its device, and its path alone.
    pub(super) fn full_name(&self, name: &str) -> (String, String) {
        match device::split(name) {
            Ok((Some(_), path)) => (name.to_owned(), path.to_owned()),
            _ => (format!("({}){name}", self.menu.variables.get("root")), name.to_owned()),
        }
    }

    /// `search --no-floppy --fs-uuid --set=root --hint=hd0,gpt1 UUID`.
    pub(super) fn search(&mut self, words: &[&str]) -> Flow {
        const HINTS: &[&str] =
            &["hint", "h", "hint-ieee1275", "hint-bios", "hint-baremetal", "hint-efi", "hint-arc"];
        let options = options(words, HINTS);
        let sought = match () {
            () if options.has("label", "l") || options.has("fs-label", "l") => Sought::Label,
            () if options.has("fs-uuid", "u") => Sought::Uuid,
            () if options.has("file", "f") => Sought::File,
            () => return self.fail("'search' does not say what it searches for"),
        };
        let [name, hints @ ..] = options.arguments.as_slice() else {
            return self.fail("'search' names nothing");
        };
        let here =
            format!("hint-{}", if self.menu.variables.get("grub_platform") == "pc" { "bios" } else { "efi" });
        let mut hints = hints.to_vec();
        hints.extend(options.values(&["hint", "h", &here]));
        let variable = options.has("set", "s").then(|| options.value("set").unwrap_or("root"));
        self.search_for(sought, name, variable, &hints)
    }

    /// `search.fs_uuid UUID root hd0,gpt1`, which GRUB's own core has.
    pub(super) fn search_by_command(&mut self, command: &str, words: &[&str]) -> Flow {
        let sought = match command {
            "search.file" => Sought::File,
            "search.fs_label" => Sought::Label,
            _ => Sought::Uuid,
        };
        match words {
            [] => self.fail(&format!("'{command}' names nothing")),
            [name] => self.search_for(sought, name, None, &[]),
            [name, variable, hints @ ..] => self.search_for(sought, name, Some(variable), hints),
        }
    }

    fn search_for(&mut self, sought: Sought, name: &str, variable: Option<&str>, hints: &[&str]) -> Flow {
        if let Some(stopped) = self.charge(64 * self.system.volumes.list.len()) {
            return stopped;
        }
        let found =
            self.order_of_search(hints).into_iter().find(|&volume| self.is_sought(volume, sought, name));
        match (found, variable) {
            (Some(volume), Some(variable)) => {
                let device = device::name(self.system.volumes, volume);
                self.set(variable, &device).unwrap_or(Flow::Next)
            }
            (Some(_), None) => Flow::Next,
            (None, variable) => self.not_found(sought, name, variable == Some("root")),
        }
    }

    /// The variable stays as it is, as GRUB leaves it; unless what is sought may be where nothing is read.
    fn not_found(&mut self, sought: Sought, name: &str, is_root: bool) -> Flow {
        let what = match sought {
            Sought::File => format!("a file system with the file {name}"),
            Sought::Label => format!("the file system labelled {name}"),
            Sought::Uuid => format!("the file system {name}"),
        };
        let unread: Vec<&str> = self.system.volumes.may_hold_files().collect();
        if is_root && !unread.is_empty() {
            let lost =
                format!("{what} was not found, and may be where nothing is read ({})", unread.join(", "));
            self.lost_root = Some(lost);
            self.succeeded = false;
            return Flow::Next;
        }
        self.fail(&format!("{what} was not found by 'search', and the root stays as it is"))
    }

    /// Volumes in the order in which GRUB looks at them: by hints, then the last partition first.
    fn order_of_search(&self, hints: &[&str]) -> Vec<usize> {
        let all = 0..self.system.volumes.list.len();
        let mut order: Vec<usize> = Vec::new();
        for hint in hints {
            match hint.strip_suffix(',') {
                // A comma at the end means all partitions of a disk, the first one first.
                Some("hd0") => order.extend(all.clone()),
                Some(_) => {}
                None => order.extend(device::resolve(self.system.volumes, hint, false).unwrap_or_default()),
            }
        }
        order.extend(all.rev());
        order
    }

    fn is_sought(&self, volume: usize, sought: Sought, name: &str) -> bool {
        let fs = &*self.system.volumes.list[volume].fs;
        match sought {
            Sought::Label => !name.is_empty() && fs.label() == name,
            Sought::Uuid => fs.uuid().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name)),
            Sought::File => name.starts_with('/') && self.kind(volume, name) == Some(FileKind::Regular),
        }
    }

    /// `probe --set=variable --fs-uuid device`.
    pub(super) fn probe(&mut self, words: &[&str]) -> Flow {
        let options = options(words, &["set", "s"]);
        let device = options.arguments.first().copied().unwrap_or_default();
        let device = device.strip_prefix('(').and_then(|device| device.strip_suffix(')')).unwrap_or(device);
        let volume = match self.views(Some(device)) {
            Ok(views) => &self.system.volumes.list[views[0]],
            Err(why) => return self.fail(&why),
        };
        let partition = volume.partition.as_ref();
        let value = match () {
            () if options.has("fs-uuid", "u") => volume.fs.uuid().map(str::to_owned),
            () if options.has("label", "l") => Some(volume.fs.label().to_owned()),
            () if options.has("part-uuid", "part-uuid") => {
                partition.and_then(|partition| partition.uuid.clone())
            }
            () if options.has("partmap", "p") => Some(match (partition, self.system.volumes.table) {
                (Some(_), TableKind::Mbr) => "msdos".to_owned(),
                (Some(_), _) => "gpt".to_owned(),
                (None, _) => "none".to_owned(),
            }),
            () => None,
        };
        let variable = options.value("set").or(options.value("s"));
        match (value, variable) {
            (Some(value), Some(variable)) => self.set(variable, &value).unwrap_or(Flow::Next),
            (Some(_), None) => Flow::Next,
            (None, _) => self.fail(&format!("'probe {}' asks for what is not known here", words.join(" "))),
        }
    }
}

impl condition::Files for Runner<'_> {
    fn exists(&self, name: &str) -> bool {
        self.kind_of(name).is_some()
    }

    fn is_directory(&self, name: &str) -> bool {
        self.kind_of(name) == Some(FileKind::Directory)
    }

    fn size_bytes(&self, name: &str) -> Option<u64> {
        self.find_file(name).ok().map(|file| file.size_bytes)
    }
}
