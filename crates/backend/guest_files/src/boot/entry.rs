//! An entry of a boot loader's menu, and where its files are.

use super::root::Root;
use super::volumes::Volumes;
use super::{Architecture, FileRef, INITRD_LIMIT_BYTES, KERNEL_LIMIT_BYTES, kernel};
use crate::{FileKind, FileSystem};

/// A folder that may hold what `/boot` holds.
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
}

impl System<'_> {
    pub(super) fn fs(&self, place: &Place) -> &dyn FileSystem {
        &*self.volumes.list[place.volume].fs
    }
}

/// What an entry starts.
pub(super) enum Files {
    /// A kernel and its initial RAM disks, by the paths that the loader's file states.
    Paths { volume: usize, kernel: String, initrds: Vec<String> },
    /// Files, or sections, that are known to be there.
    Known(Vec<FileRef>),
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
            Files::Paths { volume, kernel, initrds } => std::iter::once(kernel)
                .chain(initrds)
                .map(|path| locate(system.volumes, *volume, path).ok_or(format!("there is no {path}")))
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

/// The file that a path of a loader's file means. It may begin at the file system that holds that file, or at the
/// system's root, or at btrfs's uppermost subvolume; so the path is tried as it is and with and without `/boot`.
pub(super) fn locate(volumes: &Volumes, volume: usize, path: &str) -> Option<FileRef> {
    let path = without_device(path).replace('\\', "/");
    let path = path.trim_start_matches('/');
    let own = std::iter::once(volume);
    let others = (0..volumes.list.len()).filter(|&other| other != volume);
    own.chain(others).find_map(|volume| {
        let candidates = [
            Some(format!("/{path}")),
            Some(format!("/boot/{path}")),
            path.strip_prefix("boot/").map(|path| format!("/{path}")),
        ];
        candidates.into_iter().flatten().find_map(|path| file(volumes, volume, &path))
    })
}

/// `(hd0,gpt2)/vmlinuz` without the device.
fn without_device(path: &str) -> &str {
    match path.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, path)) => path,
        None => path,
    }
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
