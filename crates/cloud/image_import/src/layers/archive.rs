//! A tar archive as a stream of entries, in whatever of its dialects (POSIX.1-1988 ustar, pax, GNU tar).

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::error::LayerError;
use super::input::Budget;
use super::pax::{Attribute, Extended};
use crate::inputs::Dropped;

const BLOCK_BYTES: usize = 512;
/// Where a header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// Longest extended header, in bytes: some attributes of the longest kind.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;
/// Most extended headers before one entry.
const EXTENDED_MAX: usize = 8;
/// Bits of a mode that are kept.
const MODE_MASK: u32 = 0o7777;
/// No user has this number: it says "as before" to chown(2).
const NO_USER: u64 = u32::MAX as u64;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    SymbolicLink,
    HardLink,
    Device,
    Pipe,
    Unknown,
}

/// An entry without its data.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u64,
    pub(super) attributes: Vec<Attribute>,
    /// Of a file; of other kinds 0 or, seldom, data that nobody wants.
    pub(super) data_bytes: u64,
}

impl Entry {
    /// What its names take.
    pub(super) fn names_bytes(&self) -> u64 {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        (self.path.len() + self.link.len() + attributes.sum::<usize>()) as u64
    }
}

/// See the module. After each entry its data has to be read.
pub(super) struct Archive<'a> {
    unpacked: &'a mut dyn Read,
    budget: Budget,
    /// Bytes between the data that was read last and the next header.
    padding: usize,
    ended: bool,
}

impl<'a> Archive<'a> {
    pub(super) fn new(unpacked: &'a mut dyn Read, budget: Budget) -> Archive<'a> {
        Archive { unpacked, budget, padding: 0, ended: false }
    }

    /// The next entry, `None` at the archive's end.
    pub(super) fn next_entry(&mut self, dropped: &mut Dropped) -> Result<Option<Entry>, LayerError> {
        let mut extended = Extended::default();
        for _ in 0..=EXTENDED_MAX {
            let Some(header) = self.next_header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extended_data(&header)?;
                    extended.read(&records, dropped)?;
                }
                // About entries in general; nothing that it could say is wanted.
                EntryType::XGlobalHeader => drop(self.extended_data(&header)?),
                EntryType::GNULongName => extended.path = Some(without_nul(self.extended_data(&header)?)),
                EntryType::GNULongLink => extended.link = Some(without_nul(self.extended_data(&header)?)),
                EntryType::GNUSparse => return Err(LayerError::Unsupported("sparse files")),
                _ => return self.entry(&header, extended).map(Some),
            }
        }
        Err(LayerError::Damaged("extended headers without end"))
    }

    /// Fills `out` with data of the entry that was returned last.
    pub(super) fn read_data(&mut self, out: &mut [u8]) -> Result<(), LayerError> {
        self.budget.spend(out.len() as u64)?;
        self.unpacked.read_exact(out)?;
        Ok(())
    }

    /// Reads what is behind the archive's end: the compression's checksum is there.
    pub(super) fn drain(self) -> Result<(), LayerError> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            match self.unpacked.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => self.budget.spend(length as u64)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn next_header(&mut self) -> Result<Option<Header>, LayerError> {
        if self.ended {
            return Ok(None);
        }
        let padding = self.padding;
        let mut block = [0; BLOCK_BYTES];
        self.read_data(&mut block[..padding])?;
        self.padding = 0;
        self.read_data(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let bytes = block.iter().enumerate();
        let sum: u32 =
            bytes.map(|(at, byte)| if CHECKSUM.contains(&at) { 32 } else { u32::from(*byte) }).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(LayerError::Damaged("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// The data of an extended header.
    fn extended_data(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        let length = header.entry_size().map_err(|_| bad_number())?;
        if length > EXTENDED_BYTES_MAX {
            return Err(LayerError::Damaged("an extended header is longer than 1 MiB"));
        }
        let mut data = vec![0; length as usize];
        self.read_data(&mut data)?;
        self.padding = padding(length);
        Ok(data)
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> Result<Entry, LayerError> {
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::SymbolicLink,
            EntryType::Link => Kind::HardLink,
            EntryType::Block | EntryType::Char => Kind::Device,
            EntryType::Fifo => Kind::Pipe,
            _ => Kind::Unknown,
        };
        let fields = header.as_old();
        let claimed = number(&fields.size, header.entry_size());
        let data_bytes = match (header.entry_type(), extended.size) {
            // These have no data, whatever their headers say.
            (
                EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
                | EntryType::Block
                | EntryType::Char
                | EntryType::Fifo,
                _,
            ) => 0,
            (_, Some(size)) => size,
            (_, None) => claimed?,
        };
        self.budget.check(data_bytes)?;
        self.padding = padding(data_bytes);
        let user = |stated: Option<u64>, field: Result<u64, LayerError>| {
            let number = stated.map_or(field, Ok)?;
            let number = Some(number).filter(|number| *number < NO_USER);
            number.map(|number| number as u32).ok_or(LayerError::Damaged("an owner that no file can have"))
        };
        let link = extended.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        Ok(Entry {
            kind,
            path,
            link: link.unwrap_or_default(),
            mode: number(&fields.mode, header.mode().map(u64::from))? as u32 & MODE_MASK,
            uid: user(extended.uid, number(&fields.uid, header.uid()))?,
            gid: user(extended.gid, number(&fields.gid, header.gid()))?,
            // What is no time is the oldest one.
            mtime: extended.mtime.or(header.mtime().ok()).unwrap_or(0),
            attributes: extended.attributes,
            data_bytes,
        })
    }
}

/// A header's number; nothing at all is 0, as other readers have it.
fn number(field: &[u8], parsed: io::Result<u64>) -> Result<u64, LayerError> {
    let nothing = field.iter().all(|byte| matches!(byte, 0 | b' '));
    parsed.or_else(|_| if nothing { Ok(0) } else { Err(bad_number()) })
}

fn bad_number() -> LayerError {
    LayerError::Damaged("a header has no number where one belongs")
}

fn padding(length: u64) -> usize {
    (length.wrapping_neg() % BLOCK_BYTES as u64) as usize
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}
