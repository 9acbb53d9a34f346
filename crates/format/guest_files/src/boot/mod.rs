//! What it takes to boot the system on a disk without firmware: which kernel, which initial RAM disk, which command
//! line, as the disk's own boot loader would choose.
//!
//! ```text
//! volumes ─► root file system, places of /boot ─► loaders, in turn ─► entries ─► the first that is all there
//!            (root.rs)                            grub.rs, extlinux.rs, systemd_boot.rs, newest.rs
//! ```

mod bls;
mod cmdline;
mod entry;
mod extlinux;
mod grub;
mod kernel;
mod newest;
mod os_release;
mod pe;
mod root;
mod systemd_boot;
mod version;
mod volumes;

use std::fmt;
use std::io::Write;
use std::rc::Rc;

use image_model::Architecture;

use crate::{FsError, FsKind, Limited, ReadAt};
use entry::Entry;
use volumes::Volumes;

pub use os_release::OsRelease;

/// How much is read to find what boots, and to write it out.
const FIND_BUDGET_BYTES: u64 = 1 << 30;
const WRITE_BUDGET_BYTES: u64 = 4 << 30;
/// The largest kernel and initial RAM disk that are taken.
const KERNEL_LIMIT_BYTES: u64 = 512 << 20;
const INITRD_LIMIT_BYTES: u64 = 1 << 30;

/// Reasons that are told when entries are passed over.
const PASSED_OVER_LIMIT: usize = 8;

/// A file on the disk, or a section of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// The partition's number; nothing when the file system fills the disk.
    pub partition: Option<u32>,
    /// Its path on that file system.
    pub path: String,
    /// The section of a unified kernel image.
    pub section: Option<&'static str>,
    /// How long it is.
    pub size_bytes: u64,
    volume: usize,
    offset_bytes: u64,
}

impl FileRef {
    /// The index of the volume that it is on.
    fn volume(&self) -> usize {
        self.volume
    }
}

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(section) = self.section {
            write!(f, "section {section} of ")?;
        }
        f.write_str(&self.path)?;
        self.partition.map_or(Ok(()), |number| write!(f, " on partition {number}"))
    }
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFs {
    /// Which file system it is.
    pub kind: FsKind,
    /// The partition's number; nothing when it fills the disk.
    pub partition: Option<u32>,
    /// Its UUID, as `root=UUID=` names it.
    pub uuid: Option<String>,
    /// As `root=PARTUUID=` names its partition.
    pub partition_uuid: Option<String>,
    /// btrfs's subvolume that is the root, where that is not the default one.
    pub subvolume: Option<String>,
}

/// What boots.
pub struct Boot {
    /// The kernel.
    pub kernel: FileRef,
    /// The initial RAM disks, which are loaded one behind the other.
    pub initrds: Vec<FileRef>,
    /// The kernel's command line.
    pub cmdline: String,
    /// What the system says it is.
    pub os_release: Option<OsRelease>,
    /// The root file system; nothing when it is inside of something that is not read here, such as LVM.
    pub root: Option<RootFs>,
    /// Where the choice comes from: `/boot/grub/grub.cfg: Debian GNU/Linux`.
    pub chosen_by: String,
    /// What a person should know: what was added, what is damaged, what was passed over.
    pub notes: Vec<String>,
    /// The entry that the boot loader is to start once, where its files name one (GRUB's `next_entry`). It was taken, if
    /// it is not the one that [`find_boot`] was told of.
    pub next_entry: Option<String>,
    volumes: Volumes,
}

impl Boot {
    /// Writes the kernel to `out` and says how many bytes it has.
    ///
    /// # Errors
    ///
    /// When the disk cannot be read, or `out` not be written to.
    pub fn write_kernel(&self, out: &mut dyn Write) -> Result<u64, FsError> {
        self.volumes.disk.refill(WRITE_BUDGET_BYTES);
        self.volumes.write(&self.kernel, KERNEL_LIMIT_BYTES, out)
    }

    /// Writes the initial RAM disks to `out`, each but the last filled up with zeros to a multiple of four bytes,
    /// and says how many bytes that makes; 0 when there is none.
    ///
    /// # Errors
    ///
    /// When the disk cannot be read, or `out` not be written to.
    pub fn write_initrd(&self, out: &mut dyn Write) -> Result<u64, FsError> {
        self.volumes.disk.refill(WRITE_BUDGET_BYTES);
        let mut written: u64 = 0;
        for initrd in &self.initrds {
            let padding = written.next_multiple_of(4) - written;
            out.write_all(&[0; 4][..padding as usize]).map_err(FsError::Write)?;
            written += padding;
            written +=
                self.volumes.write(initrd, INITRD_LIMIT_BYTES - written.min(INITRD_LIMIT_BYTES), out)?;
        }
        Ok(written)
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boot")
            .field("kernel", &self.kernel)
            .field("initrds", &self.initrds)
            .field("cmdline", &self.cmdline)
            .field("os_release", &self.os_release)
            .field("root", &self.root)
            .field("chosen_by", &self.chosen_by)
            .field("notes", &self.notes)
            .field("next_entry", &self.next_entry)
            .finish_non_exhaustive()
    }
}

/// Why a disk cannot be booted without firmware.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The disk did not give its bytes.
    #[error("the disk could not be read: {0}")]
    Read(#[source] std::io::Error),
    /// There is nothing on it that is known.
    #[error(
        "the disk has neither a partition table nor a file system that is known: it is empty, or in a format of its own"
    )]
    Nothing,
    /// Another operating system, which brings its own loader.
    #[error("{found}: {system} needs firmware to boot, it cannot be started from its disk without")]
    NeedsFirmware {
        /// What was found, and where.
        found: String,
        /// Whose it is.
        system: String,
    },
    /// Partitions, and nothing in them that is read here.
    #[error(
        "the disk has no file system that can be read without firmware ({0}); ext4, xfs, btrfs and vfat can be"
    )]
    NoFileSystem(String),
    /// File systems, and no kernel in them.
    #[error(
        "the disk has no kernel that could be started without firmware (looked in {looked}){passed_over}"
    )]
    NoKernel {
        /// Where a kernel was looked for.
        looked: String,
        /// What was there and could not be taken, with `: ` in front; empty when there was nothing.
        passed_over: String,
    },
}

/// Finds what boots on a disk, as its own boot loader would choose.
///
/// An entry that is to be started once is taken, unless `once_done` says that it was: a boot loader would take it off the
/// disk, and nothing is written to the disk here. Whoever starts the system keeps [`Boot::next_entry`] for the next time.
///
/// # Errors
///
/// Says in words what the disk lacks.
pub fn find_boot(
    disk: Rc<dyn ReadAt>,
    architecture: Architecture,
    once_done: Option<&str>,
) -> Result<Boot, BootError> {
    let disk = Rc::new(Limited::new(disk, FIND_BUDGET_BYTES));
    let mut volumes = Volumes::open(disk)?;
    let root = root::find(&mut volumes, architecture);
    let places = root::boot_places(&volumes, root.as_ref());
    let once = entry::Once { done: once_done.map(str::to_owned), ..entry::Once::default() };
    let system =
        entry::System { volumes: &volumes, root: root.as_ref(), places: &places, architecture, once: &once };
    let mut passed_over = Vec::new();
    let Some((entry, files)) = choose(&system, &mut passed_over) else {
        return Err(volumes.no_kernel(&places, &passed_over));
    };
    let kernel_volume = files.first().ok_or(BootError::Nothing)?.volume;
    let root = root::of_entry(&volumes, &entry.cmdline, kernel_volume, root);
    let os_release = root.as_ref().and_then(|root| os_release::read(&*volumes.list[root.volume].fs));
    let mut notes = volumes.notes(root.as_ref(), files.iter().map(|file| file.volume));
    notes.extend(passed_over);
    let root = root.map(|root| root.described(&volumes));
    let mut files = files.into_iter();
    let kernel = files.next().ok_or(BootError::Nothing)?;
    let initrds: Vec<FileRef> = files.collect();
    let line = cmdline::Line {
        given: &entry.cmdline,
        root: root.as_ref(),
        has_initrd: !initrds.is_empty(),
        partitions: volumes.numbers(),
    };
    let cmdline = line.finish(architecture, &mut notes);
    let (chosen_by, next_entry) = (entry.source, once.named.into_inner());
    Ok(Boot { kernel, initrds, cmdline, os_release, root, chosen_by, notes, next_entry, volumes })
}

/// The first entry of the first loader whose files are all there, the kernel's first.
fn choose(system: &entry::System<'_>, passed_over: &mut Vec<String>) -> Option<(Entry, Vec<FileRef>)> {
    for loader in [grub::entries, extlinux::entries, systemd_boot::entries, newest::entries] {
        for entry in loader(system, passed_over) {
            match entry.locate(system) {
                Ok(files) => return Some((entry, files)),
                Err(why) if passed_over.len() < PASSED_OVER_LIMIT => {
                    passed_over.push(format!("{}: {why}", entry.source));
                }
                Err(_) => {}
            }
        }
    }
    None
}
