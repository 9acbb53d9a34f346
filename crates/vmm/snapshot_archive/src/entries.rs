//! The files in an archive, one after another: plain ones, by plain names.
//!
//! Names that a tool puts `./` before, folders, and what it tells besides (pax(1), "pax Extended Header": times, users) are
//! passed over, so that an archive may have been unpacked and packed again. What such a header would change of a name or a
//! length does not go together with the record.

use std::io::{self, Read};

use snapshot_files::FileName;
use tar::{Archive, Entries, Entry, EntryType};

use crate::ArchiveError;

/// Longest extended header that is passed over, in bytes.
const EXTENDED_BYTES_MAX: u64 = 64 << 10;
/// Most entries that are passed over.
const PASSED_MAX: u32 = 4096;
/// Most zeros behind an archive: tools fill it up to blocks of their own.
const PADDING_BYTES_MAX: u64 = 16 << 20;

/// A file in an archive; its data is read from `data`.
pub(crate) struct NamedEntry<'e, R: Read> {
    pub(crate) name: FileName,
    pub(crate) size_bytes: u64,
    pub(crate) data: Entry<'e, R>,
}

/// The plain files of an archive.
pub(crate) struct PlainFiles<'e, R: Read> {
    entries: Entries<'e, R>,
    passed: u32,
}

impl<'e, R: Read> PlainFiles<'e, R> {
    pub(crate) fn of(archive: &'e mut Archive<R>) -> Result<PlainFiles<'e, R>, ArchiveError> {
        // Extensions are looked at as what they are: no name is as long as they may be.
        let entries = archive.entries().map_err(ArchiveError::damaged)?.raw(true);
        Ok(PlainFiles { entries, passed: 0 })
    }

    /// The next file; nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Option<NamedEntry<'e, R>>, ArchiveError> {
        loop {
            let Some(entry) = self.entries.next() else { return Ok(None) };
            let data = entry.map_err(ArchiveError::damaged)?;
            let (kind, size_bytes) = (data.header().entry_type(), data.size());
            let path = String::from_utf8_lossy(&data.header().path_bytes()).into_owned();
            let refused = |why| Err(ArchiveError::entry(&path, why));
            match kind {
                EntryType::Regular | EntryType::Continuous => {
                    let name = path.strip_prefix("./").unwrap_or(&path).to_owned();
                    return match FileName::try_from(name) {
                        Ok(name) => Ok(Some(NamedEntry { name, size_bytes, data })),
                        Err(_) => refused("is no name of a file in a snapshot"),
                    };
                }
                EntryType::XHeader | EntryType::XGlobalHeader if size_bytes <= EXTENDED_BYTES_MAX => {}
                EntryType::Directory if size_bytes == 0 => {}
                _ => return refused("is no plain file"),
            }
            self.passed += 1;
            if self.passed > PASSED_MAX {
                return refused("is one of too many that are no files");
            }
        }
    }
}

/// Reads what is behind the end of an archive, so that the checksum at the very end is seen to.
pub(crate) fn check_end(mut rest: impl Read) -> Result<(), ArchiveError> {
    let mut chunk = [0; 4096];
    let mut found_bytes = 0;
    loop {
        match rest.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                found_bytes += count as u64;
                if found_bytes > PADDING_BYTES_MAX || chunk[..count].iter().any(|byte| *byte != 0) {
                    return Err(ArchiveError::TooLong);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::damaged(error)),
        }
    }
}
