//! The header of version 1 (Multiboot 0.6.96, 3.1).

use super::Header;
use super::fields::{AddressFields, word};
use crate::KernelFault;

/// `magic`
const MAGIC: u32 = 0x1bad_b002;
/// The header lies in the first 8192 bytes of the image.
const SEARCH_SIZE: usize = 8192;
/// It begins at a multiple of this.
const ALIGN: usize = 4;
/// Magic, flags, checksum.
const FIXED_SIZE: usize = 12;

/// Requirements, of which those that are not known must not be passed over (3.1.2).
const REQUIREMENTS: u32 = 0xffff;
/// Modules begin at page boundaries: they always do.
const PAGE_ALIGNED: u32 = 1 << 0;
/// `mem_*` and the memory map are wanted: they are always there.
const MEMORY_INFO: u32 = 1 << 1;
/// A video mode is wanted.
const VIDEO_MODE: u32 = 1 << 2;
/// The address fields are there.
const ADDRESS_FIELDS: u32 = 1 << 16;

/// Offset of the header in `head`.
pub(super) fn position(head: &[u8]) -> Option<usize> {
    let head = &head[..head.len().min(SEARCH_SIZE)];
    let last = head.len().checked_sub(FIXED_SIZE)?;
    (0..=last).step_by(ALIGN).find(|at| {
        let field = |index: usize| word(head, at + 4 * index).unwrap_or(0);
        field(0) == MAGIC && field(0).wrapping_add(field(1)).wrapping_add(field(2)) == 0
    })
}

/// Reads the header at `offset`.
pub(super) fn parse(head: &[u8], offset: usize) -> Result<Header, KernelFault> {
    let head = &head[..head.len().min(SEARCH_SIZE)];
    let field = |at: usize| word(head, offset + at).ok_or(KernelFault::Truncated("the Multiboot header"));
    let flags = field(4)?;
    let requires = |what: String| KernelFault::Requires { header: "Multiboot", what };
    if flags & VIDEO_MODE != 0 {
        return Err(requires("a video mode, which this machine does not have".to_owned()));
    }
    let unknown = flags & REQUIREMENTS & !(PAGE_ALIGNED | MEMORY_INFO | VIDEO_MODE);
    if unknown != 0 {
        return Err(requires(format!("feature {}, which is unknown", unknown.trailing_zeros())));
    }
    if flags & ADDRESS_FIELDS == 0 {
        return Ok(Header::default());
    }
    let addresses = [field(12)?, field(16)?, field(20)?, field(24)?];
    let entry = field(28)?;
    Ok(Header {
        addresses: Some(AddressFields::parse(offset, addresses, false)?),
        entry: Some(entry.into()),
        relocation: None,
    })
}
