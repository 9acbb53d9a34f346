//! The words of images: what they are called and known by, what is said of them, where they come from.
//!
//! Pure types: parsed once, compared, written and read. Where images are kept is for `image_store`, how foreign ones are
//! read for `image_import`, where they are had for `image_sources`; these share words and not each other.

mod alias;
mod architecture;
mod checksum;
mod compression;
mod description;
mod digest;
mod disk_format;
mod error;
mod first_boot;
mod hex;
mod reference;
mod source;
mod time;

pub use alias::Alias;
pub use architecture::Architecture;
pub use checksum::{Checksum, ChecksumKind};
pub use compression::Compression;
pub use description::{ImageDescription, MachineDefaults};
pub use digest::Digest;
pub use disk_format::DiskFormat;
pub use error::NameError;
pub use first_boot::FirstBoot;
pub use hex::{from_hex, hex, uuid_text};
pub use reference::ImageReference;
pub use source::{ImageSource, SourceKind};
pub use time::UtcTime;
