//! What a disk or a partition holds, told by the marks that each format leaves in it.

use std::io;

use crate::bytes::Bytes;
use crate::{FsKind, ReadAt};

/// What a disk or a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file system that is read here.
    FileSystem(FsKind),
    /// Something known that is not read here.
    Foreign {
        /// Its name, as people know it.
        name: &'static str,
        /// The operating system that has its files there, where it is just one.
        system: Option<&'static str>,
    },
    /// Nothing that is known.
    Unknown,
}

/// A mark: bytes at a place, and what they stand for.
struct Mark {
    at: u64,
    bytes: &'static [u8],
    name: &'static str,
    system: Option<&'static str>,
}

const fn mark(at: u64, bytes: &'static [u8], name: &'static str, system: Option<&'static str>) -> Mark {
    Mark { at, bytes, name, system }
}

/// Where FFS has its superblock (UFS1, UFS2), and the magic number in it.
const UFS1_AT: u64 = 8192;
const UFS2_AT: u64 = 65536;
const UFS_MAGIC_AT: u64 = 1372;

const FOREIGN: &[Mark] = &[
    mark(3, b"NTFS    ", "NTFS", Some("Windows")),
    mark(3, b"-FVE-FS-", "BitLocker", Some("Windows")),
    mark(3, b"EXFAT   ", "exFAT", None),
    mark(0, b"LUKS\xba\xbe", "LUKS (encrypted)", None),
    mark(0, b"hsqs", "squashfs", None),
    mark(1024, &0xE0F5_E1E2_u32.to_le_bytes(), "EROFS", None),
    mark(1024, &0xF2F5_2010_u32.to_le_bytes(), "F2FS", None),
    mark(512, b"LABELONE", "an LVM physical volume", None),
    mark(4096, &0xA92B_4EFC_u32.to_le_bytes(), "a member of a RAID", None),
    mark(4086, b"SWAPSPACE2", "swap space", None),
    mark(32, b"NXSB", "APFS", Some("macOS")),
    mark(32769, b"CD001", "ISO 9660", None),
    mark(UFS2_AT + UFS_MAGIC_AT, &0x1954_0119_u32.to_le_bytes(), "UFS2", Some("a BSD")),
    mark(UFS1_AT + UFS_MAGIC_AT, &0x0001_1954_u32.to_le_bytes(), "UFS1 (FFS)", Some("a BSD")),
    mark(512, &0x8256_4557_u32.to_le_bytes(), "a BSD disklabel", Some("a BSD")),
];

/// ZFS keeps a ring of uberblocks here, each with this number at its front.
const ZFS_UBERBLOCKS_AT: u64 = 128 << 10;
const ZFS_MAGIC: u64 = 0x00BA_B10C;

/// Says what `device` holds.
///
/// # Errors
///
/// When it cannot be read.
pub fn identify(device: &dyn ReadAt) -> io::Result<Content> {
    if let Some(kind) = own(device)? {
        return Ok(Content::FileSystem(kind));
    }
    for Mark { at, bytes, name, system } in FOREIGN {
        if has(device, *at, bytes)? {
            return Ok(Content::Foreign { name, system: *system });
        }
    }
    if has_zfs(device)? {
        return Ok(Content::Foreign { name: "ZFS", system: None });
    }
    Ok(Content::Unknown)
}

fn own(device: &dyn ReadAt) -> io::Result<Option<FsKind>> {
    Ok(if has(device, 0, b"XFSB")? {
        Some(FsKind::Xfs)
    } else if has(device, 0x1_0040, b"_BHRfS_M")? {
        Some(FsKind::Btrfs)
    } else if has(device, 1024 + 0x38, &0xEF53_u16.to_le_bytes())? {
        Some(FsKind::Ext4)
    } else if looks_like_fat(device)? {
        Some(FsKind::Vfat)
    } else {
        None
    })
}

fn has(device: &dyn ReadAt, at: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut there = [0; 8];
    let there = &mut there[..bytes.len().min(8)];
    if device.len_bytes() < at + there.len() as u64 {
        return Ok(false);
    }
    device.read_at(at, there)?;
    Ok(bytes.starts_with(there))
}

/// A boot sector whose parameters make sense, which the code of an MBR has not by chance.
fn looks_like_fat(device: &dyn ReadAt) -> io::Result<bool> {
    let mut sector = [0; 512];
    if device.len_bytes() < 512 {
        return Ok(false);
    }
    device.read_at(0, &mut sector)?;
    let sector_bytes = u16::from_le_bytes([sector[11], sector[12]]);
    Ok(sector[510..] == [0x55, 0xAA]
        && matches!(sector[0], 0xEB | 0xE9)
        && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
        && sector[13].is_power_of_two()
        && (1..=2).contains(&sector[16])
        && (sector[0x36..].starts_with(b"FAT") || sector[0x52..].starts_with(b"FAT"))
        && &sector[3..11] != b"NTFS    ")
}

fn has_zfs(device: &dyn ReadAt) -> io::Result<bool> {
    let mut ring = vec![0; 128 << 10];
    if device.len_bytes() < ZFS_UBERBLOCKS_AT + ring.len() as u64 {
        return Ok(false);
    }
    device.read_at(ZFS_UBERBLOCKS_AT, &mut ring)?;
    Ok(ring.chunks(1024).any(|uberblock| Bytes(uberblock).le64(0).is_ok_and(|magic| magic == ZFS_MAGIC)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_found_and_zeros_are_nothing() {
        let empty = vec![0; 512 << 10];
        assert_eq!(identify(&empty).unwrap(), Content::Unknown);
        assert_eq!(identify(&Vec::new()).unwrap(), Content::Unknown);
        for mark in FOREIGN {
            let mut disk = empty.clone();
            let at = usize::try_from(mark.at).unwrap();
            disk[at..at + mark.bytes.len()].copy_from_slice(mark.bytes);
            assert_eq!(identify(&disk).unwrap(), Content::Foreign { name: mark.name, system: mark.system });
        }
        let mut disk = empty;
        disk[(128 << 10) + 7 * 1024..][..8].copy_from_slice(&ZFS_MAGIC.to_le_bytes());
        assert!(matches!(identify(&disk).unwrap(), Content::Foreign { name: "ZFS", .. }));
    }
}
