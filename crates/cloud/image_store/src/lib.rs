//! Images of operating systems, kept by the SHA-256 of their contents, and the disks that instances get of
//! them.
//!
//! ```text
//!  file, download, build                                   instances/web1/disk.raw    (reflink)
//!          │                                                           /disk.qcow2  (overlay)
//!          ▼                                                             ▲
//!   StagingFolder ── add_image: hash, rename ──► blobs/sha256/<hex> ─────┘ create_instance_disk
//!   staging/<random>                             images/<hex>.json ──► named by aliases.json
//! ```
//!
//! An [`Image`] is metadata; its disk, kernel and initrd are blobs. A blob is immutable, raw and sparse, and
//! its name is the SHA-256 of all its bytes, holes read as zeros. An image's id is the SHA-256 of its
//! metadata's file.
//!
//! Several processes use one store. What nobody sees yet is in a staging folder, locked by its maker; what is
//! seen got its name by a rename after it was synced, so a process may end at any moment.
//!
//! Order of locks: a key's lock ([`Store::lock_key`]) before the store's own. The store's own is held for
//! moments: shared while blobs get their names or an instance begins to use one, exclusive while aliases
//! change or blobs go. No method calls back to its caller while it holds the store's own.

mod aliases;
mod durable;
mod error;
mod export;
mod garbage;
mod images;
mod instances;
mod layout;
mod locks;
mod metadata;
mod sparse;
mod staging;
mod store;
mod verify;

pub use error::{StoreError, class_of_disk};
pub use garbage::{GarbageOptions, GarbageReport, Removed, RemovedKind};
pub use images::{BootFiles, Deleted, HashedImage, NewImage};
pub use instances::{DiskMethod, InstanceDisk};
pub use layout::place_in_words;
pub use locks::{KeyLock, Waiting};
pub use metadata::{BootWay, Image, ImageMetadata};
pub use sparse::hash_file;
pub use staging::StagingFolder;
pub use store::Store;
pub use verify::{DamageKind, DamagedBlob, VerifyReport};

/// Told how far a long action is: bytes done and bytes in all.
pub type ByteProgress<'a> = &'a mut dyn FnMut(u64, u64);
