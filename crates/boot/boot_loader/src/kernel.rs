//! A kernel file: what kind it is, and loading it.

use std::path::{Path, PathBuf};

use guest_memory::{GuestAddress, Slots};
use tracing::debug;

use crate::boot_data::{COMMAND_LINE_ROOM, write_command_line};
use crate::boot_file::{End, FreeRam, LoadedModule, load_all};
use crate::bzimage::{SetupHeader, is_bzimage};
use crate::multiboot::{self, Entered, Version};
use crate::place::Image;
use crate::plan::{Placed, Way, read_executable};
use crate::unified::{self, BuiltIn};
use crate::unpack::{Compression, Unpacked};
use crate::{BootConfig, FileFault, KernelFault, LoadError, LoadedKernel, Source};
use crate::{elf, identify, linux, pvh};

/// Last address of what is handed over by PVH and Multiboot: any below 4 GiB.
const LAST_32_BIT: u64 = u32::MAX as u64;

/// A kernel, opened and recognized. It can be loaded again for each reset of the guest.
#[derive(Debug)]
pub struct Kernel {
    path: PathBuf,
    pub(crate) source: Source,
    pub(crate) kind: Kind,
    /// What a unified kernel image brings along.
    built_in: BuiltIn,
}

/// What a kernel's file is.
#[derive(Debug)]
pub(crate) enum Kind {
    BzImage(SetupHeader),
    /// An ELF file, or one that only its Multiboot header describes; the whole of it may be packed.
    Plain {
        is_elf: bool,
        packed: bool,
    },
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
        let read = || {
            let source = source?;
            let Some(image) = unified::find(&source)? else {
                let kind = Kind::of(&source)?;
                return Ok((source, kind, BuiltIn::default()));
            };
            let (kernel, built_in) = unified::open(&path, &source, &image)?;
            let kind = Kind::of(&kernel).map_err(|fault| KernelFault::InUnified(Box::new(fault)))?;
            Ok((kernel, kind, built_in))
        };
        match read() {
            Ok((source, kind, built_in)) => Ok(Kernel { path, source, kind, built_in }),
            Err(source) => Err(LoadError::Kernel { path, source }),
        }
    }

    /// The file, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The command line that it brings along, for who gives none.
    pub fn command_line(&self) -> Option<&str> {
        self.built_in.command_line.as_deref()
    }

    /// Writes the kernel, its initrd, modules and boot data to guest memory.
    pub fn load(&self, memory: &Slots, config: &BootConfig<'_>) -> Result<LoadedKernel, LoadError> {
        let placed = self
            .place(memory, config)
            .map_err(|source| LoadError::Kernel { path: self.path.clone(), source })?;
        self.check_command_line(placed.way, config)?;
        let (last, end) = match (placed.way, self.setup_header()) {
            (Way::Linux { .. }, Some(header)) => (header.initrd_addr_max.into(), End::High),
            (Way::Linux { .. }, None) => (linux::DEFAULT_INITRD_ADDR_MAX.into(), End::High),
            (Way::Pvh, _) => (LAST_32_BIT, End::High),
            (Way::Multiboot { .. }, _) => (LAST_32_BIT, End::Low),
        };
        if matches!(placed.way, Way::Linux { .. }) && !config.modules.is_empty() {
            return Err(LoadError::NoModules { path: self.path.clone() });
        }
        let free = FreeRam::around(memory, (placed.start, placed.end), last, end);
        let modules = load_all(memory, &self.built_in.initrds, config, free)?;
        let initial = self.prepare(&placed, &modules, memory, config)?;
        let (protocol, entry) = (placed.way.protocol(), placed.entry);
        debug!(path = %self.path.display(), ?protocol, entry, "kernel loaded");
        Ok(LoadedKernel { protocol, entry: GuestAddress(entry), initial })
    }

    /// Writes what the way into the kernel wants to be told.
    fn prepare(
        &self,
        placed: &Placed,
        modules: &[LoadedModule<'_>],
        memory: &Slots,
        config: &BootConfig<'_>,
    ) -> Result<crate::InitialState, LoadError> {
        let entry = placed.entry;
        match placed.way {
            Way::Linux { long, code } => {
                let command_line = write_command_line(memory, config.command_line)?;
                let entry = linux::Entry { address: entry, long, code };
                let initrd = modules.first().copied();
                linux::prepare(memory, self.setup_header(), entry, command_line, initrd, config)
            }
            Way::Pvh => {
                let command_line = write_command_line(memory, config.command_line)?;
                pvh::prepare(memory, entry, command_line, modules, config)
            }
            Way::Multiboot { version, load_base } => {
                multiboot::prepare(version, memory, &Entered { entry, load_base }, modules, config)
            }
        }
    }

    pub(crate) fn setup_header(&self) -> Option<&SetupHeader> {
        match &self.kind {
            Kind::BzImage(header) => Some(header),
            Kind::Plain { .. } => None,
        }
    }

    fn check_command_line(&self, way: Way, config: &BootConfig<'_>) -> Result<(), LoadError> {
        let most = COMMAND_LINE_ROOM - 1;
        let limit = match (way, self.setup_header()) {
            (Way::Multiboot { .. }, _) => most,
            (_, Some(header)) => most.min(header.cmdline_size as usize),
            (_, None) => most.min(linux::DEFAULT_CMDLINE_SIZE as usize),
        };
        let length = config.command_line.len();
        if length > limit {
            return Err(LoadError::CommandLineTooLong { path: self.path.clone(), length, limit });
        }
        if config.command_line.contains('\0') {
            return Err(LoadError::CommandLineZero);
        }
        Ok(())
    }
}

impl Kind {
    fn of(source: &Source) -> Result<Kind, KernelFault> {
        let head = source.head(identify::HEAD_SIZE).map_err(FileFault::Read)?;
        if is_bzimage(&head) {
            return SetupHeader::parse(&head, source.size_bytes()).map(Kind::BzImage);
        }
        let packed = !elf::is_elf(&head) && Compression::is_known(&head);
        let mut image = if packed {
            Image::Unpacked(Unpacked::new(source, 0, source.size_bytes())?)
        } else {
            Image::File(source)
        };
        let start = image.head(multiboot::SEARCH_SIZE)?;
        if elf::is_elf(&start) {
            // What is wrong with an ELF file does not matter where a Multiboot header takes its place.
            match read_executable(&mut image) {
                Ok(_) => return Ok(Kind::Plain { is_elf: true, packed }),
                Err(fault) if !multiboot::has_addresses(&start) => return Err(fault),
                Err(_) => {}
            }
        }
        if multiboot::has_addresses(&start) {
            return Ok(Kind::Plain { is_elf: false, packed });
        }
        let kind = identify::looks_like(&head);
        let looks_like = if packed {
            format!(
                "{kind} that holds {}",
                identify::looks_like(&start[..start.len().min(identify::HEAD_SIZE)])
            )
        } else {
            kind.to_owned()
        };
        // A header that could be used but for what it requires: that is then the reason.
        for version in [Version::Two, Version::One] {
            if let Err(fault @ KernelFault::Requires { .. }) = multiboot::Header::find(version, &start) {
                return Err(fault);
            }
        }
        Err(KernelFault::NotKernel { looks_like })
    }
}
