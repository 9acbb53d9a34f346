//! Which file system is the root, and where its `/boot` is.

use super::entry::Place;
use super::volumes::{Volume, Volumes};
use super::{Architecture, RootFs};
use crate::{FileKind, FileSystem, FsKind, PartitionType, read_small};

/// btrfs's subvolumes that distributions make their root: openSUSE, Ubuntu; Fedora; Debian; openSUSE's first snapshot.
const ROOT_SUBVOLUMES: &[&str] = &["@", "root", "@rootfs", "@/.snapshots/1/snapshot", ""];
const FSTAB_LIMIT_BYTES: u64 = 64 << 10;

/// The root file system, as one of the volumes.
pub(super) struct Root {
    pub(super) volume: usize,
    subvolume: Option<String>,
}

impl Root {
    pub(super) fn described(&self, volumes: &Volumes) -> RootFs {
        let Volume { partition, fs } = &volumes.list[self.volume];
        RootFs {
            kind: fs.kind(),
            partition: partition.as_ref().map(|partition| partition.number),
            uuid: fs.uuid().map(str::to_owned),
            partition_uuid: partition.as_ref().and_then(|partition| partition.uuid.clone()),
            subvolume: self.subvolume.clone(),
        }
    }
}

/// A subvolume that looks like a root: its path, and the file system seen from there.
type Subvolume = (String, Box<dyn FileSystem>);

/// What looks most like a root so far.
struct Candidate {
    score: u32,
    volume: usize,
    subvolume: Option<Subvolume>,
}

/// How much a file system looks like a root; 0 when it does not.
fn likeness(fs: &dyn FileSystem) -> u32 {
    let has = |path: &str| fs.metadata(path).is_ok_and(|metadata| metadata.kind == FileKind::Regular);
    let release = has("/etc/os-release") || has("/usr/lib/os-release");
    let init = ["/sbin/init", "/usr/sbin/init", "/usr/lib/systemd/systemd", "/init", "/bin/busybox"];
    u32::from(release) * 2 + u32::from(init.iter().any(|path| has(path)))
}

/// Finds the root: by the partition's type, then by what is in it. A btrfs whose root is a subvolume is opened
/// there; its uppermost one becomes a volume of its own, as paths in boot loaders' files may begin there.
pub(super) fn find(volumes: &mut Volumes, architecture: Architecture) -> Option<Root> {
    let mut found: Option<Candidate> = None;
    for (index, volume) in volumes.list.iter().enumerate() {
        let (mut score, mut subvolume) = (likeness(&*volume.fs), None);
        if score == 0 && volume.fs.kind() == FsKind::Btrfs {
            (score, subvolume) = in_subvolumes(&*volume.fs);
        }
        if score == 0 {
            continue;
        }
        let typed = volume.kind() == Some(PartitionType::LinuxRoot(architecture));
        score += u32::from(typed) * 4;
        if found.as_ref().is_none_or(|other| score > other.score) {
            found = Some(Candidate { score, volume: index, subvolume });
        }
    }
    let Candidate { volume, subvolume, .. } = found?;
    let (path, fs) = subvolume.map_or((None, None), |(path, fs)| (Some(path), Some(fs)));
    if let Some(fs) = fs {
        volumes.list[volume].fs = fs;
    }
    let Volume { partition, fs } = &volumes.list[volume];
    if !fs.subvolume_path().is_empty()
        && let Ok(Some(uppermost)) = fs.subvolume("")
    {
        volumes.list.push(Volume { partition: partition.clone(), fs: uppermost });
    }
    Some(Root { volume, subvolume: path })
}

fn in_subvolumes(fs: &dyn FileSystem) -> (u32, Option<Subvolume>) {
    for path in ROOT_SUBVOLUMES {
        if let Ok(Some(subvolume)) = fs.subvolume(path) {
            let likeness = likeness(&*subvolume);
            if likeness > 0 {
                return (likeness, Some(((*path).to_owned(), subvolume)));
            }
        }
    }
    (0, None)
}

/// Where the files of `/boot` may be, the likeliest first: what fstab mounts there, a partition that is meant for
/// it, the root's own directory, other file systems, the EFI system partition.
pub(super) fn boot_places(volumes: &Volumes, root: Option<&Root>) -> Vec<Place> {
    let root = root.map(|root| root.volume);
    let mounted = root.and_then(|root| mounted_at_boot(volumes, root));
    let rank = |index: usize, volume: &Volume| match volume.kind() {
        _ if mounted == Some(index) => 0,
        Some(PartitionType::ExtendedBoot) => 1,
        Some(PartitionType::Esp) => 4,
        _ => 3,
    };
    let mut places: Vec<(u32, Place)> = Vec::new();
    for (index, volume) in volumes.list.iter().enumerate() {
        if root == Some(index) {
            places.push((2, Place { volume: index, folder: "/boot", is_root: true }));
            places.push((5, Place { volume: index, folder: "", is_root: true }));
        } else {
            places.push((rank(index, volume), Place { volume: index, folder: "", is_root: false }));
        }
    }
    places.sort_by_key(|(rank, _)| *rank);
    places.into_iter().map(|(_, place)| place).collect()
}

/// The volume that the root's fstab mounts at `/boot`.
fn mounted_at_boot(volumes: &Volumes, root: usize) -> Option<usize> {
    let fstab = read_small(&*volumes.list[root].fs, "/etc/fstab", FSTAB_LIMIT_BYTES).ok()?;
    let fstab = String::from_utf8_lossy(&fstab).into_owned();
    fstab.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (source, target) = (words.next()?, words.next()?);
        let is_boot = target.trim_end_matches('/') == "/boot" && !source.starts_with('#');
        if is_boot { by_source(volumes, source).filter(|&volume| volume != root) } else { None }
    })
}

/// The root of the entry that boots: the file system that its command line names, where that is on this disk; else
/// the one that its kernel is on, if that is a root; else the one that was found. A disk may hold several systems.
pub(super) fn of_entry(
    volumes: &Volumes,
    cmdline: &str,
    kernel_volume: usize,
    found: Option<Root>,
) -> Option<Root> {
    let source = cmdline.split_whitespace().filter_map(|word| word.strip_prefix("root=")).next_back();
    let named = source.and_then(|source| by_source(volumes, source));
    let is_root = || likeness(&*volumes.list[kernel_volume].fs) > 0;
    match named.or_else(|| is_root().then_some(kernel_volume)) {
        Some(volume)
            if !found.as_ref().is_some_and(|found| volumes.views(found.volume).contains(&volume)) =>
        {
            Some(Root { volume, subvolume: None })
        }
        _ => found,
    }
}

/// The volume that a source of fstab, or a root of a command line, names.
fn by_source(volumes: &Volumes, source: &str) -> Option<usize> {
    let source = source.replace('"', "");
    let links = [
        ("/dev/disk/by-uuid/", "UUID="),
        ("/dev/disk/by-label/", "LABEL="),
        ("/dev/disk/by-partuuid/", "PARTUUID="),
    ];
    let source = links
        .iter()
        .find_map(|(folder, tag)| source.strip_prefix(folder).map(|name| format!("{tag}{name}")))
        .unwrap_or(source);
    let (tag, value) = source.split_once('=').unwrap_or(("", &source));
    let is_it = |volume: &Volume| {
        let partition = volume.partition.as_ref();
        match tag {
            "UUID" => volume.fs.uuid().is_some_and(|uuid| uuid.eq_ignore_ascii_case(value)),
            "LABEL" => volume.fs.label() == value,
            "PARTUUID" => partition
                .and_then(|partition| partition.uuid.as_ref())
                .is_some_and(|uuid| uuid.eq_ignore_ascii_case(value)),
            "PARTLABEL" => partition.is_some_and(|partition| partition.name == value),
            _ => partition.is_some() && partition.map(|partition| partition.number) == partition_of(value),
        }
    };
    volumes.list.iter().position(is_it)
}

/// The number of the partition that Linux names so on its first disk: `/dev/sda2`, `/dev/nvme0n1p2`.
pub(super) fn partition_of(device: &str) -> Option<u32> {
    const DISKS: &[&str] = &["sda", "hda", "vda", "xvda", "nvme0n1p", "mmcblk0p"];
    let device = device.strip_prefix("/dev/")?;
    DISKS.iter().find_map(|disk| device.strip_prefix(disk)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partitions() {
        for (device, number) in [
            ("/dev/sda2", Some(2)),
            ("/dev/xvda1", Some(1)),
            ("/dev/nvme0n1p15", Some(15)),
            ("/dev/mmcblk0p3", Some(3)),
            ("/dev/sdb2", None),
            ("/dev/nvme0n2p1", None),
            ("/dev/mapper/vg-root1", None),
            ("/dev/vda", None),
            ("UUID=1", None),
        ] {
            assert_eq!(partition_of(device), number, "{device}");
        }
    }
}
