//! FAT12, FAT16 and FAT32 with long names, read only (Microsoft's FAT specification of 2000, and of 2005 for exact
//! limits). The crate `fatfs` computes with the numbers of a boot sector before it checks them.

mod directory;
mod table;

use std::io::Write;
use std::rc::Rc;

use crate::bytes::{Bytes, field_text};
use crate::path::{About, EachEntry, Inodes, write_from};
use crate::{FileKind, FsError, FsKind, Metadata, ReadAt};
use table::{Kind, Table};

/// Fields of the boot sector (section 3.1 to 3.3).
const SECTOR_BYTES_AT: usize = 11;
const CLUSTER_SECTORS_AT: usize = 13;
const RESERVED_SECTORS_AT: usize = 14;
const TABLES_AT: usize = 16;
const ROOT_ENTRIES_AT: usize = 17;
const SECTORS_16_AT: usize = 19;
const TABLE_SECTORS_16_AT: usize = 22;
const SECTORS_32_AT: usize = 32;
const TABLE_SECTORS_32_AT: usize = 36;
const ROOT_CLUSTER_AT: usize = 44;
/// The serial number and the label, in FAT12 and FAT16, and in FAT32.
const SERIAL_16_AT: usize = 39;
const SERIAL_32_AT: usize = 67;

/// A directory's entry, and how many a directory can have (section 6).
const ENTRY_BYTES: u64 = 32;
const DIRECTORY_LIMIT_BYTES: u64 = 65536 * ENTRY_BYTES;

/// A FAT file system.
pub(crate) struct Vfat {
    device: Rc<dyn ReadAt>,
    about: About,
    geometry: Geometry,
    table: Table,
}

/// Where things are, in bytes.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    cluster_bytes: u64,
    /// FAT12's and FAT16's root directory has a place of its own.
    fixed_root_at: u64,
    fixed_root_bytes: u64,
    data_at: u64,
    root_cluster: u32,
}

/// A file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    first_cluster: u32,
    size_bytes: u32,
    is_directory: bool,
}

impl Vfat {
    /// Opens what fills `device`.
    pub(crate) fn open(device: Rc<dyn ReadAt>) -> Result<Vfat, FsError> {
        let mut sector = [0; 512];
        device.read_at(0, &mut sector)?;
        let boot = Bytes(&sector);
        let (geometry, table) = geometry(boot)?;
        let serial_at = if table.kind == Kind::Fat32 { SERIAL_32_AT } else { SERIAL_16_AT };
        let serial = boot.le32(serial_at)?;
        let about = About {
            kind: FsKind::Vfat,
            label: field_text(boot.slice(serial_at + 4, 11)?),
            uuid: Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)),
            notes: Vec::new(),
        };
        let mut fs = Vfat { device, about, geometry, table };
        if let Some(label) = fs.volume_label()? {
            fs.about.label = label;
        }
        if fs.about.label == "NO NAME" {
            fs.about.label.clear();
        }
        Ok(fs)
    }

    fn root_node(&self) -> Node {
        Node { first_cluster: self.geometry.root_cluster, size_bytes: 0, is_directory: true }
    }

    fn volume_label(&self) -> Result<Option<String>, FsError> {
        let mut label = None;
        let bytes = self.directory_bytes(self.root_node())?;
        directory::each(&bytes, &mut |entry| {
            if entry.is_label && label.is_none() {
                label = Some(entry.short_name);
            }
            Ok(())
        })?;
        Ok(label)
    }

    /// All of a directory.
    fn directory_bytes(&self, node: Node) -> Result<Vec<u8>, FsError> {
        let mut bytes = Vec::new();
        if node.first_cluster == 0 {
            // FAT12's and FAT16's root; `..` of a directory in any root says 0, too, but nobody follows that here.
            let Geometry { fixed_root_at, fixed_root_bytes, .. } = self.geometry;
            write_from(&*self.device, fixed_root_at, fixed_root_bytes, &mut bytes)?;
            return Ok(bytes);
        }
        let clusters = DIRECTORY_LIMIT_BYTES / self.geometry.cluster_bytes;
        let mut next = Some(node.first_cluster);
        for _ in 0..clusters.max(1) {
            let Some(cluster) = next else { return Ok(bytes) };
            write_from(&*self.device, self.cluster_at(cluster)?, self.geometry.cluster_bytes, &mut bytes)?;
            next = self.table.next(&*self.device, cluster)?;
        }
        match next {
            None => Ok(bytes),
            Some(_) => Err(FsError::Damaged("a directory's chain of clusters does not end")),
        }
    }

    fn cluster_at(&self, cluster: u32) -> Result<u64, FsError> {
        let index = cluster.checked_sub(2).filter(|_| cluster < self.table.end);
        let index = index.ok_or(FsError::Damaged("a chain of clusters leads out of the file system"))?;
        Ok(self.geometry.data_at + u64::from(index) * self.geometry.cluster_bytes)
    }

    fn each(
        &self,
        node: &Node,
        each: &mut dyn FnMut(directory::Entry) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        directory::each(&self.directory_bytes(*node)?, &mut |entry| {
            if entry.is_label { Ok(()) } else { each(entry) }
        })
    }
}

/// What the boot sector says, where that makes sense.
fn geometry(boot: Bytes<'_>) -> Result<(Geometry, Table), FsError> {
    let nonsense = FsError::Damaged("its boot sector makes no sense");
    let sector_bytes = u64::from(boot.le16(SECTOR_BYTES_AT)?);
    let cluster_sectors = u64::from(boot.u8(CLUSTER_SECTORS_AT)?);
    let reserved = u64::from(boot.le16(RESERVED_SECTORS_AT)?);
    let tables = u64::from(boot.u8(TABLES_AT)?);
    let root_entries = u64::from(boot.le16(ROOT_ENTRIES_AT)?);
    let pick = |short: u16, long: u32| if short == 0 { u64::from(long) } else { u64::from(short) };
    let sectors = pick(boot.le16(SECTORS_16_AT)?, boot.le32(SECTORS_32_AT)?);
    let table_sectors = pick(boot.le16(TABLE_SECTORS_16_AT)?, boot.le32(TABLE_SECTORS_32_AT)?);
    if !matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
        || !cluster_sectors.is_power_of_two()
        || reserved == 0
        || tables == 0
        || table_sectors == 0
    {
        return Err(nonsense);
    }
    // All of these are far below 2^50, so that sums and products do not overflow.
    let root_sectors = (root_entries * ENTRY_BYTES).div_ceil(sector_bytes);
    let data_sector = reserved + tables * table_sectors + root_sectors;
    let clusters = sectors.checked_sub(data_sector).ok_or(nonsense)? / cluster_sectors;
    let clusters = u32::try_from(clusters).map_err(|_| FsError::Damaged("it claims too many clusters"))?;
    let table = Table::new(clusters, reserved * sector_bytes, table_sectors * sector_bytes);
    let is_32 = table.kind == Kind::Fat32;
    Ok((
        Geometry {
            cluster_bytes: cluster_sectors * sector_bytes,
            fixed_root_at: (reserved + tables * table_sectors) * sector_bytes,
            fixed_root_bytes: root_entries * ENTRY_BYTES,
            data_at: data_sector * sector_bytes,
            root_cluster: if is_32 { boot.le32(ROOT_CLUSTER_AT)? } else { 0 },
        },
        table,
    ))
}

impl Inodes for Vfat {
    type Id = Node;

    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        self.root_node()
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        let wanted = name.to_lowercase();
        let mut found = None;
        self.each(directory, &mut |entry| {
            let same = |name: &str| {
                name.eq_ignore_ascii_case(&wanted) || !name.is_ascii() && name.to_lowercase() == wanted
            };
            if found.is_none() && (same(&entry.name) || same(&entry.short_name)) {
                found = Some(entry.node);
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn metadata_of(&self, node: &Node) -> Result<Metadata, FsError> {
        let kind = if node.is_directory { FileKind::Directory } else { FileKind::Regular };
        Ok(Metadata { kind, size_bytes: u64::from(node.size_bytes) })
    }

    fn read_link(&self, _: &Node) -> Result<Vec<u8>, FsError> {
        Err(FsError::NotAFile)
    }

    fn entries(&self, directory: &Node, each: &mut EachEntry<'_>) -> Result<(), FsError> {
        self.each(directory, &mut |entry| {
            let kind = if entry.node.is_directory { FileKind::Directory } else { FileKind::Regular };
            each(entry.name.as_bytes(), kind)
        })
    }

    fn read(
        &self,
        node: &Node,
        offset_bytes: u64,
        mut len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<(), FsError> {
        let cluster_bytes = self.geometry.cluster_bytes;
        let ended = FsError::Damaged("a file's chain of clusters is shorter than its size");
        let mut cluster = node.first_cluster;
        for _ in 0..offset_bytes / cluster_bytes {
            let Some(next) = self.table.next(&*self.device, cluster)? else { return Err(ended) };
            cluster = next;
        }
        let mut skip = offset_bytes % cluster_bytes;
        while len_bytes > 0 {
            let at = self.cluster_at(cluster)?;
            // Clusters that lie behind one another are read in one go.
            let (mut run, mut next) = (1, self.table.next(&*self.device, cluster)?);
            while next == cluster.checked_add(run) && u64::from(run) * cluster_bytes < skip + len_bytes {
                next = self.table.next(&*self.device, cluster + run)?;
                run += 1;
            }
            let part = (u64::from(run) * cluster_bytes - skip).min(len_bytes);
            write_from(&*self.device, at + skip, part, out)?;
            len_bytes -= part;
            skip = 0;
            match next {
                Some(next) => cluster = next,
                None if len_bytes == 0 => {}
                None => return Err(ended),
            }
        }
        Ok(())
    }
}
