//! The initrd: read from its file straight into guest memory.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use guest_memory::{Bytes, GuestAddress, GuestMemory, PAGE_SIZE};

use crate::place::loadable_ram;
use crate::{FileFault, InitrdFault, LoadError, Size, Source};

/// An initrd, opened. It can be loaded again for each reset of the guest.
#[derive(Debug)]
pub struct Initrd {
    path: PathBuf,
    source: Source,
}

/// Where an initrd was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadedInitrd {
    pub address: u64,
    pub size_bytes: u64,
}

impl Initrd {
    /// Opens a file, whose contents are the guest's business.
    pub fn open(path: &Path) -> Result<Initrd, LoadError> {
        let source = Source::open(path)
            .map_err(|fault| LoadError::Initrd { path: path.to_owned(), source: fault.into() })?;
        Ok(Initrd { path: path.to_owned(), source })
    }

    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    /// Puts the initrd as high as it may go: below `last_address` and the end of RAM, behind `kernel_end`.
    pub(crate) fn load(
        &self,
        memory: &GuestMemory,
        kernel_end: u64,
        last_address: u64,
    ) -> Result<LoadedInitrd, LoadError> {
        self.place(memory, kernel_end, last_address)
            .and_then(|address| self.copy_to(memory, address))
            .map_err(|source| LoadError::Initrd { path: self.path.clone(), source })
    }

    fn place(&self, memory: &GuestMemory, kernel_end: u64, last: u64) -> Result<u64, InitrdFault> {
        let (ram_start, ram_end) = loadable_ram(memory);
        let (start, end) = (kernel_end.max(ram_start), ram_end.min(last.saturating_add(1)));
        let start = start.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
        let size = self.source.size_bytes();
        let address = end.checked_sub(size).map(|address| address & !(PAGE_SIZE - 1));
        address.filter(|address| *address >= start).ok_or_else(|| InitrdFault::DoesNotFit {
            size: Size(size),
            room: Size(end.saturating_sub(start)),
            ram: Size(memory.size_bytes()),
        })
    }

    fn copy_to(&self, memory: &GuestMemory, address: u64) -> Result<LoadedInitrd, InitrdFault> {
        let size_bytes = self.source.size_bytes();
        match &self.source {
            Source::Bytes(bytes) => memory.write_slice(bytes, GuestAddress(address)),
            Source::File { file, .. } => {
                let mut file: &File = file;
                file.seek(SeekFrom::Start(0)).map_err(FileFault::Read)?;
                memory.read_exact_volatile_from(GuestAddress(address), &mut file, size_bytes as usize)
            }
        }
        .map_err(InitrdFault::Memory)?;
        Ok(LoadedInitrd { address, size_bytes })
    }
}
