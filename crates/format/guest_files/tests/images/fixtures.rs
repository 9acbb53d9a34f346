//! Images that take root rights to make, kept as `fixtures/make.sh` made them: compressed extents, subvolumes, B+trees
//! of extents, journals that were not replayed.

use std::rc::Rc;

use guest_files::{
    Architecture, FileKind, FileSystem, ReadAt, copy_file, find_boot, open_file_system, read_small,
};

macro_rules! fixture {
    ($name:literal) => {
        unpacked(include_bytes!(concat!("fixtures/", $name, ".img.zst")))
    };
}
pub(crate) use fixture;

pub fn unpacked(packed: &[u8]) -> Rc<dyn ReadAt> {
    Rc::new(zstd::decode_all(packed).unwrap())
}

fn open(disk: Rc<dyn ReadAt>) -> Box<dyn FileSystem> {
    open_file_system(disk).unwrap().unwrap()
}

/// What `make.sh` writes to a file of that name and length.
fn content(path: &str, len: usize) -> Vec<u8> {
    let name = path.rsplit('/').next().unwrap();
    let mut bytes = Vec::new();
    for line in 0.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(format!("{name}: line {line}\n").as_bytes());
    }
    bytes.truncate(len);
    if name.starts_with("unwritten") {
        bytes.fill(0);
    }
    if name.starts_with("frag") {
        bytes.chunks_mut(4096).skip(1).step_by(2).for_each(|hole| hole.fill(0));
    }
    bytes
}

/// Compares every file below a folder with what `make.sh` writes. Says how many files there are.
fn assert_written(fs: &dyn FileSystem, folder: &str) -> usize {
    let mut count = 0;
    for entry in fs.list(folder, 10_000).unwrap() {
        let path = format!("{folder}/{}", entry.name);
        match entry.kind {
            FileKind::Directory if folder.len() < 200 => count += assert_written(fs, &path),
            FileKind::Regular
                if !matches!(entry.name.as_str(), "os-release" | "grub.cfg")
                    && !entry.name.starts_with("vmlinuz") =>
            {
                let mut found = Vec::new();
                let len = copy_file(fs, &path, 1 << 20, &mut found)
                    .unwrap_or_else(|error| panic!("{path}: {error}"));
                let expected = content(&path, len as usize);
                assert!(found == expected, "{path} is another");
                let (from, len) = (len / 3, len / 3);
                let mut part = Vec::new();
                fs.read_range(&path, from, len, &mut part).unwrap();
                assert!(
                    part == expected[from as usize..(from + len) as usize],
                    "{path} is another in the middle"
                );
                count += 1;
            }
            _ => count += 1,
        }
    }
    count
}

#[test]
fn btrfs_compressed_and_in_subvolumes() {
    let fs = open(fixture!("btrfs"));
    assert_eq!(fs.subvolume_path(), "@/.snapshots/1/snapshot");
    assert_eq!((fs.label(), fs.notes().len()), ("packed", 0));
    assert!(assert_written(&*fs, "") > 15);
    assert_eq!(read_small(&*fs, "data/only in the snapshot", 1 << 20).unwrap().len(), 10_000);
    assert_eq!(read_small(&*fs, "etc/link", 1 << 20).unwrap(), content("large", 300_001));

    let uppermost = fs.subvolume("").unwrap().unwrap();
    assert!(assert_written(&*uppermost, "") > 35);
    assert_eq!(uppermost.subvolume_path(), "");
    let root = fs.subvolume("@").unwrap().unwrap();
    assert_eq!(read_small(&*root, "srv/in another subvolume", 1 << 20).unwrap().len(), 5000);
    assert!(root.metadata("data/only in the snapshot").is_err());
    assert!(fs.subvolume("@/data").is_err());
    assert!(fs.subvolume("nothing").is_err());
}

#[test]
fn opensuse_boots_from_its_default_subvolume() {
    let boot = find_boot(fixture!("btrfs"), Architecture::X86_64, None).unwrap();
    assert_eq!(boot.chosen_by, "/boot/grub2/grub.cfg: openSUSE Leap");
    assert_eq!(boot.cmdline, "root=UUID=01234567-89ab-cdef-0123-456789abcdef console=ttyS0");
    assert_eq!(boot.root.as_ref().unwrap().subvolume, None);
    assert_eq!(boot.os_release.as_ref().unwrap().id, "packed");
    let mut initrd = Vec::new();
    boot.write_initrd(&mut initrd).unwrap();
    assert_eq!(initrd, content("initrd-6.4.0-default", 3000));
}

#[test]
fn xfs_in_pieces() {
    let fs = open(fixture!("fragmented"));
    assert!(fs.notes().is_empty());
    assert!(assert_written(&*fs, "") > 900);
    assert_eq!(fs.metadata("unwritten").unwrap().size_bytes, 200_000);
    assert_eq!(read_small(&*fs, "long link", 1 << 20).unwrap(), content("plain", 100_000));
    assert!(fs.metadata("large/an entry with a name that is not short, number 10").is_ok());
    assert!(fs.metadata("large/an entry with a name that is not short, number 13").is_err());
}

#[test]
fn xfs_that_was_not_unmounted() {
    let fs = open(fixture!("dirty"));
    assert_eq!(fs.notes().len(), 1);
    assert!(fs.notes()[0].contains("journal was not replayed"), "{:?}", fs.notes());
    // What was synced long before is there all the same, or at least the file system opens.
    fs.list("", 1000).unwrap();
}

#[test]
fn ext4_whose_journal_holds_what_is_nowhere_else() {
    let fs = open(fixture!("ext4"));
    assert_eq!(fs.notes().len(), 1);
    assert!(fs.notes()[0].contains("its journal is respected"), "{:?}", fs.notes());
    assert_eq!(read_small(&*fs, "made/after", 1 << 20).unwrap(), content("after", 30_000));
    assert!(fs.metadata("before").is_err());
}
