//! Where a part of a disk is.

/// A part of a disk that lies in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapPiece {
    /// First byte on the disk.
    pub start_bytes: u64,
    /// Length in bytes.
    pub length_bytes: u64,
    /// How many files further back it is: 0 for the disk's own.
    pub depth: u32,
    /// It reads as zeros.
    pub zero: bool,
    /// Data takes room for it.
    pub data: bool,
    /// Where it is in its file; `None` for what has no place, and for compressed clusters.
    pub offset_bytes: Option<u64>,
}
