//! Which way into a kernel is taken, and what is loaded for it.
//!
//! A kernel that can be entered in several ways is entered by the first of: Linux (a bzImage), PVH, Multiboot2,
//! Multiboot, Linux (an ELF file, in 64-bit mode).

use guest_memory::Slots;

use crate::bzimage::{SetupHeader, Width, spec};
use crate::elf::{self, Class, Executable, Header, Segment};
use crate::kernel::{Kernel, Kind};
use crate::multiboot::{self, Version};
use crate::place::{Image, check_fit, find_pvh_entry, load_segments, loadable_ram};
use crate::unpack::{Compression, Unpacked};
use crate::{BootConfig, BootProtocol, KernelFault};

/// A way into a kernel, with what else its boot data say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In 64-bit mode or not; where a bzImage's own code was put, if that is entered.
    Linux {
        long: bool,
        code: Option<u64>,
    },
    Pvh,
    /// Where an image that may be moved was put.
    Multiboot {
        version: Version,
        load_base: Option<u64>,
    },
}

impl Way {
    pub fn protocol(self) -> BootProtocol {
        match self {
            Way::Linux { .. } => BootProtocol::Linux,
            Way::Pvh => BootProtocol::Pvh,
            Way::Multiboot { version: Version::One, .. } => BootProtocol::Multiboot,
            Way::Multiboot { version: Version::Two, .. } => BootProtocol::Multiboot2,
        }
    }
}

/// Where a loaded kernel is entered and what it occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub way: Way,
    pub entry: u64,
    pub start: u64,
    /// Address behind everything that the kernel needs before it knows its memory map.
    pub end: u64,
}

impl Kernel {
    /// Loads the kernel for the way that was asked for, or the best.
    pub(crate) fn place(&self, memory: &Slots, config: &BootConfig<'_>) -> Result<Placed, KernelFault> {
        let protocol = config.protocol.map_or_else(|| self.best_protocol(), Ok)?;
        match (protocol, &self.kind) {
            (BootProtocol::Multiboot, _) => self.place_multiboot(Version::One, memory, config),
            (BootProtocol::Multiboot2, _) => self.place_multiboot(Version::Two, memory, config),
            (BootProtocol::Linux, Kind::BzImage(header)) => self.place_bzimage(header, memory, config),
            (BootProtocol::Pvh, Kind::BzImage(header)) => {
                let (start, end) = header.payload.ok_or(KernelFault::NoPvhEntry)?;
                let packed = Image::Unpacked(Unpacked::new(&self.source, start, end)?);
                place_elf(packed, BootProtocol::Pvh, memory, config)
            }
            (BootProtocol::Linux, Kind::Plain { is_elf: false, .. }) => Err(KernelFault::NoLinuxEntry),
            (BootProtocol::Pvh, Kind::Plain { is_elf: false, .. }) => Err(KernelFault::NoPvhEntry),
            (BootProtocol::Linux | BootProtocol::Pvh, Kind::Plain { is_elf: true, .. }) => {
                place_elf(self.image()?, protocol, memory, config)
            }
        }
    }

    /// The best way into the kernel.
    fn best_protocol(&self) -> Result<BootProtocol, KernelFault> {
        let Kind::Plain { is_elf, .. } = self.kind else { return Ok(BootProtocol::Linux) };
        let mut image = self.image()?;
        let head = image.head(multiboot::SEARCH_SIZE)?;
        if is_elf {
            let executable = read_executable(&mut image)?;
            if find_pvh_entry(&executable, &mut image, None)?.is_some() {
                return Ok(BootProtocol::Pvh);
            }
        }
        let is_there = |version| multiboot::is_there(version, &head);
        Ok(match () {
            () if is_there(Version::Two) => BootProtocol::Multiboot2,
            () if is_there(Version::One) => BootProtocol::Multiboot,
            () => BootProtocol::Linux,
        })
    }

    /// The file's contents, from their beginning, unpacked if all of it is packed.
    fn image(&self) -> Result<Image<'_>, KernelFault> {
        match self.kind {
            Kind::Plain { packed: true, .. } => {
                Ok(Image::Unpacked(Unpacked::new(&self.source, 0, self.source.size_bytes())?))
            }
            _ => Ok(Image::File(&self.source)),
        }
    }

    /// Loads a bzImage: the kernel that is packed into it, or else its protected-mode code.
    fn place_bzimage(
        &self,
        header: &SetupHeader,
        memory: &Slots,
        config: &BootConfig<'_>,
    ) -> Result<Placed, KernelFault> {
        let Some((start, end)) = header.payload.filter(|_| header.width != Width::Narrow) else {
            return self.place_code(header, memory, config);
        };
        let mut magic = [0; 8];
        let magic = &mut magic[..(end - start).min(8) as usize];
        Image::File(&self.source).read_at(start, magic, "the packed kernel")?;
        if !Compression::is_known(magic) {
            return self.place_code(header, memory, config);
        }
        let packed = Image::Unpacked(Unpacked::new(&self.source, start, end)?);
        place_elf(packed, BootProtocol::Linux, memory, config)
    }

    /// Loads the protected-mode code of a bzImage where it prefers to be, or where it fits if it can be moved.
    fn place_code(
        &self,
        header: &SetupHeader,
        memory: &Slots,
        config: &BootConfig<'_>,
    ) -> Result<Placed, KernelFault> {
        let (long, entry) = match header.width {
            Width::Long => (true, spec::ENTRY_64),
            Width::Narrow | Width::Unsaid => (false, spec::ENTRY_32),
            Width::Real => return Err(KernelFault::NoLinuxEntry),
        };
        let (start, end) = header.code;
        let code = |address| Segment::flat(start, end - start, address, header.init_size);
        let preferred = code(header.load_address);
        let placed = check_fit(&[preferred], memory);
        let segment = match (placed, header.relocatable) {
            (Ok(()), _) => preferred,
            (Err(fault), None) => return Err(fault),
            (Err(_), Some(align)) => code(loadable_ram(memory).0.next_multiple_of(align)),
        };
        if entry >= segment.file_size {
            return Err(KernelFault::Truncated("the entry of the protected-mode code"));
        }
        load_segments(&mut Image::File(&self.source), &[segment], memory, config.zeroed_ram)?;
        let start = segment.physical;
        let way = Way::Linux { long, code: Some(start) };
        Ok(Placed { way, entry: start + entry, start, end: segment.end() })
    }

    /// Loads what a Multiboot header describes, or the ELF file that it is in.
    fn place_multiboot(
        &self,
        version: Version,
        memory: &Slots,
        config: &BootConfig<'_>,
    ) -> Result<Placed, KernelFault> {
        let mut image = self.image()?;
        let head = image.head(multiboot::SEARCH_SIZE)?;
        let header = multiboot::Header::find(version, &head)?;
        let header = header.ok_or(KernelFault::NoMultibootHeader(version.name()))?;
        let (executable, linked_entry) = match &header.addresses {
            Some(addresses) => {
                // A packed image has no size before it is unpacked.
                let size = if addresses.load_all() { self.image()?.finish()? } else { 0 };
                let entry = header.entry.unwrap_or(0);
                (Executable::flat(addresses.segment(size)?, entry), entry)
            }
            None if elf::is_elf(&head) => {
                let executable = read_executable(&mut image)?;
                let entry = header.entry.map_or_else(|| executable.physical_entry(), Ok)?;
                (executable, entry)
            }
            None => return Err(KernelFault::Damaged("its Multiboot header does not say where to load it")),
        };
        if !executable.is_loaded(linked_entry) {
            return Err(KernelFault::Damaged("its entry is not in a segment"));
        }
        let linked = executable.start();
        let size = executable.end() - linked;
        let load_base = header.relocation.map(|moved| moved.place(linked, size, loadable_ram(memory)));
        let load_base = load_base.transpose()?;
        let start = load_base.unwrap_or(linked);
        let executable = executable.moved_to(start);
        load_segments(&mut image, &executable.segments, memory, config.zeroed_ram)?;
        image.finish()?;
        let way = Way::Multiboot { version, load_base };
        Ok(Placed { way, entry: linked_entry - linked + start, start, end: executable.end() })
    }
}

/// Loads an ELF executable, unpacked or not, to be entered by PVH or in Linux's 64-bit mode.
fn place_elf(
    mut image: Image<'_>,
    protocol: BootProtocol,
    memory: &Slots,
    config: &BootConfig<'_>,
) -> Result<Placed, KernelFault> {
    let executable = read_executable(&mut image)?;
    load_segments(&mut image, &executable.segments, memory, config.zeroed_ram)?;
    let (way, entry) = if protocol == BootProtocol::Pvh {
        let entry = find_pvh_entry(&executable, &mut image, Some(memory))?;
        (Way::Pvh, entry.ok_or(KernelFault::NoPvhEntry)?.into())
    } else if executable.class == Class::Elf32 {
        let forced = config.protocol.is_some();
        return Err(if forced { KernelFault::NoLinuxEntry } else { KernelFault::ThirtyTwoBit });
    } else {
        (Way::Linux { long: true, code: None }, executable.physical_entry()?)
    };
    image.finish()?;
    if !executable.is_loaded(entry) {
        return Err(KernelFault::Damaged("its entry is not in a segment"));
    }
    Ok(Placed { way, entry, start: executable.start(), end: executable.end() })
}

/// Reads an ELF file's headers.
pub(crate) fn read_executable(image: &mut Image<'_>) -> Result<Executable, KernelFault> {
    let mut head = [0; elf::HEADER_SIZE];
    image.read_at(0, &mut head, "the ELF header")?;
    if !elf::is_elf(&head) {
        return Err(KernelFault::Damaged("what is packed into it is not an ELF file"));
    }
    let header = Header::parse(&head)?;
    let (offset, length) = header.table();
    let mut table = vec![0; length];
    image.read_at(offset, &mut table, "the table of ELF segments")?;
    header.parse_table(&table)
}
