//! The form of a saved state.
//!
//! ```text
//!   0  magic, 8 bytes
//!   8  format, 4 bytes; all numbers are little-endian
//!  12  architecture, 4 bytes: the machine of ELF files
//!  16  the program that wrote it, 32 bytes of text, filled up with zeros
//!  48  number of sections, 4 bytes
//!  52  table, 24 bytes each: kind (4), CRC-32C (4), offset (8), length (8)
//!      CRC-32C of all that is before it, 4 bytes
//!      sections: a version (a varint), then what is written under it (postcard)
//! ```

use std::fmt;
use std::ops::Range;

use arch_model::x86_64::{CpuState, PlatformState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_spec::Blueprint;

use crate::{DeviceState, StateError, VmState};

/// What a saved state begins with. The last bytes do not survive a transfer as text.
const MAGIC: [u8; 8] = *b"YAGURA\x1a\n";
/// The form of header and table that is written and read.
pub(crate) const FORMAT: u32 = 1;
/// `EM_X86_64` (System V ABI, AMD64 supplement, 4.1).
const ARCHITECTURE: u32 = 62;
/// Who writes.
const BUILD: &str = concat!("yagura ", env!("CARGO_PKG_VERSION"));
const BUILD_BYTES: usize = 32;
/// Bytes before the table.
const HEAD_BYTES: usize = 52;
const ENTRY_BYTES: usize = 24;
const CRC_BYTES: usize = 4;
/// Version of the list of devices; each device's state has its own.
const DEVICES_VERSION: u32 = 1;

/// A part of a saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Header and table.
    Header = 0,
    /// What the machine consists of.
    Blueprint = 1,
    /// Devices.
    Devices = 2,
    /// Interrupt controller and clock.
    Platform = 3,
    /// vCPUs.
    Vcpus = 4,
}

impl Section {
    const ALL: [Section; 4] = [Section::Blueprint, Section::Devices, Section::Platform, Section::Vcpus];
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Section::Header => "header",
            Section::Blueprint => "machine's description",
            Section::Devices => "list of devices",
            Section::Platform => "interrupt controller",
            Section::Vcpus => "list of vCPUs",
        })
    }
}

impl VmState {
    /// The state as bytes.
    ///
    /// # Errors
    /// It cannot be written: a mistake in its types.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let VmState { blueprint, devices, platform, vcpus } = self;
        let sections = [
            (Section::Blueprint, blueprint.to_bytes()?),
            (Section::Devices, encode(DEVICES_VERSION, devices)?),
            (Section::Platform, encode(PlatformState::VERSION, platform)?),
            (Section::Vcpus, encode(CpuState::VERSION, vcpus)?),
        ];
        let mut build = [0; BUILD_BYTES];
        build.iter_mut().zip(BUILD.bytes()).for_each(|(to, from)| *to = from);
        let count = u32::try_from(sections.len()).map_err(|_| StateError::Encode)?;
        let mut bytes =
            [&MAGIC[..], &FORMAT.to_le_bytes(), &ARCHITECTURE.to_le_bytes(), &build, &count.to_le_bytes()]
                .concat();
        let mut offset = (bytes.len() + sections.len() * ENTRY_BYTES + CRC_BYTES) as u64;
        for (kind, section) in &sections {
            let length = section.len() as u64;
            bytes.extend((*kind as u32).to_le_bytes());
            bytes.extend(crc32c::crc32c(section).to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            offset += length;
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        sections.iter().for_each(|(_, section)| bytes.extend(section));
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](VmState::to_bytes) wrote, perhaps long ago, perhaps changed by somebody since, and checks
    /// it.
    ///
    /// # Errors
    /// It is not a whole state of a machine, or one that a newer program wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<VmState, StateError> {
        let table = Table::parse(bytes)?;
        let state = VmState {
            blueprint: Blueprint::from_bytes(table.section(Section::Blueprint)?)?,
            devices: decode::<Vec<DeviceState>>(&table, Section::Devices, DEVICES_VERSION)?,
            platform: decode(&table, Section::Platform, PlatformState::VERSION)?,
            vcpus: decode::<Vec<CpuState>>(&table, Section::Vcpus, CpuState::VERSION)?,
        };
        state.check()?;
        Ok(state)
    }
}

fn encode(version: u32, value: &impl Serialize) -> Result<Vec<u8>, StateError> {
    postcard::to_allocvec(&(version, value)).map_err(|_| StateError::Encode)
}

fn decode<T: DeserializeOwned>(table: &Table<'_>, section: Section, expected: u32) -> Result<T, StateError> {
    let damaged = |_| StateError::Damaged(section);
    let (found, rest) = postcard::take_from_bytes(table.section(section)?).map_err(damaged)?;
    if found != expected {
        return Err(StateError::Version { section, found, expected });
    }
    match postcard::take_from_bytes(rest).map_err(damaged)? {
        (value, []) => Ok(value),
        _ => Err(StateError::Damaged(section)),
    }
}

/// Where each section is, in bytes that are as long as they should be.
struct Table<'b> {
    bytes: &'b [u8],
    entries: Vec<Entry>,
}

struct Entry {
    kind: u32,
    crc: u32,
    place: Range<usize>,
}

impl<'b> Table<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Table<'b>, StateError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(StateError::NotAState);
        }
        let length = |expected: u64| StateError::Length { found: bytes.len() as u64, expected };
        let head = bytes.get(..HEAD_BYTES).ok_or_else(|| length(HEAD_BYTES as u64))?;
        let found = number(head, 8);
        if found != FORMAT {
            let build = head[16..16 + BUILD_BYTES].utf8_chunks().flat_map(|chunk| chunk.valid().chars());
            let build = build.filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
            return Err(StateError::Format { found, build });
        }
        let architecture = number(head, 12);
        if architecture != ARCHITECTURE {
            return Err(StateError::Architecture(architecture));
        }
        // More sections than there are kinds would be doubled or unknown.
        let count = number(head, 48) as usize;
        if count > Section::ALL.len() {
            return Err(StateError::Damaged(Section::Header));
        }
        let table_end = HEAD_BYTES + count * ENTRY_BYTES;
        let header =
            bytes.get(..table_end + CRC_BYTES).ok_or_else(|| length((table_end + CRC_BYTES) as u64))?;
        if crc32c::crc32c(&header[..table_end]) != number(header, table_end) {
            return Err(StateError::Damaged(Section::Header));
        }
        let mut end = table_end + CRC_BYTES;
        let mut entries = Vec::with_capacity(count);
        for entry in header[HEAD_BYTES..table_end].chunks_exact(ENTRY_BYTES) {
            let (offset, size) = (long_number(entry, 8), long_number(entry, 16));
            // Sections follow one another without a gap: no byte is read twice, and none is not looked at.
            if offset != end as u64 {
                return Err(StateError::Damaged(Section::Header));
            }
            let expected = offset.saturating_add(size);
            if expected > bytes.len() as u64 {
                return Err(length(expected));
            }
            let start = end;
            end = expected as usize;
            entries.push(Entry { kind: number(entry, 0), crc: number(entry, 4), place: start..end });
        }
        if end != bytes.len() {
            return Err(length(end as u64));
        }
        Ok(Table { bytes, entries })
    }

    /// The bytes of the one section of this kind, as they were written.
    fn section(&self, section: Section) -> Result<&'b [u8], StateError> {
        let mut all = self.entries.iter().filter(|entry| entry.kind == section as u32);
        let (Some(entry), None) = (all.next(), all.next()) else {
            return Err(StateError::Sections(section));
        };
        let bytes = &self.bytes[entry.place.clone()];
        if crc32c::crc32c(bytes) == entry.crc { Ok(bytes) } else { Err(StateError::Damaged(section)) }
    }
}

/// Four bytes that are there.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

/// Eight bytes that are there.
fn long_number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}
