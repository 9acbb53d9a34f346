//! A file with grains: all of an image, or an extent of one.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use disk::{FormatError, ImageFile, Layer, MapPiece, SECTOR_SIZE, fill_with_zeros};
use guest_memory::IoBuffers;

use super::grain;
use super::header::Header;
use crate::table_pages::TablePages;

/// Bytes of an entry of the directory and of the tables.
const ENTRY_BYTES: u64 = 4;
/// Most grains that one look goes over.
const GRAINS_AT_ONCE: u64 = 1 << 16;
/// An entry for a grain of zeros, where the header says that there are such.
const ZERO_GRAIN: u32 = 1;

/// What a grain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grain {
    /// Zeros.
    Zero,
    /// At this byte of the file; its marker, if grains are deflated.
    At(u64),
}

/// A file with grains.
pub(super) struct Vmdk {
    file: Arc<dyn ImageFile>,
    file_bytes: u64,
    header: Header,
    tables: TablePages,
    /// The grain that was inflated last, and its number.
    inflated: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
}

/// Opens a file with grains, which may be all of an image.
pub(super) fn open_extent(file: Arc<dyn ImageFile>) -> Result<Vmdk, FormatError> {
    let file_bytes = file.len_bytes()?;
    let header = Header::read(&*file, file_bytes)?;
    let tables = TablePages::new(Arc::clone(&file), file_bytes);
    Ok(Vmdk { file, file_bytes, header, tables, inflated: Mutex::default() })
}

impl Vmdk {
    /// What kind of VMDK it is, in words.
    pub(super) fn kind(&self) -> Result<String, FormatError> {
        self.header.kind(&*self.file, self.file_bytes)
    }

    /// What a grain is, and how many from it on are sure to be the same.
    fn grain(&self, number: u64) -> io::Result<(Grain, u64)> {
        let per_table = self.header.table_entries;
        let (table, index) = (number / per_table, number % per_table);
        let table = self.entry(self.header.directory_offset, table)?;
        if table == 0 {
            return Ok((Grain::Zero, per_table - index));
        }
        let grain = match self.entry(u64::from(table) * SECTOR_SIZE, index)? {
            0 => Grain::Zero,
            ZERO_GRAIN if self.header.has_zero_grains => Grain::Zero,
            sector => Grain::At(u64::from(sector) * SECTOR_SIZE),
        };
        Ok((grain, 1))
    }

    fn entry(&self, table_offset: u64, index: u64) -> io::Result<u32> {
        let offset = index.checked_mul(ENTRY_BYTES).and_then(|bytes| table_offset.checked_add(bytes));
        let offset = offset.ok_or_else(|| FormatError::damaged("a table is at an impossible place"))?;
        Ok(u32::from_le_bytes(self.tables.entry(offset)?))
    }

    fn read_grain(&self, buffers: IoBuffers, number: u64, within: u64) -> io::Result<()> {
        let place = match self.grain(number)?.0 {
            Grain::Zero => {
                fill_with_zeros(&buffers);
                return Ok(());
            }
            Grain::At(place) => place,
        };
        if self.header.is_deflated {
            let grain = self.inflated_grain(place, number)?;
            let within = within as usize;
            buffers.fill_from(&grain[within..within + buffers.len_bytes()]);
            return Ok(());
        }
        let end = place.checked_add(within + buffers.len_bytes() as u64);
        if end.is_none_or(|end| end > self.file_bytes) {
            return Err(FormatError::damaged("a grain lies behind the end of the file").into());
        }
        self.file.read(buffers, place + within)
    }

    fn inflated_grain(&self, place: u64, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let last = || self.inflated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, grain)) = last().as_ref().filter(|(other, _)| *other == number) {
            return Ok(Arc::clone(grain));
        }
        let first_sector = number * (self.header.grain_bytes / SECTOR_SIZE);
        // Beyond the end of the disk a grain need not hold anything.
        let needed = (self.header.size_bytes - number * self.header.grain_bytes).min(self.header.grain_bytes);
        let sizes = grain::Sizes { whole: self.header.grain_bytes, needed, file: self.file_bytes };
        let grain = Arc::new(grain::inflate(&*self.file, place, first_sector, sizes)?);
        *last() = Some((number, Arc::clone(&grain)));
        Ok(grain)
    }
}

impl Layer for Vmdk {
    fn size_bytes(&self) -> u64 {
        self.header.size_bytes
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let grain_bytes = self.header.grain_bytes;
        let mut done = 0;
        while done < buffers.len_bytes() {
            let at_bytes = offset_bytes + done as u64;
            let within = at_bytes % grain_bytes;
            let length = ((grain_bytes - within) as usize).min(buffers.len_bytes() - done);
            self.read_grain(buffers.slice(done, length), at_bytes / grain_bytes, within)?;
            done += length;
        }
        Ok(())
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece> {
        let grain_bytes = self.header.grain_bytes;
        let (first, end_bytes) = (offset_bytes / grain_bytes, offset_bytes + length_bytes);
        let (grain, same) = self.grain(first)?;
        let mut next = first + same;
        let mut looks = 0;
        // Neighbours that are zeros are one piece.
        while grain == Grain::Zero && next.saturating_mul(grain_bytes) < end_bytes && looks < GRAINS_AT_ONCE {
            let (other, same) = self.grain(next)?;
            if other != Grain::Zero {
                break;
            }
            next += same;
            looks += 1;
        }
        let zero = grain == Grain::Zero;
        let place = match grain {
            Grain::At(place) if !self.header.is_deflated => Some(place + offset_bytes % grain_bytes),
            _ => None,
        };
        Ok(MapPiece {
            start_bytes: offset_bytes,
            length_bytes: next.saturating_mul(grain_bytes).min(end_bytes) - offset_bytes,
            depth: 0,
            zero,
            data: !zero,
            offset_bytes: place,
        })
    }
}
