//! Every file of every file system against where it came from.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use guest_files::{DirEntry, FileKind, FileSystem, FsError, FsKind, copy_file, read_small};

use crate::tools::{Folder, MIB, open};
use crate::trees;

/// Asserts that a file system holds what a folder holds. Says how many files that were.
#[track_caller]
pub fn assert_same(fs: &dyn FileSystem, folder: &Path) -> usize {
    let count = same_folder(fs, folder, "", folder);
    assert!(matches!(fs.metadata("/no such file"), Err(FsError::NotFound)));
    assert!(matches!(fs.list("/one", 10), Err(FsError::NotADirectory)));
    assert!(matches!(read_small(fs, "/deep", 1 << 20), Err(FsError::NotAFile)));
    assert!(matches!(fs.list("many", 100), Err(FsError::TooManyEntries(100))));
    assert!(matches!(
        copy_file(fs, "/noise-4097", 4096, &mut Vec::new()),
        Err(FsError::TooLarge { size_bytes: 4097, limit_bytes: 4096 })
    ));
    count
}

fn same_folder(fs: &dyn FileSystem, root: &Path, path: &str, folder: &Path) -> usize {
    let mut expected = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let kind = match kind {
            kind if kind.is_symlink() => FileKind::Symlink,
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_fifo() => FileKind::Special,
            _ => FileKind::Regular,
        };
        expected.insert(entry.file_name().into_string().unwrap(), kind);
    }
    let list = fs.list(path, 100_000).unwrap_or_else(|error| panic!("{path}: {error}"));
    let found: BTreeMap<String, FileKind> = list
        .into_iter()
        .filter(|DirEntry { name, .. }| !(path.is_empty() && name == "lost+found"))
        .map(|DirEntry { name, kind }| (name, kind))
        .collect();
    assert!(found == expected, "{path}: {found:?} is not {expected:?}");
    let mut count = 0;
    for (name, kind) in expected {
        let (path, source) = (format!("{path}/{name}"), folder.join(&name));
        count += match kind {
            FileKind::Directory => same_folder(fs, root, &path, &source),
            FileKind::Regular => same_file(fs, &path, &source),
            FileKind::Symlink => same_link(fs, root, &path, &source),
            FileKind::Special => {
                assert!(matches!(read_small(fs, &path, 10), Err(FsError::NotAFile)), "{path}");
                1
            }
        };
    }
    count
}

fn same_file(fs: &dyn FileSystem, path: &str, source: &Path) -> usize {
    let expected = fs::read(source).unwrap();
    let mut found = Vec::new();
    let len = copy_file(fs, path, 1 << 30, &mut found).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(len, expected.len() as u64, "{path}");
    assert!(found == expected, "{path} is another");
    for (from, len) in [(1, 1), (4095, 2), (expected.len() / 2, 70_000), (expected.len(), 5), (usize::MAX, 9)]
    {
        let mut part = Vec::new();
        fs.read_range(path, from as u64, len as u64, &mut part).unwrap();
        let from = from.min(expected.len());
        assert!(part == expected[from..(from + len).min(expected.len())], "{path} from {from}");
    }
    1
}

fn same_link(fs: &dyn FileSystem, root: &Path, path: &str, source: &Path) -> usize {
    let name = source.file_name().unwrap().to_str().unwrap();
    match name {
        "dangling" => assert!(matches!(fs.metadata(path), Err(FsError::NotFound)), "{path}"),
        "circle-1" | "circle-2" => {
            assert!(matches!(fs.metadata(path), Err(FsError::TooManyLinks)), "{path}");
        }
        "folder" => assert_eq!(fs.list(path, 10).unwrap().len(), 1, "{path}"),
        _ => {
            let expected = fs::read(root.join("one")).unwrap();
            let found = read_small(fs, path, 100).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(found, expected, "{path}");
        }
    }
    1
}

#[test]
fn ext4_in_many_ways() {
    let Some(folder) = Folder::with_tools(&["mke2fs"]) else { return };
    let tree = folder.folder("tree");
    trees::plain(&tree, 700);
    trees::unix(&tree);
    // Of old maps of blocks, holes are read only where single blocks are missing.
    let old = folder.folder("old tree");
    trees::plain(&old, 700);
    trees::unix(&old);
    trees::sparse(&tree, 1500);
    for (index, options) in [
        "-t ext4 -L a-label -U 01234567-89ab-cdef-0123-456789abcdef",
        "-t ext4 -b 1024",
        "-t ext4 -b 2048 -O ^metadata_csum,^64bit",
        "-t ext4 -b 4096 -O mmp,ea_inode",
        "-t ext4 -I 128 -O ^has_journal",
        "-t ext4 -O bigalloc -C 16384",
        "-t ext3",
        "-t ext2 -b 1024",
    ]
    .into_iter()
    .enumerate()
    {
        let tree = if options.contains("ext4") { &tree } else { &old };
        let image = folder.ext4("ext4", tree, 160 * MIB, options);
        let fs = open(&image);
        assert_eq!(fs.kind(), FsKind::Ext4);
        assert!(assert_same(&*fs, tree) > 700);
        assert!(fs.notes().is_empty(), "{:?}", fs.notes());
        if index == 0 {
            assert_eq!(fs.label(), "a-label");
            assert_eq!(fs.uuid(), Some("01234567-89ab-cdef-0123-456789abcdef"));
        }
    }
}

#[test]
fn vfat_in_all_widths() {
    let Some(folder) = Folder::with_tools(&["mkfs.vfat", "mcopy"]) else { return };
    let tree = folder.folder("tree");
    // mcopy takes its time for each file.
    trees::plain(&tree, 130);
    for (options, len_bytes) in [
        ("-F 32 -n A_LABEL -i 0123abcd", 64 * MIB),
        ("-F 32 -s 1 -S 512", 64 * MIB),
        ("-F 16 -s 4", 32 * MIB),
        ("-F 12 -s 8", 15 * MIB),
        ("-F 32 -S 4096 -s 1", 300 * MIB),
    ] {
        let image = folder.vfat("vfat", &tree, len_bytes, options);
        let fs = open(&image);
        assert_eq!(fs.kind(), FsKind::Vfat);
        assert!(assert_same(&*fs, &tree) > 130);
        assert_eq!(read_small(&*fs, "DEEP/ER/and/DEEPER/still/mixed case name.conf", 10).unwrap(), b"mixed");
        if options.contains("A_LABEL") {
            assert_eq!((fs.label(), fs.uuid()), ("A_LABEL", Some("0123-ABCD")));
        } else {
            assert_eq!(fs.label(), "");
        }
    }
}

#[test]
fn xfs_in_both_versions() {
    let Some(folder) = Folder::with_tools(&["mkfs.xfs"]) else { return };
    let tree = folder.folder("tree");
    // A description of what to make knows no names with spaces.
    without_spaces(&tree);
    for options in [
        "-L a-label -m uuid=01234567-89ab-cdef-0123-456789abcdef",
        "-m crc=0,finobt=0",
        "-m crc=0 -n ftype=0",
        "-b size=1024 -n size=8192 -i size=512",
        "-b size=2048 -i nrext64=1",
        "-n size=65536 -m bigtime=0 -i sparse=0",
    ] {
        if options.contains("nrext64") && !knows_nrext64(&folder) {
            println!("SKIPPED: this mkfs.xfs knows no nrext64");
            continue;
        }
        let image = folder.xfs("xfs", &tree, 512 * MIB, options);
        let fs = open(&image);
        assert_eq!(fs.kind(), FsKind::Xfs);
        assert!(assert_same(&*fs, &tree) > 700, "{options}");
        assert!(fs.notes().is_empty(), "{options}: {:?}", fs.notes());
        if options.contains("a-label") {
            assert_eq!(fs.label(), "a-label");
            assert_eq!(fs.uuid(), Some("01234567-89ab-cdef-0123-456789abcdef"));
        }
    }
}

fn without_spaces(tree: &Path) {
    trees::plain(tree, 700);
    trees::unix(tree);
    // Older versions of mkfs.xfs make links wrongly that do not fit into an inode.
    for len in [400, 900] {
        fs::remove_file(tree.join(format!("links/long-{len}"))).unwrap();
    }
    let rename = |folder: &Path| {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().replace(' ', "-");
            fs::rename(&path, path.with_file_name(name)).unwrap();
        }
    };
    for name in ["", "many", "deep/er/and/deeper/still", "links/inner"] {
        rename(&tree.join(name));
    }
}

fn knows_nrext64(folder: &Folder) -> bool {
    let image = folder.path("try");
    fs::File::create(&image).unwrap().set_len(512 * MIB).unwrap();
    let arguments = ["-q", "-N", "-f", "-i", "nrext64=1", image.to_str().unwrap()];
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = std::process::Command::new("mkfs.xfs").args(arguments).env("PATH", path).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn btrfs_in_several_profiles() {
    let Some(folder) = Folder::with_tools(&["mkfs.btrfs"]) else { return };
    let tree = folder.folder("tree");
    trees::plain(&tree, 700);
    trees::unix(&tree);
    trees::sparse(&tree, 300);
    for options in [
        "-L a-label -U 01234567-89ab-cdef-0123-456789abcdef",
        "-m single -d single -n 4096 -s 4096",
        "-m dup -d dup -O ^no-holes",
        "-M -n 4096",
        "-n 65536 --csum xxhash",
    ] {
        let image = folder.btrfs("btrfs", &tree, 600 * MIB, options);
        let fs = open(&image);
        assert_eq!(fs.kind(), FsKind::Btrfs);
        assert!(assert_same(&*fs, &tree) > 700, "{options}");
        assert_eq!(fs.notes().len(), usize::from(options.contains("xxhash")), "{:?}", fs.notes());
        if options.contains("a-label") {
            assert_eq!(fs.label(), "a-label");
            assert_eq!(fs.uuid(), Some("01234567-89ab-cdef-0123-456789abcdef"));
        }
    }
}
