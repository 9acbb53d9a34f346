//! An entry of a boot loader's menu, and where its files are.

use std::cell::RefCell;

use super::root::Root;
use super::volumes::Volumes;
use super::{Architecture, FileRef, INITRD_LIMIT_BYTES, KERNEL_LIMIT_BYTES, kernel};
use crate::{FileKind, FileSystem};

/// A folder that may hold what `/boot` holds.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) volume: usize,
    /// `/boot`, or nothing for a file system of its own.
    pub(super) folder: &'static str,
    pub(super) is_root: bool,
}

impl Place {
    /// `/boot of partition 1 (ext4)`.
    pub(super) fn name(&self, volumes: &Volumes) -> String {
        let folder = if self.folder.is_empty() { "/" } else { self.folder };
        format!("{folder} of {}", volumes.list[self.volume].name())
    }
}

/// What the loaders' files are read for.
pub(super) struct System<'a> {
    pub(super) volumes: &'a Volumes,
    pub(super) root: Option<&'a Root>,
    pub(super) places: &'a [Place],
    pub(super) architecture: Architecture,
    pub(super) once: &'a Once,
}

/// An entry that stands for one start only, as GRUB's `next_entry` does.
#[derive(Default)]
pub(super) struct Once {
    /// What was started so before.
    pub(super) done: Option<String>,
    /// What a loader's files name.
    pub(super) named: RefCell<Option<String>>,
}

impl System<'_> {
    pub(super) fn fs(&self, place: &Place) -> &dyn FileSystem {
        &*self.volumes.list[place.volume].fs
    }
}

/// What an entry starts.
pub(super) enum Files {
    /// A kernel and its initial RAM disks, by paths on one volume that the loader's file states.
    Paths { place: Place, kernel: String, initrds: Vec<String> },
    /// Files, or sections, that are known to be there.
    Known(Vec<FileRef>),
    /// Why nothing can be started.
    Refused(String),
}

/// An entry of a menu.
pub(super) struct Entry {
    /// Where it stands, and its title.
    pub(super) source: String,
    pub(super) files: Files,
    /// As the loader would hand it on.
    pub(super) cmdline: String,
}

impl Entry {
    /// Its files, the kernel first; or what is wrong with one of them.
    pub(super) fn locate(&self, system: &System<'_>) -> Result<Vec<FileRef>, String> {
        let mut files = match &self.files {
            Files::Known(files) => files.clone(),
            Files::Refused(why) => return Err(why.clone()),
            Files::Paths { place, kernel, initrds } => std::iter::once(kernel)
                .chain(initrds)
                .map(|path| locate(system.volumes, place, path).ok_or(format!("there is no {path}")))
                .collect::<Result<_, _>>()?,
        };
        let kernel = files.first().ok_or("it names no kernel")?;
        kernel::check(system.volumes, kernel, system.architecture)?;
        if kernel.size_bytes > KERNEL_LIMIT_BYTES {
            return Err(format!("{kernel} has {} bytes, which no kernel has", kernel.size_bytes));
        }
        if files[1..].iter().fold(0, |sum: u64, file| sum.saturating_add(file.size_bytes))
            > INITRD_LIMIT_BYTES
        {
            return Err("its initial RAM disks are too large".to_owned());
        }
        // What a loader's file names twice is loaded twice there, and once is enough.
        let mut seen = Vec::new();
        files.retain(|file| {
            !seen.contains(file) && {
                seen.push(file.clone());
                true
            }
        });
        Ok(files)
    }
}

/// The file that a path of a loader's file means: on the file system that holds that file, from its root on, or from
/// the folder that stands for `/boot`. btrfs's uppermost subvolume is another view of the same file system.
pub(super) fn locate(volumes: &Volumes, place: &Place, path: &str) -> Option<FileRef> {
    let path = path.replace('\\', "/");
    let path = path.trim_start_matches('/');
    let candidates = [format!("/{path}"), format!("{}/{path}", place.folder)];
    let views = volumes.views(place.volume);
    views.into_iter().find_map(|volume| candidates.iter().find_map(|path| file(volumes, volume, path)))
}

/// A regular file that has bytes.
pub(super) fn file(volumes: &Volumes, volume: usize, path: &str) -> Option<FileRef> {
    let there = &volumes.list[volume];
    let metadata = there.fs.metadata(path).ok()?;
    (metadata.kind == FileKind::Regular && metadata.size_bytes > 0).then(|| FileRef {
        partition: there.partition.as_ref().map(|partition| partition.number),
        path: path.to_owned(),
        section: None,
        size_bytes: metadata.size_bytes,
        volume,
        offset_bytes: 0,
    })
}
