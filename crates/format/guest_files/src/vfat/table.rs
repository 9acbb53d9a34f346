//! The file allocation table: which cluster follows which.

use std::cell::RefCell;

use crate::{FsError, ReadAt};

/// How wide the table's numbers are. Only the count of clusters decides (section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

/// From how many clusters on a file system is FAT16, and FAT32.
const FAT16_FROM: u32 = 4085;
const FAT32_FROM: u32 = 65525;
/// What is read of the table at a time.
const WINDOW_BYTES: u64 = 16 << 10;

/// The first of the tables.
pub(super) struct Table {
    pub(super) kind: Kind,
    /// The first number that no cluster has.
    pub(super) end: u32,
    at: u64,
    len_bytes: u64,
    window: RefCell<Window>,
}

#[derive(Default)]
struct Window {
    from: u64,
    bytes: Vec<u8>,
}

impl Table {
    pub(super) fn new(clusters: u32, at: u64, len_bytes: u64) -> Table {
        let kind = match clusters {
            0..FAT16_FROM => Kind::Fat12,
            FAT16_FROM..FAT32_FROM => Kind::Fat16,
            _ => Kind::Fat32,
        };
        let end = clusters.saturating_add(2).min(0x0FFF_FFF7);
        Table { kind, end, at, len_bytes, window: RefCell::default() }
    }

    /// The cluster that follows; nothing at a chain's end.
    pub(super) fn next(&self, device: &dyn ReadAt, cluster: u32) -> Result<Option<u32>, FsError> {
        if cluster < 2 || cluster >= self.end {
            return Err(FsError::Damaged("a chain of clusters leads out of the file system"));
        }
        let index = u64::from(cluster);
        let (value, last) = match self.kind {
            Kind::Fat12 => {
                let pair = u16::from_le_bytes(self.bytes(device, index + index / 2)?);
                (u32::from(if index.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 }), 0xFF8)
            }
            Kind::Fat16 => (u32::from(u16::from_le_bytes(self.bytes(device, index * 2)?)), 0xFFF8),
            Kind::Fat32 => (u32::from_le_bytes(self.bytes(device, index * 4)?) & 0x0FFF_FFFF, 0x0FFF_FFF8),
        };
        match value {
            value if value >= last => Ok(None),
            value if value < 2 || value >= self.end => {
                Err(FsError::Damaged("a chain of clusters leads into nothing"))
            }
            value => Ok(Some(value)),
        }
    }

    fn bytes<const N: usize>(&self, device: &dyn ReadAt, at: u64) -> Result<[u8; N], FsError> {
        let mut window = self.window.borrow_mut();
        let inside = |window: &Window| {
            let from = usize::try_from(at.checked_sub(window.from)?).ok()?;
            window.bytes.get(from..from + N)?.try_into().ok()
        };
        if let Some(bytes) = inside(&window) {
            return Ok(bytes);
        }
        let len = WINDOW_BYTES.min(self.len_bytes.saturating_sub(at));
        window.bytes.resize(len as usize, 0);
        window.from = at;
        device.read_at(self.at + at, &mut window.bytes).inspect_err(|_| window.bytes.clear())?;
        inside(&window).ok_or(FsError::Damaged("its allocation table is shorter than it should be"))
    }
}
