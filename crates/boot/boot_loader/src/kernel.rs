//! A kernel file: what kind it is, and loading it.

use std::path::{Path, PathBuf};

use guest_memory::{GuestAddress, GuestMemory};
use tracing::debug;

use crate::boot_data::{COMMAND_LINE_ROOM, write_command_line};
use crate::bzimage::{SetupHeader, is_bzimage, spec};
use crate::elf::{self, Class, Executable, Header, Segment};
use crate::place::{Image, check_fit, find_pvh_entry, load_segments};
use crate::unpack::Unpacked;
use crate::{BootConfig, BootProtocol, FileFault, KernelFault, LoadError, LoadedKernel, Source};
use crate::{identify, linux, pvh};

/// Last address of an initrd that is handed over by PVH: any below 4 GiB.
const PVH_INITRD_LAST: u64 = u32::MAX as u64;

/// A kernel, opened and recognized. It can be loaded again for each reset of the guest.
#[derive(Debug)]
pub struct Kernel {
    path: PathBuf,
    source: Source,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    BzImage(SetupHeader),
    Elf,
}

/// Where a loaded kernel is entered and what it occupies.
struct Placed {
    protocol: BootProtocol,
    entry: u64,
    /// Address behind everything that the kernel needs before it knows its memory map.
    end: u64,
}

impl Kernel {
    /// Opens a kernel file and finds out what it is. Reads no more than its headers.
    pub fn open(path: &Path) -> Result<Kernel, LoadError> {
        let source = Source::open(path).map_err(KernelFault::from);
        Kernel::recognize(path.to_owned(), source)
    }

    /// Takes a kernel that is in memory.
    pub fn parse(bytes: Vec<u8>) -> Result<Kernel, LoadError> {
        let source = if bytes.is_empty() { Err(FileFault::Empty.into()) } else { Ok(Source::Bytes(bytes)) };
        Kernel::recognize(PathBuf::from("(in memory)"), source)
    }

    fn recognize(path: PathBuf, source: Result<Source, KernelFault>) -> Result<Kernel, LoadError> {
        match source.and_then(|source| Kind::of(&source).map(|kind| (source, kind))) {
            Ok((source, kind)) => Ok(Kernel { path, source, kind }),
            Err(source) => Err(LoadError::Kernel { path, source }),
        }
    }

    /// The file, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the kernel, its initrd and boot data to guest memory.
    pub fn load(&self, memory: &GuestMemory, config: &BootConfig<'_>) -> Result<LoadedKernel, LoadError> {
        self.check_command_line(config)?;
        let placed = self
            .place(memory, config)
            .map_err(|source| LoadError::Kernel { path: self.path.clone(), source })?;
        let last_address = match (placed.protocol, self.setup_header()) {
            (BootProtocol::Pvh, _) => PVH_INITRD_LAST,
            (BootProtocol::Linux64, Some(header)) => header.initrd_addr_max.into(),
            (BootProtocol::Linux64, None) => linux::DEFAULT_INITRD_ADDR_MAX.into(),
        };
        let initrd = config.initrd.map(|initrd| initrd.load(memory, placed.end, last_address)).transpose()?;
        let command_line = write_command_line(memory, config.command_line)?;
        let Placed { protocol, entry, end: _ } = placed;
        let initial = match protocol {
            BootProtocol::Linux64 => {
                linux::prepare(memory, self.setup_header(), entry, command_line, initrd, config)?
            }
            BootProtocol::Pvh => pvh::prepare(memory, entry as u32, command_line, initrd, config)?,
        };
        debug!(path = %self.path.display(), ?protocol, entry, "kernel loaded");
        Ok(LoadedKernel { protocol, entry: GuestAddress(entry), initial })
    }

    fn setup_header(&self) -> Option<&SetupHeader> {
        match &self.kind {
            Kind::BzImage(header) => Some(header),
            Kind::Elf => None,
        }
    }

    fn check_command_line(&self, config: &BootConfig<'_>) -> Result<(), LoadError> {
        let wanted = self.setup_header().map_or(linux::DEFAULT_CMDLINE_SIZE, |header| header.cmdline_size);
        let limit = (wanted as usize).min(COMMAND_LINE_ROOM - 1);
        let length = config.command_line.len();
        if length > limit {
            return Err(LoadError::CommandLineTooLong { path: self.path.clone(), length, limit });
        }
        if config.command_line.contains('\0') {
            return Err(LoadError::CommandLineZero);
        }
        Ok(())
    }

    fn place(&self, memory: &GuestMemory, config: &BootConfig<'_>) -> Result<Placed, KernelFault> {
        match &self.kind {
            Kind::Elf => self.place_elf(Image::File(&self.source), memory, config),
            Kind::BzImage(header) => match header.payload {
                Some((start, end)) => {
                    let unpacked = Unpacked::new(&self.source, start, end)?;
                    self.place_elf(Image::Unpacked(unpacked), memory, config)
                }
                None => self.place_code(header, memory, config),
            },
        }
    }

    /// Loads an ELF executable, unpacked or not.
    fn place_elf(
        &self,
        mut image: Image<'_>,
        memory: &GuestMemory,
        config: &BootConfig<'_>,
    ) -> Result<Placed, KernelFault> {
        let executable = read_executable(&mut image)?;
        load_segments(&mut image, &executable.segments, memory, config.zeroed_ram)?;
        let pvh_entry = find_pvh_entry(&executable, &mut image, memory)?;
        image.finish()?;
        let default = match (&self.kind, pvh_entry) {
            (Kind::Elf, Some(_)) => BootProtocol::Pvh,
            _ => BootProtocol::Linux64,
        };
        let protocol = config.protocol.unwrap_or(default);
        let entry = match (protocol, pvh_entry) {
            (BootProtocol::Pvh, None) => return Err(KernelFault::NoPvhEntry),
            (BootProtocol::Pvh, Some(entry)) => entry.into(),
            (BootProtocol::Linux64, _) if executable.class == Class::Elf32 => {
                return Err(KernelFault::ThirtyTwoBit);
            }
            (BootProtocol::Linux64, _) => executable.physical_entry()?,
        };
        if !executable.is_loaded(entry) {
            return Err(KernelFault::Damaged("its entry is not in a segment"));
        }
        Ok(Placed { protocol, entry, end: executable.end() })
    }

    /// Loads a bzImage without payload: its protected-mode code is the kernel.
    fn place_code(
        &self,
        header: &SetupHeader,
        memory: &GuestMemory,
        config: &BootConfig<'_>,
    ) -> Result<Placed, KernelFault> {
        if config.protocol == Some(BootProtocol::Pvh) {
            return Err(KernelFault::NoPvhEntry);
        }
        if !header.has_entry_64 {
            return Err(KernelFault::NoLinuxEntry);
        }
        let (start, end) = header.code;
        let code = Segment::flat(start, end - start, header.load_address, header.init_size);
        check_fit(&[code], memory)?;
        load_segments(&mut Image::File(&self.source), &[code], memory, config.zeroed_ram)?;
        let entry = header.load_address + spec::ENTRY_64;
        Ok(Placed { protocol: BootProtocol::Linux64, entry, end: code.end() })
    }
}

impl Kind {
    fn of(source: &Source) -> Result<Kind, KernelFault> {
        let head = source.head(identify::HEAD_SIZE).map_err(FileFault::Read)?;
        if is_bzimage(&head) {
            return SetupHeader::parse(&head, source.size_bytes()).map(Kind::BzImage);
        }
        if elf::is_elf(&head) {
            read_executable(&mut Image::File(source))?;
            return Ok(Kind::Elf);
        }
        Err(KernelFault::NotKernel { looks_like: identify::looks_like(&head).to_owned() })
    }
}

/// Reads an ELF file's headers.
fn read_executable(image: &mut Image<'_>) -> Result<Executable, KernelFault> {
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
