//! Targets `guest_disk`, `boot_files` and `partitions`: disks that somebody else wrote.
//!
//! `guest_disk` changes bytes of sound images where structures are (checksums are not looked at under fuzzing);
//! `boot_files` puts any text, and any program, where boot loaders look; `partitions` is a disk of any bytes.
//! Always: what is found to boot can be read, or the reason is said.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use guest_files::{Architecture, ReadAt, find_boot, identify, open_file_system, read_partitions};

use crate::fat_disk::fat_disk;
use crate::{Notation, Script, Seed};

#[path = "../../crates/format/guest_files/tests/images/patched.rs"]
mod patched;

/// The images of the tests of `guest_files`.
const IMAGES: [&[u8]; 4] = [
    include_bytes!("../../crates/format/guest_files/tests/images/fixtures/btrfs.img.zst"),
    include_bytes!("../../crates/format/guest_files/tests/images/fixtures/fragmented.img.zst"),
    include_bytes!("../../crates/format/guest_files/tests/images/fixtures/dirty.img.zst"),
    include_bytes!("../../crates/format/guest_files/tests/images/fixtures/ext4.img.zst"),
];
/// Names of files that boot loaders look for.
const NAMES: [&str; 10] = [
    "grub/grub.cfg",
    "grub/grubenv",
    "extlinux.conf",
    "loader/loader.conf",
    "loader/entries/a.conf",
    "loader/entries/b-6.1+3-1.conf",
    "EFI/Linux/a.efi",
    "vmlinuz-1",
    "initrd.img-1",
    "etc/os-release",
];
/// Longest file of `boot_files`, and largest disk of `partitions`.
const FILE_LIMIT: usize = 8 << 10;
const DISK_LIMIT: usize = 256 << 10;

/// An image and the places where its structures are.
struct Image {
    disk: Rc<dyn ReadAt>,
    structures: Vec<(u64, u64)>,
}

impl Image {
    fn new(disk: Vec<u8>) -> Image {
        let disk: Rc<dyn ReadAt> = Rc::new(disk);
        Image { structures: patched::structures(&disk), disk }
    }
}

thread_local! {
    static UNPACKED: [OnceCell<Image>; IMAGES.len() + 1] = const { [const { OnceCell::new() }; IMAGES.len() + 1] };
}

/// The image of that number; the last is a FAT that is made here.
fn image(index: usize) -> Image {
    match IMAGES.get(index) {
        Some(packed) => Image::new(zstd::decode_all(*packed).unwrap_or_default()),
        None => Image::new(fat_disk(&[
            ("a long name of a file.conf", &[7; 5000]),
            ("loader/entries/a.conf", b"x"),
        ])),
    }
}

/// The body of `guest_disk`.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let index = usize::from(script.u8()) % (IMAGES.len() + 1);
    UNPACKED.with(|unpacked| {
        let image = unpacked[index].get_or_init(|| image(index));
        let mut bytes = BTreeMap::new();
        while let Some(kind) = script.operation(4) {
            let at = patched::place(&image.structures, u64::from(script.u32()));
            let value = script.bytes([1, 2, 4, 8][usize::from(kind)]);
            bytes.extend((at..).zip(value.iter().copied()));
        }
        patched::walk(Rc::new(patched::Patched { base: image.disk.clone(), bytes }), true);
    });
}

/// Seeds of `guest_disk`: each image as it is, and with a byte changed.
pub fn seeds() -> Vec<Seed> {
    const SEEDS: [&str; IMAGES.len() + 1] = ["btrfs", "xfs", "xfs-dirty", "ext4", "vfat"];
    let seed = |(index, name): (usize, &&'static str)| {
        (*name, Notation::new().u8(index as u8).u8(0).u32(9999).u8(0xFF).finish())
    };
    SEEDS.iter().enumerate().map(seed).collect()
}

/// The body of `boot_files`.
pub fn run_boot_files(data: &[u8]) {
    let mut script = Script::new(data);
    let mut files: BTreeMap<&str, &[u8]> = BTreeMap::new();
    while let Some(name) = script.operation(NAMES.len() as u8) {
        let len = usize::from(script.u16()) % FILE_LIMIT;
        files.insert(NAMES[usize::from(name)], script.bytes(len));
    }
    let mut kernel = vec![0; 1024];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    files.entry("k").or_insert(&kernel);
    let files: Vec<(&str, &[u8])> = files.into_iter().collect();
    if let Ok(boot) = find_boot(Rc::new(fat_disk(&files)), Architecture::X86_64, None) {
        assert!(boot.write_kernel(&mut io::sink()).is_ok_and(|len| len > 0));
        assert!(boot.write_initrd(&mut io::sink()).is_ok());
        assert!(!boot.cmdline.contains('\n'));
    }
}

/// Seeds of `boot_files`: a file of each kind.
pub fn boot_files_seeds() -> Vec<Seed> {
    let grub = "set default=\"1\"\nif [ -s $prefix/grubenv ]; then load_env; fi\nsubmenu 'a' --id b { menuentry \"c\" \
                { linux /k root=LABEL=x $a \"${b} c\"; initrd /k } }\nmenuentry 'd' { linux /k }\nblscfg\n";
    let entry = "title a\nlinux /k\ninitrd /k\noptions $a root=UUID=1\nsort-key x\nversion 1\n";
    let extlinux = "default a\nlabel a\n kernel /k\n append initrd=k quiet\nlabel b\nmenu default\nlinux k\n";
    let file = |name: u8, text: &str| {
        Notation::new().u8(name).u16(text.len() as u16).bytes(text.as_bytes()).finish()
    };
    vec![
        ("grub", [file(0, grub), file(1, "a=b\nsaved_entry=d\n"), file(4, entry)].concat()),
        ("extlinux", file(2, extlinux)),
        ("systemd-boot", [file(3, "default a*\n"), file(4, entry), file(5, entry)].concat()),
        ("os-release", [file(9, "ID=a\nPRETTY_NAME=\"b \\\" c\"\n"), file(2, extlinux)].concat()),
        ("unified", file(6, "MZ")),
    ]
}

/// The body of `partitions`.
pub fn run_partitions(data: &[u8]) {
    let mut disk = data[..data.len().min(DISK_LIMIT)].to_vec();
    disk.resize(disk.len().next_multiple_of(512), 0);
    if let Ok(table) = read_partitions(&disk) {
        for partition in table.partitions {
            assert!(partition.start_bytes > 0 && partition.start_bytes < disk.len() as u64);
        }
    }
    let _ = identify(&disk);
    let disk: Rc<dyn ReadAt> = Rc::new(disk);
    let _ = open_file_system(disk.clone());
    let _ = find_boot(disk, Architecture::X86_64, None);
}

/// Seeds of `partitions`: an MBR with a chain, a GPT's header, a boot sector of FAT.
pub fn partitions_seeds() -> Vec<Seed> {
    let mut mbr = vec![0; 4096];
    for (at, kind, first) in [(446, 0x83, 1), (462, 5, 2), (1024 + 446, 0x83, 1), (1024 + 462, 5, 1)] {
        mbr[at + 4] = kind;
        mbr[at + 8] = first;
        mbr[at + 12] = 2;
    }
    for at in [510, 1024 + 510, 1536 + 510] {
        mbr[at..at + 2].copy_from_slice(&[0x55, 0xAA]);
    }
    let mut gpt = vec![0; 8192];
    gpt[512..520].copy_from_slice(b"EFI PART");
    for (at, value) in [(12, 92), (24, 1), (72, 2), (80, 4), (84, 128)] {
        gpt[512 + at] = value;
    }
    gpt[1024] = 1;
    gpt[1024 + 32] = 4;
    gpt[1024 + 40] = 9;
    let fat = fat_disk(&[("a", b"b")]);
    vec![("mbr", mbr), ("gpt", gpt), ("fat", fat[..4096].to_vec())]
}
