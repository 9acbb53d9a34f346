//! qcow2 images, versions 2 and 3 (QEMU, `docs/interop/qcow2.txt`): disks that take room as they are written
//! to, and that may have another file behind them.
//!
//! ```text
//! Qcow2Disk ─open_queue─► ImageQueue ──what stays where it is──► io_uring
//!                 │            └──────aside──┐
//!                 └──────► ThreadQueue ──────┴─► Image ─lock─► Owner (tables, counts, places)
//!                                                  │             └─► commit: tables to the file, in order
//!                                                  └─► ImageFile (the guest's data), Layer (what is behind)
//! ```
//!
//! - **One owner of the metadata** ([`owner`]): all queues ask it for places under one lock, which nobody holds
//!   during I/O on the guest's data.
//! - **Any moment is a good one to lose power** ([`commit`]): tables change in memory, and go to the file in
//!   an order in which whatever part arrives makes a sound image. A flush is a commit.
//! - An image is hostile: [`header`] bounds what it can make us hold, and each entry is checked where it is
//!   used.
//!
//! Left out, and refused by name: encryption, external data files, subclusters, writing beside persistent
//! bitmaps. Internal snapshots are kept as they are: what they share is copied before it is changed.

mod chain;
mod check;
mod commit;
mod compressed;
mod create;
mod entry;
mod geometry;
mod header;
mod image;
mod lookup;
mod owner;
mod queue;
mod refcounts;
mod rename;
mod repair;
mod spec;
mod survey;
mod tables;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::info;

pub use self::chain::BackingPolicy;
pub(crate) use self::chain::{activate, open_image, open_regular, prepare};
pub use self::check::CheckReport;
pub use self::check::check;
pub use self::create::CreateOptions;
pub(crate) use self::create::grow;
pub(crate) use self::header::Header;
pub(crate) use self::image::Image;
use self::queue::ImageQueue;
pub(crate) use self::rename::rename_backing;
pub use self::repair::Repair;
use self::spec::{COMPATIBLE_LAZY_REFCOUNTS, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY};
use crate::contract::{Disk, DiskQueue, SECTOR_SIZE};
use crate::error::{FormatError, OpenError, ResizeError};
use crate::format::Qcow2Info;
use crate::host_file::check_block_size;
use crate::image_file::ImageFile;
use crate::layer::Layer;
use crate::raw::{IoMethod, RingQueue, Storage};
use crate::read_only::Uncut;
use crate::thread_queue::ThreadQueue;
use crate::trouble::{FileHealth, Trouble};

/// Threads of a queue without io_uring.
const THREADS_PER_QUEUE: usize = 2;

/// A qcow2 image as a disk. Dropping it leaves a closed image in which no room is lost.
pub struct Qcow2Disk {
    image: Arc<Image>,
    path: PathBuf,
    method: IoMethod,
    block_size_bytes: u32,
    /// How its file was, where it is one of the host's.
    health: Option<FileHealth>,
}

impl Qcow2Disk {
    /// Opens and locks the image at `path`, and read-only what is behind it.
    ///
    /// # Errors
    /// One [`OpenError`] for each thing that a person can have got wrong.
    pub fn open(path: &Path, read_only: bool, policy: BackingPolicy) -> Result<Qcow2Disk, OpenError> {
        let image = chain::open_image(path, read_only, policy)?;
        Qcow2Disk::new(image, path).map_err(|source| OpenError::Format { path: path.to_owned(), source })
    }

    /// The image in `file`, which must not name a backing file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open_file(file: Arc<dyn ImageFile>, read_only: bool) -> Result<Qcow2Disk, FormatError> {
        let image = Image::open(file, None, read_only)?;
        if image.header.backing.is_some() {
            return Err(FormatError::BackingRefused);
        }
        Qcow2Disk::new(image, Path::new("(memory)"))
    }

    /// The disk in an image that is open and locked.
    pub(crate) fn new(image: Image, path: &Path) -> Result<Qcow2Disk, FormatError> {
        let size_bytes = image.size_bytes();
        if size_bytes == 0 || !size_bytes.is_multiple_of(SECTOR_SIZE) {
            return Err(FormatError::Unsupported(format!("a disk of {size_bytes} bytes")));
        }
        // Its length may change in either direction.
        let health = image.file.host_file().map(|file| FileHealth::of(&file));
        Ok(Qcow2Disk {
            image: Arc::new(image),
            path: path.to_owned(),
            method: IoMethod::default(),
            block_size_bytes: SECTOR_SIZE as u32,
            health,
        })
    }

    /// The same disk with blocks of another size, a power of two.
    ///
    /// # Errors
    /// The disk does not consist of whole blocks.
    pub fn with_block_size(self, block_size_bytes: u32) -> Result<Qcow2Disk, OpenError> {
        check_block_size(&self.path, self.image.size_bytes(), block_size_bytes)?;
        Ok(Qcow2Disk { block_size_bytes, ..self })
    }

    /// The same disk with its I/O done in a given way.
    pub fn with_method(self, method: IoMethod) -> Qcow2Disk {
        Qcow2Disk { method, ..self }
    }

    /// Makes it `size_bytes` long, not less than it is.
    pub(crate) fn grow(&self, size_bytes: u64) -> Result<(), ResizeError> {
        create::grow(&self.image, size_bytes).map_err(|source| ResizeError::host(&self.path, source))
    }

    /// Whether no queue is open.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.image) == 1
    }

    /// Leaves an image in which nothing is lost, and that is not written any more: somebody else may have it next.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if !self.image.read_only {
            self.image.close()?;
            // What was written behind the last commit's sync is the file's length.
            self.image.file.sync()?;
            self.image.abandon();
        }
        Ok(())
    }

    /// A ring on the image's file, where there are both.
    fn ring(&self) -> io::Result<RingQueue> {
        let file = self.image.file.host_file().ok_or(io::ErrorKind::Unsupported)?;
        let dirty = self.image.file.dirty_bitmap();
        RingQueue::new(Arc::new(Storage::without_end(file, self.path.clone(), dirty)))
    }
}

impl Disk for Qcow2Disk {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    fn block_size_bytes(&self) -> u32 {
        self.block_size_bytes
    }

    fn is_read_only(&self) -> bool {
        self.image.read_only
    }

    fn can_discard(&self) -> bool {
        !self.image.read_only
    }

    fn can_write_zeroes(&self) -> bool {
        !self.image.read_only
    }

    fn trouble(&self) -> Option<Trouble> {
        self.health?.trouble_of(&*self.image.file.host_file()?, None)
    }

    fn open_queue(&self) -> io::Result<Box<dyn DiskQueue>> {
        if self.method != IoMethod::Threads {
            match self.ring() {
                Ok(ring) => return Ok(Box::new(ImageQueue::new(Arc::clone(&self.image), ring))),
                Err(error) if self.method == IoMethod::Ring => return Err(error),
                Err(error) => {
                    info!(disk = %self.path.display(), %error, "io_uring is refused, using threads");
                }
            }
        }
        Ok(Box::new(ThreadQueue::new(Arc::clone(&self.image) as Arc<_>, THREADS_PER_QUEUE)?))
    }
}

/// Makes an image in an empty file.
///
/// # Errors
/// The options do not go together, or the file refuses.
pub fn create(file: &Arc<dyn ImageFile>, options: &CreateOptions) -> Result<(), FormatError> {
    create::create(&**file, options)?;
    let image = Image::open(Arc::clone(file), None, false)?;
    create::set_first_size(&image, options.size_bytes).inspect_err(|_| image.abandon())
}

/// Puts reference counts right. Nobody else is at the file.
///
/// # Errors
/// There is other damage, or the file refuses.
pub fn repair_file(file: &Arc<dyn ImageFile>, what: Repair) -> Result<(), FormatError> {
    let image = Image::open(Arc::clone(file), None, false)?;
    repair::repair(&**file, &mut image.lock(), what)?;
    Ok(image.close()?)
}

/// What the header in `file` says.
pub fn describe(file: &dyn ImageFile) -> Result<(u64, Qcow2Info), FormatError> {
    let header = Header::read(file)?;
    let info = Qcow2Info {
        version: header.version,
        cluster_bytes: header.geometry.cluster_bytes(),
        refcount_bits: 1 << header.geometry.refcount_order,
        compression: header.compression,
        lazy_refcounts: header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0,
        dirty: header.incompatible & INCOMPATIBLE_DIRTY != 0,
        corrupt: header.incompatible & INCOMPATIBLE_CORRUPT != 0,
        backing: header.backing,
        snapshots: header.snapshots,
    };
    Ok((header.size_bytes, info))
}

#[cfg(test)]
mod tests;

/// The disk in an image that is read to be imported, with what is behind it, which it has to name. What it says of places
/// behind the end of its file is damage.
///
/// # Errors
/// It is damaged, needs what is not supported, or one of both is missing: the name of a file behind it, or that file.
pub fn open_to_read(
    file: Arc<dyn ImageFile>,
    behind: Option<Arc<dyn Layer>>,
) -> Result<Arc<dyn Layer>, FormatError> {
    let cluster_bytes = Header::read(&*file)?.geometry.cluster_bytes();
    let backed = behind.is_some();
    let image = Image::open(Arc::new(Uncut::new(file, cluster_bytes)?), behind, true)?;
    match (&image.header.backing, backed) {
        (Some(_), false) => Err(FormatError::BackingRefused),
        (None, true) => Err(FormatError::damaged("it names no file behind it, and one was given")),
        _ => Ok(Arc::new(image)),
    }
}
