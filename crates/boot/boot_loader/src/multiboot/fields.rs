//! What headers of both versions say about an image's place, and the arithmetic on it.

use crate::KernelFault;
use crate::elf::Segment;

/// Where a piece of the file is loaded (0.6.96, 3.1.3; 2.0, 3.1.5). All values fit into 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressFields {
    file_offset: u64,
    load: u64,
    /// Address behind the piece; `None` loads up to the end of the file.
    load_end: Option<u64>,
    /// Address behind the zeros that follow; `None` is no zeros.
    bss_end: Option<u64>,
}

/// Stands for "from the file's beginning" in `load_addr` of version 2.
const FROM_BEGINNING: u32 = u32::MAX;

impl AddressFields {
    /// Checks the fields `header_addr`, `load_addr`, `load_end_addr`, `bss_end_addr` of a header that was found
    /// at `offset` in the file.
    pub fn parse(offset: usize, fields: [u32; 4], may_be_all: bool) -> Result<AddressFields, KernelFault> {
        let nonsense = KernelFault::Damaged("the addresses in its Multiboot header make no sense");
        let [header, load, load_end, bss_end] = fields;
        let offset = offset as u64;
        let header = u64::from(header);
        let load = match load {
            FROM_BEGINNING if may_be_all => header.checked_sub(offset),
            load => Some(load.into()),
        };
        let Some(load) = load else { return Err(nonsense) };
        let file_offset = header.checked_sub(load).and_then(|before| offset.checked_sub(before));
        let Some(file_offset) = file_offset else { return Err(nonsense) };
        let end = |address: u32| (address != 0).then_some(u64::from(address));
        let (load_end, bss_end) = (end(load_end), end(bss_end));
        let ordered = load_end.is_none_or(|end| end > load)
            && bss_end.is_none_or(|end| end >= load_end.unwrap_or(load));
        if ordered { Ok(AddressFields { file_offset, load, load_end, bss_end }) } else { Err(nonsense) }
    }

    /// Whether [`AddressFields::segment`] has to know the size of the image.
    pub fn load_all(&self) -> bool {
        self.load_end.is_none()
    }

    /// What is loaded, where the image has `image_size` bytes.
    pub fn segment(&self, image_size: u64) -> Result<Segment, KernelFault> {
        let file_size = match self.load_end {
            Some(end) => end - self.load,
            None => image_size.saturating_sub(self.file_offset),
        };
        let memory_size = self.bss_end.map_or(file_size, |end| end - self.load);
        if file_size == 0 || memory_size < file_size {
            return Err(KernelFault::Damaged("the addresses in its Multiboot header make no sense"));
        }
        Ok(Segment::flat(self.file_offset, file_size, self.load, memory_size))
    }
}

/// Where an image may be moved to (2.0, 3.1.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    /// Lowest address of any part.
    pub min: u64,
    /// Highest address of any part.
    pub max: u64,
    /// The image's start is a multiple of this.
    pub align: u64,
    pub preference: Preference,
}

/// Which of the places that will do is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preference {
    /// Where it was linked to run, else the lowest.
    None,
    Lowest,
    Highest,
}

impl Relocation {
    /// The place for an image of `size` bytes that was linked to run at `linked`, in RAM from `ram_start` to
    /// `ram_end`.
    pub fn place(
        &self,
        linked: u64,
        size: u64,
        (ram_start, ram_end): (u64, u64),
    ) -> Result<u64, KernelFault> {
        let align = self.align.max(1);
        let lowest = self.min.max(ram_start).next_multiple_of(align);
        let end = ram_end.min(self.max.saturating_add(1));
        let highest = end.checked_sub(size).map(|start| start - start % align);
        let Some(highest) = highest.filter(|highest| *highest >= lowest) else {
            let end = lowest.saturating_add(size);
            return Err(KernelFault::DoesNotFit { start: lowest, end, ram_start, ram_end });
        };
        let linked_will_do = (lowest..=highest).contains(&linked) && linked.is_multiple_of(align);
        Ok(match self.preference {
            Preference::None if linked_will_do => linked,
            Preference::None | Preference::Lowest => lowest,
            Preference::Highest => highest,
        })
    }
}

/// The little-endian word at `offset`, if `bytes` reach so far.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let end = offset.checked_add(4)?;
    bytes.get(offset..end)?.try_into().ok().map(u32::from_le_bytes)
}
