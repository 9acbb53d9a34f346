//! Files that are handed to the kernel as they are, initrd and modules: read straight into guest memory.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use guest_memory::{Bytes, GuestAddress, PAGE_SIZE, Slots};

use crate::place::loadable_ram;
use crate::{BootConfig, BootFileFault, FileFault, LoadError, Source};

/// An initrd, opened. It can be loaded again for each reset of the guest.
#[derive(Debug)]
pub struct Initrd {
    path: PathBuf,
    source: Source,
}

impl Initrd {
    /// Opens a file, whose contents are the guest's business.
    pub fn open(path: &Path) -> Result<Initrd, LoadError> {
        let source = Source::open(path)
            .map_err(|fault| LoadError::Initrd { path: path.to_owned(), source: fault.into() })?;
        Ok(Initrd { path: path.to_owned(), source })
    }

    /// One that is a part of another file.
    pub(crate) fn of_part(path: &Path, source: Source) -> Initrd {
        Initrd { path: path.to_owned(), source }
    }

    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }
}

/// A boot module, opened. It can be loaded again for each reset of the guest.
#[derive(Debug)]
pub struct Module {
    path: PathBuf,
    source: Source,
    command_line: String,
}

impl Module {
    /// Opens a file, whose contents are the guest's business; `command_line` is what the kernel is told with it.
    pub fn open(path: &Path, command_line: &str) -> Result<Module, LoadError> {
        let fault = |source| LoadError::Module { path: path.to_owned(), source };
        if command_line.contains('\0') {
            return Err(fault(BootFileFault::CommandLineZero));
        }
        let source = Source::open(path).map_err(|error| fault(error.into()))?;
        Ok(Module { path: path.to_owned(), source, command_line: command_line.to_owned() })
    }
}

/// Where a file was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadedModule<'a> {
    pub address: u64,
    pub size_bytes: u64,
    pub command_line: &'a str,
}

/// The RAM around a loaded kernel.
pub(crate) struct FreeRam {
    /// Start and end at page boundaries, that which is taken first in front.
    ranges: [(u64, u64); 2],
    ram_bytes: u64,
    end: End,
}

/// From which end free RAM is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Right behind the kernel, where Multiboot's kernels expect modules.
    Low,
    /// As far from the kernel as possible.
    High,
}

impl FreeRam {
    /// What is left by a kernel from `start` to `end`, up to `last` at most.
    pub fn around(memory: &Slots, (start, end): (u64, u64), last: u64, take: End) -> FreeRam {
        let (ram_start, ram_end) = loadable_ram(memory);
        let limit = ram_end.min(last.saturating_add(1));
        let behind = end.max(ram_start).checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
        let ranges = [(behind, limit), (ram_start, start.min(limit))];
        let ranges = ranges.map(|(start, end)| (start, end & !(PAGE_SIZE - 1)));
        FreeRam { ranges, ram_bytes: memory.size_bytes(), end: take }
    }

    /// Takes whole pages for `size` bytes.
    fn take(&mut self, size: u64) -> Result<u64, BootFileFault> {
        let room = |(start, end): &(u64, u64)| end.saturating_sub(*start);
        let pages = size.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
        let Some(range) = self.ranges.iter_mut().find(|range| room(range) >= pages) else {
            let room = self.ranges.iter().map(room).max().unwrap_or(0);
            return Err(BootFileFault::DoesNotFit {
                size: messages::Bytes(size),
                room: messages::Bytes(room),
                ram: messages::Bytes(self.ram_bytes),
            });
        };
        Ok(match self.end {
            End::Low => {
                range.0 += pages;
                range.0 - pages
            }
            End::High => {
                range.1 -= pages;
                range.1
            }
        })
    }
}

/// Initial RAM disks stand one behind the other, each at a multiple of this (Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst).
const INITRD_ALIGN: u64 = 4;

/// Loads all files of `config` into `free`. The initial RAM disks, those first that the kernel brings along, are the
/// first module together.
pub(crate) fn load_all<'a>(
    memory: &Slots,
    built_in: &[Initrd],
    config: &BootConfig<'a>,
    mut free: FreeRam,
) -> Result<Vec<LoadedModule<'a>>, LoadError> {
    let mut loaded = Vec::new();
    let initrds: Vec<&Initrd> = built_in.iter().chain(config.initrds).collect();
    if !initrds.is_empty() {
        loaded.push(load_initrds(&initrds, memory, &mut free)?);
    }
    for Module { path, source, command_line } in config.modules {
        let fault = |source| LoadError::Module { path: path.clone(), source };
        let size_bytes = source.size_bytes();
        let address = free.take(size_bytes).map_err(fault)?;
        copy(source, memory, address).map_err(fault)?;
        loaded.push(LoadedModule { address, size_bytes, command_line });
    }
    Ok(loaded)
}

/// Copies initial RAM disks, with zeros where one does not end where the next one may begin.
fn load_initrds<'a>(
    initrds: &[&Initrd],
    memory: &Slots,
    free: &mut FreeRam,
) -> Result<LoadedModule<'a>, LoadError> {
    let together = |end: u64, initrd: &&Initrd| {
        end.checked_next_multiple_of(INITRD_ALIGN)?.checked_add(initrd.size_bytes())
    };
    let size_bytes = initrds.iter().try_fold(0, together).unwrap_or(u64::MAX);
    let address = free.take(size_bytes).map_err(|source| match initrds {
        [Initrd { path, .. }] => LoadError::Initrd { path: path.clone(), source },
        several => LoadError::Initrds { count: several.len(), source },
    })?;
    let mut end = address;
    for Initrd { path, source } in initrds {
        let fault = |source| LoadError::Initrd { path: path.clone(), source };
        let start = end.next_multiple_of(INITRD_ALIGN);
        let padding = &[0; INITRD_ALIGN as usize][..(start - end) as usize];
        memory
            .write_slice(padding, GuestAddress(end))
            .map_err(|error| fault(BootFileFault::Memory(error)))?;
        copy(source, memory, start).map_err(fault)?;
        end = start + source.size_bytes();
    }
    Ok(LoadedModule { address, size_bytes, command_line: "" })
}

/// Copies a file to guest memory.
fn copy(source: &Source, memory: &Slots, address: u64) -> Result<(), BootFileFault> {
    match source {
        Source::Bytes(bytes) => memory.write_slice(bytes, GuestAddress(address)),
        Source::File { file, start, size_bytes } => {
            let mut file: &File = file;
            file.seek(SeekFrom::Start(*start)).map_err(FileFault::Read)?;
            memory.read_exact_volatile_from(GuestAddress(address), &mut file, *size_bytes as usize)
        }
    }
    .map_err(BootFileFault::Memory)
}
