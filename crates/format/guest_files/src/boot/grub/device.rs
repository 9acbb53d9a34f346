//! GRUB's names for devices, `(hd0,gpt2)`, and what of this disk they mean (GRUB's manual, "How to specify devices").

use std::fmt;

use super::super::volumes::Volumes;
use crate::{FsKind, TableKind};

/// A name that means nothing on this disk: what it means, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere(pub(super) String);

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Beginnings of names of what is not a disk of its own, or not this disk.
const OTHER_DEVICES: &[(&str, &str)] = &[
    ("lvm/", "a logical volume of LVM"),
    ("lvmid/", "a logical volume of LVM"),
    ("md/", "a RAID of several disks"),
    ("mduuid/", "a RAID of several disks"),
    ("cryptouuid/", "an encrypted disk"),
    ("crypto", "an encrypted disk"),
    ("ldm/", "a dynamic disk of Windows'"),
    ("loop", "the image of a disk in a file"),
    ("cd", "a CD"),
    ("fd", "a floppy disk"),
    ("memdisk", "GRUB's own memory"),
    ("proc", "GRUB's own memory"),
    ("host", "the machine that GRUB was built on"),
    ("http", "a server"),
    ("tftp", "a server"),
    ("pxe", "a server"),
    ("efinet", "a server"),
];

/// The volumes that `name` (without parentheses) means, as indexes: one, or btrfs's views of it, the one that paths
/// begin at first.
pub(super) fn resolve(volumes: &Volumes, name: &str, relative_btrfs: bool) -> Result<Vec<usize>, Elsewhere> {
    let number = partition(volumes, name)?;
    let mut found: Vec<usize> = (0..volumes.list.len())
        .filter(|&index| volumes.list[index].partition.as_ref().map(|it| it.number) == number)
        .collect();
    if found.is_empty() {
        return Err(Elsewhere(match (number, number.and_then(|number| volumes.unreadable(number))) {
            (_, Some(found)) => format!("({name}): {found}, which is not read here"),
            (Some(number), None) if volumes.numbers().contains(&number) => {
                format!("({name}) holds no file system that is known")
            }
            (Some(_), None) => format!("the disk has no partition ({name})"),
            (None, _) => {
                format!("({name}) is the whole disk, which has partitions and no file system of its own")
            }
        }));
    }
    let is_btrfs = volumes.list[found[0]].fs.kind() == FsKind::Btrfs;
    if is_btrfs && !relative_btrfs {
        // GRUB's paths begin at the uppermost subvolume, but for openSUSE's GRUB.
        found.sort_by_key(|&index| !volumes.list[index].fs.subvolume_path().is_empty());
    }
    Ok(found)
}

/// The number of the partition; nothing for the whole disk.
fn partition(volumes: &Volumes, name: &str) -> Result<Option<u32>, Elsewhere> {
    let (disk, partition) = match name.split_once(',') {
        Some((disk, partition)) => (disk, Some(partition)),
        None => (name, None),
    };
    let number = disk.strip_prefix("hd").and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(0) => {}
        Some(_) => return Err(Elsewhere(format!("({name}) is on another disk"))),
        None if name.is_empty() => return Err(Elsewhere("no device is named".to_owned())),
        None => {
            let known = OTHER_DEVICES.iter().find(|(prefix, _)| disk.starts_with(prefix));
            let what = known.map_or("no disk that is known", |(_, what)| what);
            return Err(Elsewhere(format!("({name}) is {what}, which is not read here")));
        }
    }
    let Some(partition) = partition else { return Ok(None) };
    let digits = partition.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let map = &partition[..partition.len() - digits.len()];
    let fits = match map {
        "" => true,
        "gpt" => volumes.table == TableKind::Gpt,
        "msdos" => volumes.table == TableKind::Mbr,
        _ => return Err(Elsewhere(format!("({name}) is in a partition table that is not read here"))),
    };
    match digits.parse::<u32>() {
        Ok(_) if !fits => Err(Elsewhere(format!("({name}): the disk has no partition table of that kind"))),
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Elsewhere(format!("({name}) is no name of a partition"))),
    }
}

/// How GRUB names a volume.
pub(super) fn name(volumes: &Volumes, volume: usize) -> String {
    let number = volumes.list[volume].partition.as_ref().map(|partition| partition.number);
    match (number, volumes.table) {
        (Some(number), TableKind::Mbr) => format!("hd0,msdos{number}"),
        (Some(number), _) => format!("hd0,gpt{number}"),
        (None, _) => "hd0".to_owned(),
    }
}

/// Splits `(device)/path`; without a device, that is nothing.
pub(super) fn split(file: &str) -> Result<(Option<&str>, &str), Elsewhere> {
    match file.strip_prefix('(') {
        None => Ok((None, file)),
        Some(rest) => match rest.split_once(')') {
            Some((device, path)) => Ok((Some(device), path)),
            None => Err(Elsewhere(format!("'{file}' lacks a closing parenthesis"))),
        },
    }
}
