//! What a block device reads from and writes to: a contract, and disks that are files or devices of the host.
//!
//! A [`Disk`] is shared by the queues of a device; each queue opens a [`DiskQueue`] of its own, submits
//! [`DiskRequest`]s and is told of completions, in any order, by an event descriptor.
//!
//! Implemented by: [`RawDisk`] (raw files and block devices), [`Qcow2Disk`]. Used by: `virtio_block`, and by
//! the commands that make and convert images; `foreign_disks` reads other formats as a [`Layer`]. This crate knows no guest: memory arrives as
//! [`IoBuffers`](guest_memory::IoBuffers).

mod contract;
mod dirty_bitmap;
mod disguise;
mod error;
mod format;
mod host_file;
mod image_file;
mod layer;
mod map_piece;
mod offline;
mod prepared;
mod qcow2;
mod raw;
mod raw_contents;
mod read_only;
mod signature;
mod thread_queue;
mod transfer;
mod trouble;

pub use contract::{Disk, DiskCompletion, DiskOperation, DiskQueue, DiskRequest, SECTOR_SIZE};
pub use dirty_bitmap::{DirtyBitmap, GRANULE_BYTES};
pub use disguise::{Disguise, StatedBy};
pub use error::{FormatError, OpenError, ReleaseError, ResizeError};
pub use format::{BackingName, Compression, Qcow2Info, SourceFormat};
pub use host_file::HostFile;
pub use image_file::{ImageFile, fill_with_zeros, read_vec};
pub use image_model::DiskFormat;
pub use layer::{Layer, RawLayer};
pub use map_piece::MapPiece;
pub use offline::{
    Claim, ConvertOptions, DiskInfo, OfflineError, Output, check, claim, convert, copy_layer, create_qcow2,
    create_raw, flatten, info, is_block_device, map, rename_backing, resize,
};
pub use prepared::{ActiveDisk, DiskOptions, NotDone, PreparedDisk};
pub use qcow2::{
    BackingPolicy, CheckReport, CreateOptions, Qcow2Disk, Repair, check as check_image,
    create as create_image, describe as describe_image, open_to_read as open_image,
    repair_file as repair_image,
};
pub use raw::{IoMethod, RawDisk};
pub use raw_contents::{RawContents, check_raw};
pub use read_only::FileRange;
pub use signature::{Signature, SignatureKind, recognize};
pub use trouble::Trouble;
