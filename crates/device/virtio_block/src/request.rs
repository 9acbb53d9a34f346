//! What a driver asks for (5.2.6), parsed once.
//!
//! Everything in a chain is the guest's word: sectors, lengths and counts are checked here, and nothing behind
//! this file checks them again. The first readable bytes are the header, however they are split into
//! descriptors; the last writable byte is the status.

use disk::{Disk, DiskOperation, SECTOR_SIZE};
use guest_memory::{GuestMemory, IoBuffers};
use virtio_core::{Chain, ChainError};

use crate::config::{
    MAX_DISCARD_RANGES, MAX_DISCARD_SECTORS, MAX_WRITE_ZEROES_RANGES, MAX_WRITE_ZEROES_SECTORS, Offer,
};
use crate::spec;

/// Longest read or write, in bytes. The specification has no limit, and a chain may name the same memory many
/// times over: with a large disk, a single request could keep its queue from stopping for minutes. Drivers
/// stay far below.
const MAX_TRANSFER_BYTES: u64 = 1 << 30;

/// What requests are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Capacity of the disk in bytes.
    pub size_bytes: u64,
    /// What ranges have to be multiples of, in bytes: [`SECTOR_SIZE`], or a multiple of it.
    pub block_bytes: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Discards are served.
    pub can_discard: bool,
    /// Write-zeroes are served.
    pub can_write_zeroes: bool,
}

impl Limits {
    /// Those of `disk`, of which this is offered, for a driver that negotiated `features`.
    ///
    /// The protocol counts in sectors of 512 bytes whatever a disk's blocks are (5.2.4), and a driver that does not read
    /// their size cannot know better: it is served. One that does is answered as by hardware of such blocks, which
    /// reads and writes nothing but whole ones.
    pub fn of(disk: &dyn Disk, offer: Offer, features: u64) -> Limits {
        let knows_blocks = features & spec::F_BLK_SIZE != 0;
        Limits {
            size_bytes: disk.size_bytes(),
            block_bytes: if knows_blocks { u64::from(disk.block_size_bytes()) } else { SECTOR_SIZE },
            read_only: disk.is_read_only(),
            can_discard: offer.discard,
            can_write_zeroes: offer.write_zeroes,
        }
    }
}

/// A request that makes sense.
#[derive(Debug)]
pub enum Request {
    /// Put the serial number at the start of the writable part, at most so many bytes of it.
    Id {
        /// Writable bytes before the status.
        room_bytes: u64,
    },
    /// Work for the disk, in parts that may be done in any order; none at all for ranges of no length.
    Disk(Vec<Part>),
}

/// One range of a request.
#[derive(Debug)]
pub struct Part {
    /// What to do. The same for all parts, except whether zeroes may be unmapped.
    pub operation: DiskOperation,
    /// First byte on the disk.
    pub offset_bytes: u64,
    /// Length in bytes.
    pub length_bytes: u64,
    /// Guest memory for reads and writes; empty otherwise.
    pub buffers: IoBuffers,
}

/// A request that is answered with an error at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status byte for the driver.
    pub status: u8,
    /// Why, for the log.
    pub reason: &'static str,
}

const fn io_error(reason: &'static str) -> Refusal {
    Refusal { status: spec::S_IOERR, reason }
}

const fn unsupported(reason: &'static str) -> Refusal {
    Refusal { status: spec::S_UNSUPP, reason }
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Refusal {
        match error {
            ChainError::TooShort => io_error("request is too short"),
            ChainError::Memory(_) => io_error("request points outside guest memory"),
        }
    }
}

/// Makes sense of `chain`, or says with which status to answer it.
pub fn parse(chain: &Chain, memory: &GuestMemory, limits: &Limits) -> Result<Request, Refusal> {
    let Some(room_bytes) = chain.writable_bytes().checked_sub(1) else {
        return Err(io_error("no room for the status byte"));
    };
    let mut header = [0; spec::HEADER_SIZE];
    chain.read(memory, 0, &mut header)?;
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
    let sector = u64::from_le_bytes(sector);
    let data_bytes = chain.readable_bytes() - spec::HEADER_SIZE as u64;
    match u32::from_le_bytes([t0, t1, t2, t3]) {
        spec::T_IN => {
            let offset_bytes = check_transfer(sector, room_bytes, limits)?;
            let buffers = chain.writable_buffers(memory, 0, room_bytes)?;
            Ok(transfer(DiskOperation::Read, offset_bytes, room_bytes, buffers))
        }
        spec::T_OUT if limits.read_only => Err(io_error("write to a read-only disk")),
        spec::T_OUT => {
            let offset_bytes = check_transfer(sector, data_bytes, limits)?;
            let buffers = chain.readable_buffers(memory, spec::HEADER_SIZE as u64, data_bytes)?;
            Ok(transfer(DiskOperation::Write, offset_bytes, data_bytes, buffers))
        }
        spec::T_FLUSH => Ok(Request::Disk(vec![Part {
            operation: DiskOperation::Flush,
            offset_bytes: 0,
            length_bytes: 0,
            buffers: IoBuffers::empty(),
        }])),
        spec::T_GET_ID => Ok(Request::Id { room_bytes }),
        spec::T_DISCARD if limits.can_discard => {
            parse_ranges(chain, memory, data_bytes, MAX_DISCARD_RANGES, |range| range.to_discard(limits))
        }
        spec::T_WRITE_ZEROES if limits.can_write_zeroes => {
            parse_ranges(chain, memory, data_bytes, MAX_WRITE_ZEROES_RANGES, |range| range.to_zeroes(limits))
        }
        _ => Err(unsupported("request of an unknown or unsupported type")),
    }
}

/// Checks a read's or write's range and returns its offset in bytes.
fn check_transfer(sector: u64, length_bytes: u64, limits: &Limits) -> Result<u64, Refusal> {
    if !length_bytes.is_multiple_of(SECTOR_SIZE) {
        return Err(io_error("length is not a multiple of 512"));
    }
    if length_bytes > MAX_TRANSFER_BYTES {
        return Err(io_error("transfer of more than 1 GiB"));
    }
    check_range(sector, length_bytes, limits)
}

/// The offset in bytes of `sector`, from which `length_bytes` lie on the disk.
fn check_range(sector: u64, length_bytes: u64, limits: &Limits) -> Result<u64, Refusal> {
    let offset_bytes = sector.checked_mul(SECTOR_SIZE);
    let end_bytes = offset_bytes.and_then(|offset_bytes| offset_bytes.checked_add(length_bytes));
    match (offset_bytes, end_bytes) {
        (Some(offset_bytes), Some(end_bytes)) if end_bytes <= limits.size_bytes => {
            let is_whole =
                [offset_bytes, length_bytes].iter().all(|it| it.is_multiple_of(limits.block_bytes));
            if is_whole { Ok(offset_bytes) } else { Err(io_error("range of parts of blocks")) }
        }
        _ => Err(io_error("range beyond the end of the disk")),
    }
}

fn transfer(operation: DiskOperation, offset_bytes: u64, length_bytes: u64, buffers: IoBuffers) -> Request {
    let part = Part { operation, offset_bytes, length_bytes, buffers };
    Request::Disk(if length_bytes == 0 { Vec::new() } else { vec![part] })
}

/// The ranges of a discard or write-zeroes, none of which is done unless all make sense.
fn parse_ranges(
    chain: &Chain,
    memory: &GuestMemory,
    data_bytes: u64,
    max_ranges: usize,
    to_part: impl Fn(Range) -> Result<Part, Refusal>,
) -> Result<Request, Refusal> {
    let range_size = spec::RANGE_SIZE as u64;
    if data_bytes == 0 || !data_bytes.is_multiple_of(range_size) {
        return Err(io_error("ranges are missing or cut short"));
    }
    if data_bytes / range_size > max_ranges as u64 {
        return Err(io_error("more ranges than advertised"));
    }
    let mut parts = Vec::with_capacity(max_ranges);
    for index in 0..data_bytes / range_size {
        let mut bytes = [0; spec::RANGE_SIZE];
        chain.read(memory, spec::HEADER_SIZE as u64 + index * range_size, &mut bytes)?;
        parts.push(to_part(Range::from_bytes(bytes))?);
    }
    parts.retain(|part| part.length_bytes > 0);
    Ok(Request::Disk(parts))
}

/// `struct virtio_blk_discard_write_zeroes` (5.2.6).
struct Range {
    sector: u64,
    num_sectors: u32,
    flags: u32,
}

impl Range {
    fn from_bytes(bytes: [u8; spec::RANGE_SIZE]) -> Range {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, f0, f1, f2, f3] = bytes;
        Range {
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            num_sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            flags: u32::from_le_bytes([f0, f1, f2, f3]),
        }
    }

    /// No flag is known for discards, `unmap` included (5.2.6.2).
    fn to_discard(&self, limits: &Limits) -> Result<Part, Refusal> {
        if self.flags != 0 {
            return Err(unsupported("discard with flags"));
        }
        self.to_part(DiskOperation::Discard, MAX_DISCARD_SECTORS, limits)
    }

    fn to_zeroes(&self, limits: &Limits) -> Result<Part, Refusal> {
        if self.flags & !spec::RANGE_UNMAP != 0 {
            return Err(unsupported("write zeroes with unknown flags"));
        }
        let may_unmap = self.flags & spec::RANGE_UNMAP != 0;
        self.to_part(DiskOperation::WriteZeroes { may_unmap }, MAX_WRITE_ZEROES_SECTORS, limits)
    }

    fn to_part(&self, operation: DiskOperation, max_sectors: u32, limits: &Limits) -> Result<Part, Refusal> {
        if self.num_sectors > max_sectors {
            return Err(io_error("range is longer than advertised"));
        }
        let length_bytes = u64::from(self.num_sectors) * SECTOR_SIZE;
        let offset_bytes = check_range(self.sector, length_bytes, limits)?;
        Ok(Part { operation, offset_bytes, length_bytes, buffers: IoBuffers::empty() })
    }
}

#[cfg(test)]
mod tests;
