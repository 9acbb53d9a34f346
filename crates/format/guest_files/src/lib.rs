//! File systems inside of disks, read without mounting them: partition tables, ext4, xfs, btrfs, vfat, and what
//! of their files it takes to boot.
//!
//! ```text
//! ReadAt (a disk) ─► partitions ─► Slice ─► FileSystem ─► find_boot ─► Boot: kernel, initrd, command line
//! ```
//!
//! Everything that is read here was written by somebody else: no length, offset or count is believed. Nothing is
//! written, no journal is replayed, and nothing but the [`ReadAt`] that is handed in is touched: this crate opens
//! no file and starts no thread, so that it can run in a confined process.

#![forbid(unsafe_code)]

mod boot;
mod btrfs;
mod bytes;
mod content;
mod device;
mod error;
mod ext4;
mod file_system;
mod partitions;
mod path;
mod vfat;
mod xfs;

pub use boot::{Boot, BootError, FileRef, OsRelease, RootFs, find_boot};
pub use content::{Content, identify};
pub use device::{Limited, ReadAt, Slice};
pub use error::FsError;
pub use file_system::{
    DirEntry, FileKind, FileSystem, FsKind, Metadata, copy_file, open_file_system, read_small,
};
pub use image_model::Architecture;
pub use partitions::{Partition, PartitionTable, PartitionType, TableKind, read_partitions};
