//! Sound images with bytes changed at random, where structures are: nothing panics, and everything comes to an end.
//! `YAGURA_MUTATIONS` says how many of each image are tried.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use guest_files::ReadAt;

use crate::fixtures::{fixture, unpacked};
use crate::patched::{Patched, place, structures, walk};
use crate::tools::{FileDisk, Folder, MIB};
use crate::trees;

/// What is tried of each image where nothing else is said: a second or so.
const SAMPLE: u64 = 25;
/// Values that break arithmetic more often than others.
const EDGES: [u64; 8] = [0, 1, u64::MAX, i64::MAX as u64, 1 << 31, 1 << 63, 0xFFFF_FFFF, 0x8000];

/// A generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }
}

fn try_mutations(name: &str, disk: &Rc<dyn ReadAt>, fix: impl Fn(Patched) -> Rc<dyn ReadAt>) {
    let structures = structures(disk);
    let count = std::env::var("YAGURA_MUTATIONS").map_or(SAMPLE, |count| count.parse().unwrap());
    for seed in 1..=count {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut bytes = BTreeMap::new();
        for _ in 0..=random.next() % 4 {
            let at = place(&structures, random.next());
            let edge = EDGES[(random.next() % 8) as usize];
            let value = match random.next() % 4 {
                0 => edge.to_le_bytes(),
                1 => edge.to_be_bytes(),
                _ => random.next().to_le_bytes(),
            };
            let len = [1, 1, 2, 4, 8][(random.next() % 5) as usize];
            bytes.extend((at..).zip(value.into_iter().take(len)));
        }
        walk(fix(Patched { base: disk.clone(), bytes }), true);
    }
    println!("{name}: {count} mutations of {} places", structures.len());
}

fn plain(patched: Patched) -> Rc<dyn ReadAt> {
    Rc::new(patched)
}

fn file(path: &Path) -> Rc<dyn ReadAt> {
    FileDisk::open(path)
}

#[test]
fn ext4_with_bytes_changed() {
    let disk = fixture!("ext4");
    try_mutations("ext4 with a journal", &disk, plain);
    let Some(folder) = Folder::with_tools(&["mke2fs"]) else { return };
    let tree = folder.folder("tree");
    trees::unix(&tree);
    trees::sparse(&tree, 400);
    trees::many(&tree.join("many"), 200);
    for options in ["-b 1024 -O ^metadata_csum", "-b 4096 -O ^has_journal", "-b 1024 -t ext2"] {
        let image = folder.ext4("ext4", &tree, 48 * MIB, &format!("-N 1000 {options}"));
        try_mutations(&format!("ext4 {options}"), &file(&image), plain);
    }
}

#[test]
fn vfat_with_bytes_changed() {
    let Some(folder) = Folder::with_tools(&["mkfs.vfat", "mcopy"]) else { return };
    let tree = folder.folder("tree");
    trees::many(&tree.join("a folder with a long name"), 40);
    std::fs::write(tree.join("large"), trees::noise(1, 300_000)).unwrap();
    for (options, len) in [("-F 32 -s 1", 40 * MIB), ("-F 16", 16 * MIB), ("-F 12", 4 * MIB)] {
        let image = folder.vfat("vfat", &tree, len, options);
        try_mutations(&format!("vfat {options}"), &file(&image), plain);
    }
}

#[test]
fn xfs_with_bytes_changed() {
    try_mutations("xfs fragmented", &fixture!("fragmented"), plain);
    try_mutations("xfs dirty", &fixture!("dirty"), plain);
    let Some(folder) = Folder::with_tools(&["mkfs.xfs"]) else { return };
    let tree = folder.folder("tree");
    std::fs::create_dir_all(tree.join("inner/more")).unwrap();
    for number in 0..200 {
        std::fs::write(tree.join(format!("inner/a-file-that-has-a-name-{number}")), "x").unwrap();
    }
    std::fs::write(tree.join("large"), trees::noise(1, 300_000)).unwrap();
    // Without checksums changed bytes get further.
    let image = folder.xfs("xfs", &tree, 320 * MIB, "-m crc=0,finobt=0");
    try_mutations("xfs version 4", &file(&image), plain);
}

/// A btrfs whose nodes' checksums are made right again, so that changed bytes get further.
struct Right(Patched);

impl ReadAt for Right {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset_bytes, buffer)?;
        // A node, or the superblock.
        if buffer.len() == 4096 {
            let right = crc32c::crc32c(&buffer[32..]);
            buffer[..4].copy_from_slice(&right.to_le_bytes());
        }
        Ok(())
    }
}

#[test]
fn btrfs_with_bytes_changed() {
    let disk = fixture!("btrfs");
    try_mutations("btrfs", &disk, plain);
    try_mutations("btrfs with right checksums", &disk, |patched| Rc::new(Right(patched)));
}
