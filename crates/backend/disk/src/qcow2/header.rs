//! The header of an image: parsed and checked once.
//!
//! What an image may claim is bounded here: nothing behind this file allocates memory by a number that the
//! image alone has made up.

use super::geometry::Geometry;
use super::spec::*;
use crate::error::FormatError;
use crate::format::{BackingName, Compression};
use crate::image_file::{ImageFile, read_vec};

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The fixed part as it stands in the file.
    pub(crate) raw: Vec<u8>,
    pub(crate) version: u32,
    pub(crate) geometry: Geometry,
    pub(crate) size_bytes: u64,
    pub(crate) l1_entries: u32,
    pub(crate) l1_offset: u64,
    pub(crate) reftable_offset: u64,
    pub(crate) reftable_clusters: u32,
    pub(crate) snapshots: u32,
    pub(crate) snapshots_offset: u64,
    pub(crate) incompatible: u64,
    pub(crate) compatible: u64,
    pub(crate) autoclear: u64,
    pub(crate) compression: Compression,
    pub(crate) backing: Option<BackingName>,
}

impl Header {
    /// Reads and checks the header of `file`.
    pub(crate) fn read(file: &dyn ImageFile) -> Result<Header, FormatError> {
        let file_bytes = file.len_bytes()?;
        let first = read_vec(file, 0, OUR_HEADER_BYTES)?;
        if first[..4] != MAGIC || file_bytes < V2_HEADER_BYTES as u64 {
            return Err(FormatError::NotQcow2);
        }
        let cluster_bits = get_u32(&first, CLUSTER_BITS);
        if !(CLUSTER_BITS_MIN..=CLUSTER_BITS_MAX).contains(&cluster_bits) {
            return Err(FormatError::unsupported(format!(
                "a cluster size of 2 to the power of {cluster_bits} bytes"
            )));
        }
        let cluster = read_vec(file, 0, 1 << cluster_bits)?;
        let header = parse(&cluster)?;
        header.check(file_bytes)?;
        Ok(header)
    }

    /// Whether a host range touches what no data cluster may touch: header, L1 table, reference count table,
    /// snapshot table.
    pub(crate) fn is_fixed(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        let overlaps = |start: u64, length: u64| {
            offset_bytes < start.saturating_add(length) && start < offset_bytes.saturating_add(length_bytes)
        };
        let cluster = self.geometry.cluster_bytes();
        overlaps(0, cluster)
            || overlaps(self.l1_offset, u64::from(self.l1_entries) * 8)
            || overlaps(self.reftable_offset, u64::from(self.reftable_clusters) * cluster)
            || (self.snapshots > 0 && overlaps(self.snapshots_offset, 1))
    }

    /// What has to hold between the fields, and between them and the file.
    fn check(&self, file_bytes: u64) -> Result<(), FormatError> {
        if self.size_bytes > SIZE_BYTES_MAX {
            return Err(FormatError::damaged("the disk is larger than any file"));
        }
        let l1_bytes = u64::from(self.l1_entries) * 8;
        if l1_bytes > L1_BYTES_MAX {
            return Err(FormatError::damaged("the L1 table is longer than 32 MiB"));
        }
        if self.geometry.l1_entries_for(self.size_bytes) > u64::from(self.l1_entries) {
            return Err(FormatError::damaged("the L1 table is too short for the disk"));
        }
        let reftable_bytes = u64::from(self.reftable_clusters) << self.geometry.cluster_bits;
        if reftable_bytes > REFTABLE_BYTES_MAX || reftable_bytes == 0 {
            return Err(FormatError::damaged("the reference count table has an impossible length"));
        }
        if self.snapshots > SNAPSHOTS_MAX {
            return Err(FormatError::damaged("there are more snapshots than an image can have"));
        }
        self.check_table("L1 table", self.l1_offset, l1_bytes, file_bytes)?;
        self.check_table("reference count table", self.reftable_offset, reftable_bytes, file_bytes)?;
        if self.snapshots > 0 {
            self.check_table("snapshot table", self.snapshots_offset, 1, file_bytes)?;
        }
        let overlap = self.l1_offset < self.reftable_offset.saturating_add(reftable_bytes)
            && self.reftable_offset < self.l1_offset.saturating_add(l1_bytes);
        if l1_bytes > 0 && overlap {
            return Err(FormatError::damaged("the L1 table lies over the reference count table"));
        }
        Ok(())
    }

    fn check_table(&self, name: &str, offset: u64, length: u64, file_bytes: u64) -> Result<(), FormatError> {
        if length == 0 {
            return Ok(());
        }
        if offset == 0 || !self.geometry.is_aligned(offset) {
            return Err(FormatError::damaged(format!("the {name} is at an impossible place")));
        }
        if offset.checked_add(length).is_none_or(|end| end > file_bytes) {
            return Err(FormatError::damaged(format!("the {name} lies beyond the end of the file")));
        }
        Ok(())
    }

    /// Why the image may not be written to, if so.
    pub(crate) fn check_writable(&self) -> Result<(), FormatError> {
        let refused = |why: &str| Err(FormatError::NotWritable(why.to_owned()));
        if self.incompatible & INCOMPATIBLE_CORRUPT != 0 {
            return refused("it is marked as corrupt; attach it as readonly, or convert what is left of it");
        }
        if self.autoclear & AUTOCLEAR_BITMAPS != 0 {
            return refused("it has persistent bitmaps, which would become wrong; convert it first");
        }
        Ok(())
    }
}

/// Parses the first cluster of an image.
pub(crate) fn parse(cluster: &[u8]) -> Result<Header, FormatError> {
    let version = get_u32(cluster, VERSION);
    if !(2..=3).contains(&version) {
        return Err(FormatError::unsupported(format!("version {version} of the format")));
    }
    let header_bytes = if version == 2 { V2_HEADER_BYTES } else { get_u32(cluster, HEADER_LENGTH) as usize };
    if header_bytes > cluster.len() || (version == 3 && header_bytes < V3_HEADER_BYTES) {
        return Err(FormatError::damaged("the header has an impossible length"));
    }
    if !header_bytes.is_multiple_of(8) {
        return Err(FormatError::damaged("the header's length is not a multiple of 8"));
    }
    if get_u32(cluster, CRYPT_METHOD) != 0 {
        return Err(FormatError::unsupported("an encrypted image"));
    }
    let v3 = |field| if version == 3 { get_u64(cluster, field) } else { 0 };
    let incompatible = v3(INCOMPATIBLE);
    check_features(incompatible)?;
    let refcount_order = if version == 3 { get_u32(cluster, REFCOUNT_ORDER) } else { REFCOUNT_ORDER_DEFAULT };
    if refcount_order > REFCOUNT_ORDER_MAX {
        return Err(FormatError::unsupported(format!(
            "a reference count of 2 to the power of {refcount_order} bits"
        )));
    }
    let compression = compression_of(cluster, header_bytes, incompatible)?;
    Ok(Header {
        raw: cluster[..header_bytes].to_vec(),
        version,
        geometry: Geometry { cluster_bits: get_u32(cluster, CLUSTER_BITS), refcount_order },
        size_bytes: get_u64(cluster, SIZE),
        l1_entries: get_u32(cluster, L1_ENTRIES),
        l1_offset: get_u64(cluster, L1_OFFSET),
        reftable_offset: get_u64(cluster, REFTABLE_OFFSET),
        reftable_clusters: get_u32(cluster, REFTABLE_CLUSTERS),
        snapshots: get_u32(cluster, SNAPSHOTS),
        snapshots_offset: get_u64(cluster, SNAPSHOTS_OFFSET),
        incompatible,
        compatible: v3(COMPATIBLE),
        autoclear: v3(AUTOCLEAR),
        compression,
        backing: parse_backing(cluster, header_bytes)?,
    })
}

fn check_features(incompatible: u64) -> Result<(), FormatError> {
    let known = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT | INCOMPATIBLE_COMPRESSION;
    match incompatible & !known {
        0 => Ok(()),
        bits if bits & INCOMPATIBLE_DATA_FILE != 0 => {
            Err(FormatError::unsupported("an image with its data in another file"))
        }
        bits if bits & INCOMPATIBLE_SUBCLUSTERS != 0 => {
            Err(FormatError::unsupported("an image with subclusters (extended_l2)"))
        }
        bits => Err(FormatError::unsupported(format!(
            "feature {} of the format, which came after this version of Yagura,",
            bits.trailing_zeros()
        ))),
    }
}

fn compression_of(
    cluster: &[u8],
    header_bytes: usize,
    incompatible: u64,
) -> Result<Compression, FormatError> {
    let kind = if header_bytes > COMPRESSION_TYPE { cluster[COMPRESSION_TYPE] } else { 0 };
    match (kind, incompatible & INCOMPATIBLE_COMPRESSION != 0) {
        (0, false) => Ok(Compression::Zlib),
        (1, true) => Ok(Compression::Zstd),
        (0 | 1, _) => Err(FormatError::damaged("compression type and feature bit do not agree")),
        _ => Err(FormatError::unsupported(format!("compression type {kind}"))),
    }
}

/// The backing file's name, and its format out of the header extensions.
fn parse_backing(cluster: &[u8], header_bytes: usize) -> Result<Option<BackingName>, FormatError> {
    let offset = get_u64(cluster, BACKING_OFFSET);
    if offset == 0 {
        return Ok(None);
    }
    let length = get_u32(cluster, BACKING_LENGTH) as usize;
    if length == 0 || length > BACKING_NAME_MAX {
        return Err(FormatError::damaged("the backing file's name has an impossible length"));
    }
    let start = usize::try_from(offset).ok().filter(|start| *start >= header_bytes);
    let name = start.and_then(|start| cluster.get(start..start.checked_add(length)?));
    let name =
        name.ok_or_else(|| FormatError::damaged("the backing file's name is at an impossible place"))?;
    let path = std::str::from_utf8(name).ok().filter(|path| !path.contains('\0'));
    let path = path.ok_or_else(|| FormatError::unsupported("a backing file's name that is not UTF-8"))?;
    // Extensions end where the name begins, at the latest.
    let format = backing_format(&cluster[..start.unwrap_or(0)], header_bytes)?;
    Ok(Some(BackingName { path: path.to_owned(), format }))
}

fn backing_format(cluster: &[u8], header_bytes: usize) -> Result<Option<String>, FormatError> {
    let cut = || FormatError::damaged("a header extension is cut short");
    let (mut at, mut format) = (header_bytes, None);
    while at + 8 <= cluster.len() {
        let (kind, length) = (get_u32(cluster, at..at + 4), get_u32(cluster, at + 4..at + 8) as usize);
        if kind == EXTENSION_END {
            break;
        }
        let data = cluster[at + 8..].get(..length).ok_or_else(cut)?;
        if kind == EXTENSION_BACKING_FORMAT {
            format = Some(String::from_utf8_lossy(data).into_owned());
        }
        at += 8 + length.next_multiple_of(8);
    }
    Ok(format)
}
