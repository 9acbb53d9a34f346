//! Static ELF executables (System V gABI, chapters 4 and 5), 32 and 64 bits, and the note that names a PVH
//! entry.
//!
//! A parser of our own: `linux-loader`'s wants a seekable image, which an unpacked stream is not, reads no
//! 32-bit files, and checks neither that a segment's file part fits its memory part nor that segments are
//! disjoint before it writes them to guest memory.

use crate::KernelFault;
use crate::identify::elf_for;
use spec::*;

/// Offsets and values. Pairs are for 32 and 64 bits.
mod spec {
    /// `e_ident`: magic (gABI, figure 4-4).
    pub const MAGIC: &[u8] = b"\x7fELF";
    /// `e_ident[EI_CLASS]`
    pub const CLASS: usize = 4;
    /// `ELFCLASS32`
    pub const CLASS_32: u8 = 1;
    /// `ELFCLASS64`
    pub const CLASS_64: u8 = 2;
    /// `e_ident[EI_DATA]`
    pub const DATA: usize = 5;
    /// `ELFDATA2LSB`
    pub const LITTLE_ENDIAN: u8 = 1;
    /// `e_type`
    pub const TYPE: usize = 16;
    /// `ET_REL`
    pub const TYPE_OBJECT: u16 = 1;
    /// `ET_EXEC`
    pub const TYPE_EXECUTABLE: u16 = 2;
    /// `ET_DYN`
    pub const TYPE_SHARED: u16 = 3;
    /// `ET_CORE`
    pub const TYPE_CORE: u16 = 4;
    /// `e_machine`
    pub const MACHINE: usize = 18;
    /// `EM_386`
    pub const MACHINE_386: u16 = 3;
    /// `EM_X86_64`
    pub const MACHINE_X86_64: u16 = 62;
    /// `PT_LOAD`
    pub const LOAD: u32 = 1;
    /// `PT_INTERP`
    pub const INTERPRETER: u32 = 3;
    /// `PT_NOTE`
    pub const NOTE: u32 = 4;
    /// Alignment of notes where the segment asks for 8 bytes; 4 otherwise.
    pub const NOTE_ALIGN_8: u64 = 8;
    /// Owner of Xen's notes (Xen, `xen/include/public/elfnote.h`).
    pub const XEN: &[u8] = b"Xen\0";
    /// `XEN_ELFNOTE_PHYS32_ENTRY`, which names the PVH entry.
    pub const PHYS32_ENTRY: u32 = 18;
}

/// Bytes of a file header, at most.
pub(crate) const HEADER_SIZE: usize = 64;
/// More program headers than any kernel has.
const MAX_SEGMENTS: usize = 128;
/// Notes that are looked at, in bytes.
pub(crate) const MAX_NOTES: u64 = 64 << 10;

/// Width of addresses in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Elf32,
    Elf64,
}

/// A file header that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub class: Class,
    entry: u64,
    table_offset: u64,
    table_entries: usize,
}

/// One loadable segment. Its file part is not longer than its memory part, and neither wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub file_offset: u64,
    pub file_size: u64,
    pub physical: u64,
    pub memory_size: u64,
    virtual_start: u64,
}

/// A piece of the file that holds notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notes {
    pub file_offset: u64,
    pub file_size: u64,
    align: u64,
}

/// An executable: what to load where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    pub class: Class,
    entry: u64,
    /// In order of their place in the file; disjoint in memory; at least one.
    pub segments: Vec<Segment>,
    pub notes: Vec<Notes>,
}

/// Whether a file that begins with `head` is an ELF file at all.
pub(crate) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

impl Header {
    /// Reads the file header from its [`HEADER_SIZE`] bytes.
    pub fn parse(head: &[u8]) -> Result<Header, KernelFault> {
        let not_kernel = |what: &str| Err(KernelFault::NotKernel { looks_like: what.to_owned() });
        let fields = Fields(head);
        if !is_elf(head) || fields.0.get(DATA) != Some(&LITTLE_ENDIAN) {
            return not_kernel("an ELF file for a big-endian machine");
        }
        let machine = fields.u16(MACHINE)?;
        let class = match (head[CLASS], machine) {
            (CLASS_32, MACHINE_386 | MACHINE_X86_64) => Class::Elf32,
            (CLASS_64, MACHINE_X86_64) => Class::Elf64,
            (CLASS_32 | CLASS_64, _) => return not_kernel(elf_for(machine)),
            _ => return Err(KernelFault::Damaged("its ELF class does not exist")),
        };
        match fields.u16(TYPE)? {
            TYPE_EXECUTABLE => {}
            TYPE_OBJECT => return not_kernel("an object file or kernel module"),
            TYPE_SHARED => return not_kernel("a dynamically linked program or library"),
            TYPE_CORE => return not_kernel("a core dump"),
            _ => return Err(KernelFault::Damaged("its ELF type does not exist")),
        }
        let (entry, table_offset, entry_size, count, expected) = match class {
            Class::Elf32 => {
                (fields.u32(24)?.into(), fields.u32(28)?.into(), fields.u16(42)?, fields.u16(44)?, 32)
            }
            Class::Elf64 => (fields.u64(24)?, fields.u64(32)?, fields.u16(54)?, fields.u16(56)?, 56),
        };
        if entry_size != expected || count == 0 || usize::from(count) > MAX_SEGMENTS {
            return Err(KernelFault::Damaged("its table of ELF segments makes no sense"));
        }
        Ok(Header { class, entry, table_offset, table_entries: count.into() })
    }

    /// Where the program headers lie in the file: offset and length.
    pub fn table(&self) -> (u64, usize) {
        (self.table_offset, self.table_entries * self.table_entry_size())
    }

    fn table_entry_size(&self) -> usize {
        match self.class {
            Class::Elf32 => 32,
            Class::Elf64 => 56,
        }
    }

    /// Reads the program headers from the bytes at [`Header::table`].
    pub fn parse_table(&self, table: &[u8]) -> Result<Executable, KernelFault> {
        let (mut segments, mut notes) = (Vec::new(), Vec::new());
        for entry in table.chunks_exact(self.table_entry_size()) {
            let (kind, segment, align) = self.parse_entry(Fields(entry))?;
            match kind {
                LOAD if segment.memory_size > 0 => segments.push(segment.check()?),
                NOTE => notes.push(Notes {
                    file_offset: segment.file_offset,
                    file_size: segment.file_size,
                    align: if align == NOTE_ALIGN_8 { 8 } else { 4 },
                }),
                INTERPRETER => {
                    let looks_like = "a dynamically linked program or library".to_owned();
                    return Err(KernelFault::NotKernel { looks_like });
                }
                _ => {}
            }
        }
        if segments.is_empty() {
            return Err(KernelFault::Damaged("it has nothing to load"));
        }
        check_disjoint(&segments)?;
        segments.sort_unstable_by_key(|segment| segment.file_offset);
        Ok(Executable { class: self.class, entry: self.entry, segments, notes })
    }

    /// Type, segment and alignment of a program header (gABI, figure 5-1).
    fn parse_entry(&self, entry: Fields<'_>) -> Result<(u32, Segment, u64), KernelFault> {
        let kind = entry.u32(0)?;
        let segment = match self.class {
            Class::Elf32 => Segment {
                file_offset: entry.u32(4)?.into(),
                virtual_start: entry.u32(8)?.into(),
                physical: entry.u32(12)?.into(),
                file_size: entry.u32(16)?.into(),
                memory_size: entry.u32(20)?.into(),
            },
            Class::Elf64 => Segment {
                file_offset: entry.u64(8)?,
                virtual_start: entry.u64(16)?,
                physical: entry.u64(24)?,
                file_size: entry.u64(32)?,
                memory_size: entry.u64(40)?,
            },
        };
        let align = match self.class {
            Class::Elf32 => entry.u32(28)?.into(),
            Class::Elf64 => entry.u64(48)?,
        };
        Ok((kind, segment, align))
    }
}

impl Segment {
    /// A piece of the file that is loaded as it is.
    pub fn flat(file_offset: u64, file_size: u64, physical: u64, memory_size: u64) -> Segment {
        Segment {
            file_offset,
            file_size,
            physical,
            memory_size: memory_size.max(file_size),
            virtual_start: physical,
        }
    }

    fn check(self) -> Result<Segment, KernelFault> {
        let wraps = self.physical.checked_add(self.memory_size).is_none()
            || self.file_offset.checked_add(self.file_size).is_none();
        if wraps || self.file_size > self.memory_size {
            return Err(KernelFault::Damaged("an ELF segment makes no sense"));
        }
        Ok(self)
    }

    /// Address behind the segment in memory.
    pub fn end(&self) -> u64 {
        self.physical.saturating_add(self.memory_size)
    }

    /// The physical address of file bytes `offset .. offset + size`, if they are all part of this segment.
    pub fn place_of(&self, offset: u64, size: u64) -> Option<u64> {
        let from = offset.checked_sub(self.file_offset)?;
        (from.checked_add(size)? <= self.file_size).then(|| self.physical + from)
    }
}

impl Executable {
    /// One piece of a file that is no ELF file, entered at `entry`.
    pub fn flat(segment: Segment, entry: u64) -> Executable {
        Executable { class: Class::Elf32, entry, segments: vec![segment], notes: Vec::new() }
    }

    /// The same, its lowest address at `start`.
    pub fn moved_to(mut self, start: u64) -> Executable {
        let linked = self.start();
        let moved = |address: u64| address.wrapping_sub(linked).wrapping_add(start);
        self.entry = moved(self.entry);
        self.segments.iter_mut().for_each(|segment| segment.physical = moved(segment.physical));
        self
    }

    /// Lowest address of a segment.
    pub fn start(&self) -> u64 {
        self.segments.iter().map(|segment| segment.physical).min().unwrap_or(0)
    }

    /// The physical address of the entry, which files give as a physical or as a virtual address.
    pub fn physical_entry(&self) -> Result<u64, KernelFault> {
        if self.is_loaded(self.entry) {
            return Ok(self.entry);
        }
        let by_virtual = |segment: &Segment| {
            let from = self.entry.checked_sub(segment.virtual_start)?;
            (from < segment.memory_size).then(|| segment.physical + from)
        };
        self.segments.iter().find_map(by_virtual).ok_or(KernelFault::Damaged("its entry is not in a segment"))
    }

    /// Whether something is loaded at `physical`.
    pub fn is_loaded(&self, physical: u64) -> bool {
        self.segments.iter().any(|segment| (segment.physical..segment.end()).contains(&physical))
    }

    /// Address behind the highest segment.
    pub fn end(&self) -> u64 {
        self.segments.iter().map(Segment::end).max().unwrap_or(0)
    }
}

impl Notes {
    /// The PVH entry that `bytes`, read from this piece of the file, names (gABI, figure 5-3; Xen,
    /// `docs/misc/pvh.pandoc`).
    pub fn pvh_entry(&self, bytes: &[u8]) -> Option<u32> {
        let mut rest = bytes;
        while let Some(note) = Note::split(rest, self.align) {
            if note.kind == PHYS32_ENTRY && note.name == XEN {
                return Some(u32::from_le_bytes(note.descriptor.get(..4)?.try_into().ok()?));
            }
            rest = note.rest;
        }
        None
    }
}

/// One note and what follows it.
struct Note<'a> {
    name: &'a [u8],
    kind: u32,
    descriptor: &'a [u8],
    rest: &'a [u8],
}

impl Note<'_> {
    /// The first note of `bytes`; at least its header's 12 bytes are then used up.
    fn split(bytes: &[u8], align: u64) -> Option<Note<'_>> {
        let fields = Fields(bytes);
        let (name_size, size, kind) = (fields.u32(0).ok()?, fields.u32(4).ok()?, fields.u32(8).ok()?);
        let name_end = 12 + u64::from(name_size);
        let start = name_end.next_multiple_of(align);
        let end = start + u64::from(size);
        let next = end.next_multiple_of(align).min(bytes.len() as u64);
        let part = |from: u64, to: u64| bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?);
        Some(Note {
            name: part(12, name_end)?,
            kind,
            descriptor: part(start, end)?,
            rest: part(next, bytes.len() as u64)?,
        })
    }
}

fn check_disjoint(segments: &[Segment]) -> Result<(), KernelFault> {
    let mut by_address: Vec<&Segment> = segments.iter().collect();
    by_address.sort_unstable_by_key(|segment| segment.physical);
    if by_address.windows(2).any(|pair| pair[0].end() > pair[1].physical) {
        return Err(KernelFault::Damaged("its ELF segments overlap in memory"));
    }
    Ok(())
}

/// Little-endian fields at offsets.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(self, offset: usize) -> Result<[u8; N], KernelFault> {
        let bytes = self.0.get(offset..offset + N).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or(KernelFault::Truncated("an ELF header"))
    }

    fn u16(self, offset: usize) -> Result<u16, KernelFault> {
        self.bytes(offset).map(u16::from_le_bytes)
    }

    fn u32(self, offset: usize) -> Result<u32, KernelFault> {
        self.bytes(offset).map(u32::from_le_bytes)
    }

    fn u64(self, offset: usize) -> Result<u64, KernelFault> {
        self.bytes(offset).map(u64::from_le_bytes)
    }
}
