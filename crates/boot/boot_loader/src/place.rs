//! Putting an image's segments into guest memory.

use arch_model::x86_64::layout::{HIGH_MEMORY_START, LOW_RAM_END};
use guest_memory::{Bytes, GuestAddress, PAGE_SIZE, Slots};

use crate::elf::{Executable, Segment};
use crate::unpack::Unpacked;
use crate::{FileFault, KernelFault, Source};

/// Read and copied at a time, in bytes: small enough to stay in the CPU's cache between the two.
const CHUNK: usize = 256 << 10;

const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];

/// The bytes of an image: a file, read at any offset, or what comes out of a decoder.
pub(crate) enum Image<'a> {
    File(&'a Source),
    Unpacked(Unpacked<'a>),
}

impl Image<'_> {
    /// Fills `data` from `offset` of the image on; `what` is missing if the image ends before.
    pub fn read_at(&mut self, offset: u64, data: &mut [u8], what: &'static str) -> Result<(), KernelFault> {
        match self {
            Image::Unpacked(unpacked) => unpacked.read_at(offset, data),
            Image::File(source) => source.read_at(offset, data).map_err(|error| {
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    KernelFault::Truncated(what)
                } else {
                    FileFault::Read(error).into()
                }
            }),
        }
    }

    /// The first bytes, at most `limit`.
    pub fn head(&self, limit: usize) -> Result<Vec<u8>, KernelFault> {
        match self {
            Image::File(source) => Ok(source.head(limit).map_err(FileFault::Read)?),
            Image::Unpacked(unpacked) => Ok(unpacked.head(limit).to_vec()),
        }
    }

    /// Checks what can be checked only at the end, and says how many bytes the image has.
    pub fn finish(self) -> Result<u64, KernelFault> {
        match self {
            Image::Unpacked(unpacked) => unpacked.finish(),
            Image::File(source) => Ok(source.size_bytes()),
        }
    }
}

/// The RAM that kernels and initrds are loaded into: from 1 MiB to the end of its region, as `(start, end)`.
pub(crate) fn loadable_ram(memory: &Slots) -> (u64, u64) {
    let end = memory
        .ram_ranges()
        .map(|range| (range.start.0, range.start.0 + range.size_bytes))
        .find(|(start, end)| (*start..*end).contains(&HIGH_MEMORY_START))
        .map_or(HIGH_MEMORY_START, |(_, end)| end.min(LOW_RAM_END));
    (HIGH_MEMORY_START, end)
}

/// Checks that every segment has RAM, before anything is written.
pub(crate) fn check_fit(segments: &[Segment], memory: &Slots) -> Result<(), KernelFault> {
    let (ram_start, ram_end) = loadable_ram(memory);
    match segments.iter().find(|segment| segment.physical < ram_start || segment.end() > ram_end) {
        None => Ok(()),
        Some(segment) => {
            let (start, end) = (segment.physical, segment.end());
            Err(KernelFault::DoesNotFit { start, end, ram_start, ram_end })
        }
    }
}

/// Loads all segments. Where RAM is known to be zero, pages of zeros are not written: the host then need not
/// find memory for them.
pub(crate) fn load_segments(
    image: &mut Image<'_>,
    segments: &[Segment],
    memory: &Slots,
    zeroed_ram: bool,
) -> Result<(), KernelFault> {
    check_fit(segments, memory)?;
    let largest = segments.iter().map(|segment| segment.file_size).max().unwrap_or(0);
    let mut buffer = vec![0; largest.min(CHUNK as u64) as usize];
    for segment in segments {
        let mut done = 0;
        while done < segment.file_size {
            let len = (segment.file_size - done).min(CHUNK as u64) as usize;
            let chunk = &mut buffer[..len];
            image.read_at(segment.file_offset + done, chunk, "a part of the kernel")?;
            copy(chunk, segment.physical + done, memory, zeroed_ram)?;
            done += len as u64;
        }
        if !zeroed_ram {
            clear(segment.physical + segment.file_size, segment.end(), memory)?;
        }
    }
    Ok(())
}

/// The PVH entry that the image's notes name, if any. Notes are part of a segment as a rule: where that has been
/// loaded to `loaded`, they are read there, since an unpacked image cannot be read again.
pub(crate) fn find_pvh_entry(
    executable: &Executable,
    image: &mut Image<'_>,
    loaded: Option<&Slots>,
) -> Result<Option<u32>, KernelFault> {
    for notes in &executable.notes {
        let size = notes.file_size.min(crate::elf::MAX_NOTES);
        let mut bytes = vec![0; size as usize];
        let place = loaded.and_then(|memory| {
            let place = executable.segments.iter().find_map(|part| part.place_of(notes.file_offset, size));
            Some((memory, place?))
        });
        match (place, &mut *image) {
            (Some((memory, place)), _) => {
                memory.read_slice(&mut bytes, GuestAddress(place)).map_err(KernelFault::Memory)?;
            }
            (None, Image::File(_)) => image.read_at(notes.file_offset, &mut bytes, "its notes")?,
            (None, Image::Unpacked(unpacked)) => {
                // Notes that lie before what was unpacked so far cannot be had any more.
                if unpacked.read_at(notes.file_offset, &mut bytes).is_err() {
                    continue;
                }
            }
        }
        if let Some(entry) = notes.pvh_entry(&bytes) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Copies a chunk to `address`, leaving out pages of zeros if `skip_zeros`.
fn copy(chunk: &[u8], address: u64, memory: &Slots, skip_zeros: bool) -> Result<(), KernelFault> {
    let write = |from: usize, to: usize| {
        let target = GuestAddress(address + from as u64);
        memory.write_slice(&chunk[from..to], target).map_err(KernelFault::Memory)
    };
    if !skip_zeros {
        return write(0, chunk.len());
    }
    let (mut pending, mut at) = (0, 0);
    while at < chunk.len() {
        let to_page_end = (PAGE_SIZE - (address + at as u64) % PAGE_SIZE) as usize;
        let end = chunk.len().min(at + to_page_end);
        if chunk[at..end] == ZEROS[..end - at] {
            if pending < at {
                write(pending, at)?;
            }
            pending = end;
        }
        at = end;
    }
    if pending < chunk.len() { write(pending, chunk.len()) } else { Ok(()) }
}

fn clear(start: u64, end: u64, memory: &Slots) -> Result<(), KernelFault> {
    let mut at = start;
    while at < end {
        let len = (end - at).min(PAGE_SIZE);
        memory.write_slice(&ZEROS[..len as usize], GuestAddress(at)).map_err(KernelFault::Memory)?;
        at += len;
    }
    Ok(())
}
