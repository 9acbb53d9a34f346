//! Disks as other programs write them, VHDX, VMDK, VHD and VDI, read to become images. No machine runs on one.
//!
//! ```text
//! open files ─► source (what a file says) ─┬─ vhdx, vmdk, vhd, vdi ─► Layer ─► DiskReader
//!                                          └─ raw, qcow2: of `disk` ─┘
//! ```
//!
//! Nothing is opened here, and nothing written but what a disk is copied to. A length or place that a file states is
//! checked before it is used, and tables are read where they are needed, whatever their length. Used by: the confined
//! child of `image_import`.

#![forbid(unsafe_code)]

mod blocks;
mod little_endian;
mod opened;
mod reader;
mod source;
mod table_pages;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

pub use reader::DiskReader;
pub use source::{SourceFile, SourceInfo, describe_source};
