//! The header of version 2 (Multiboot2 2.0, 3.1): a magic and a list of tags.

use super::Header;
use super::fields::{AddressFields, Preference, Relocation, word};
use crate::KernelFault;

/// `magic`
const MAGIC: u32 = 0xe852_50d6;
/// `architecture`: 32-bit protected mode of i386
const I386: u32 = 0;
/// The header lies in the first 32768 bytes of the image.
pub(super) const SEARCH_SIZE: usize = 32768;
/// It begins at a multiple of this, and so does each tag.
const ALIGN: usize = 8;
/// Magic, architecture, length, checksum.
const FIXED_SIZE: usize = 16;
/// Type, flags and size of a tag.
const TAG_SIZE: usize = 8;
/// Flag of a tag that may be passed over.
const OPTIONAL: u16 = 1 << 0;

/// Types of tags (3.1.3 to 3.1.13).
mod tag {
    pub const END: u16 = 0;
    pub const INFORMATION_REQUEST: u16 = 1;
    pub const ADDRESSES: u16 = 2;
    pub const ENTRY: u16 = 3;
    pub const CONSOLE: u16 = 4;
    pub const FRAMEBUFFER: u16 = 5;
    pub const MODULE_ALIGNMENT: u16 = 6;
    pub const EFI_BOOT_SERVICES: u16 = 7;
    pub const EFI_ENTRY_32: u16 = 8;
    pub const EFI_ENTRY_64: u16 = 9;
    pub const RELOCATABLE: u16 = 10;
}

/// `console_flags`: a console is required.
const CONSOLE_REQUIRED: u32 = 1 << 0;
/// Last type of information that the specification knows (3.6). What is known but not there may be asked for.
const LAST_INFORMATION: u32 = 21;

/// Offset of the header in `head`.
pub(super) fn position(head: &[u8]) -> Option<usize> {
    let last = head.len().min(SEARCH_SIZE).checked_sub(FIXED_SIZE)?;
    (0..=last).step_by(ALIGN).find(|at| {
        let field = |index: usize| word(head, at + 4 * index).unwrap_or(0);
        let sum = (0..4).fold(0u32, |sum, index| sum.wrapping_add(field(index)));
        field(0) == MAGIC && field(1) == I386 && sum == 0
    })
}

/// Reads the header at `offset`.
pub(super) fn parse(head: &[u8], offset: usize) -> Result<Header, KernelFault> {
    let head = &head[..head.len().min(SEARCH_SIZE)];
    let length = word(head, offset + 8).unwrap_or(0) as usize;
    let end = offset.checked_add(length).filter(|end| length >= FIXED_SIZE && *end <= head.len());
    let header = end.map(|end| &head[offset..end]);
    let header = header.ok_or(KernelFault::Damaged("its Multiboot2 header has a bad length"))?;
    let mut found = Header::default();
    let mut at = FIXED_SIZE;
    while let Some(tag) = Tag::split(header, at)? {
        tag.read(offset, &mut found)?;
        at = at.saturating_add(tag.bytes.len().next_multiple_of(ALIGN));
    }
    if found.addresses.is_some() && found.entry.is_none() {
        return Err(KernelFault::Damaged("its Multiboot2 header has addresses but no entry"));
    }
    Ok(found)
}

/// One tag, with its type, flags and size.
struct Tag<'a> {
    kind: u16,
    optional: bool,
    bytes: &'a [u8],
}

impl Tag<'_> {
    /// The tag at `at`; none at the end.
    fn split(header: &[u8], at: usize) -> Result<Option<Tag<'_>>, KernelFault> {
        let damaged = KernelFault::Damaged("a tag in its Multiboot2 header makes no sense");
        let (Some(first), Some(size)) = (word(header, at), word(header, at.saturating_add(4))) else {
            return Err(damaged);
        };
        let (kind, flags) = (first as u16, (first >> 16) as u16);
        if kind == tag::END {
            return Ok(None);
        }
        let bytes = at.checked_add(size as usize).and_then(|end| header.get(at..end));
        match bytes {
            Some(bytes) if bytes.len() >= TAG_SIZE => {
                Ok(Some(Tag { kind, optional: flags & OPTIONAL != 0, bytes }))
            }
            _ => Err(damaged),
        }
    }

    fn field(&self, index: usize) -> Result<u32, KernelFault> {
        let damaged = KernelFault::Damaged("a tag in its Multiboot2 header is too short");
        word(self.bytes, TAG_SIZE + 4 * index).ok_or(damaged)
    }

    /// Puts what the tag says into `found`.
    fn read(&self, offset: usize, found: &mut Header) -> Result<(), KernelFault> {
        match self.kind {
            tag::ADDRESSES => {
                let fields = [self.field(0)?, self.field(1)?, self.field(2)?, self.field(3)?];
                found.addresses = Some(AddressFields::parse(offset, fields, true)?);
            }
            tag::ENTRY => found.entry = Some(self.field(0)?.into()),
            tag::RELOCATABLE => found.relocation = Some(self.relocation()?),
            tag::MODULE_ALIGNMENT => {}
            _ if self.optional => {}
            tag::INFORMATION_REQUEST => return self.check_requests(),
            tag::CONSOLE if self.field(0)? & CONSOLE_REQUIRED == 0 => {}
            tag::CONSOLE => return Err(absent("a text console or framebuffer")),
            tag::FRAMEBUFFER => return Err(absent("a framebuffer")),
            tag::EFI_BOOT_SERVICES => return Err(absent("EFI boot services")),
            tag::EFI_ENTRY_32 | tag::EFI_ENTRY_64 => return Err(absent("an entry by EFI")),
            unknown => return Err(requires(format!("tag {unknown}, which is unknown"))),
        }
        Ok(())
    }

    fn relocation(&self) -> Result<Relocation, KernelFault> {
        let preference = match self.field(3)? {
            0 => Preference::None,
            1 => Preference::Lowest,
            2 => Preference::Highest,
            _ => return Err(KernelFault::Damaged("its Multiboot2 header has an unknown load preference")),
        };
        let (min, max, align) = (self.field(0)?, self.field(1)?, self.field(2)?);
        Ok(Relocation { min: min.into(), max: max.into(), align: align.into(), preference })
    }

    /// A kernel may ask for what the specification knows, there or not, but for nothing else (3.1.4).
    fn check_requests(&self) -> Result<(), KernelFault> {
        let words = self.bytes[TAG_SIZE..].chunks_exact(4);
        let kinds = words.map(|word| word.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)));
        match kinds.into_iter().find(|kind| *kind > LAST_INFORMATION) {
            Some(kind) => Err(requires(format!("information {kind}, which is unknown"))),
            None => Ok(()),
        }
    }
}

fn requires(what: String) -> KernelFault {
    KernelFault::Requires { header: "Multiboot2", what }
}

fn absent(what: &str) -> KernelFault {
    requires(format!("{what}, which this machine does not have"))
}
