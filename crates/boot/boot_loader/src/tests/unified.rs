//! Unified kernel images and several initial RAM disks.

use std::fs;
use std::path::PathBuf;

use guest_memory::Slots;

use super::fixtures::{bzimage, elf64, gzip, memory, read, u32_in};
use super::line;
use crate::boot_data::ZERO_PAGE;
use crate::bzimage::spec::{CMD_LINE_PTR, RAMDISK_IMAGE, RAMDISK_SIZE};
use crate::{BootConfig, Initrd, Kernel, LoadError};

/// A PE file of these sections, for the processors of this number.
fn image(machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    file[..2].copy_from_slice(b"MZ");
    file[0x3C] = 0x80;
    file[0x80..0x84].copy_from_slice(b"PE\0\0");
    file[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    file[0x86] = sections.len() as u8;
    for (index, (name, body)) in sections.iter().enumerate() {
        let at = 0x80 + 24 + index * 40;
        file[at..at + name.len()].copy_from_slice(name.as_bytes());
        for (field, value) in [(8, body.len()), (16, body.len()), (20, file.len())] {
            file[at + field..at + field + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        file.extend_from_slice(body);
    }
    file
}

const X86_64: u16 = 0x8664;

fn open(image: &[u8]) -> Result<Kernel, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.efi");
    fs::write(&path, image).unwrap();
    Kernel::open(&path)
}

/// The initial RAM disk that the kernel finds.
fn initrd(memory: &Slots) -> Vec<u8> {
    let page = read(memory, ZERO_PAGE, 4096);
    read(memory, u32_in(&page, RAMDISK_IMAGE).into(), u32_in(&page, RAMDISK_SIZE) as usize)
}

#[test]
fn sections_are_loaded_as_if_they_were_files() {
    let kernel = bzimage(&gzip(&elf64(false)));
    let large = vec![0xAB; 100_001];
    let file = image(
        X86_64,
        &[
            (".osrel", b"ID=x"),
            (".cmdline", b"console=ttyS0\nquiet \0rest"),
            (".initrd", &large),
            (".initrd", b"second"),
            (".linux", &kernel),
            (".ucode", b"microcode"),
        ],
    );
    let kernel = open(&file).unwrap();
    assert_eq!(kernel.command_line(), Some("console=ttyS0 quiet"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("i"), "given").unwrap();
    let given = Initrd::open(&folder.path().join("i")).unwrap();
    let config = BootConfig {
        command_line: kernel.command_line().unwrap(),
        initrds: std::slice::from_ref(&given),
        ..BootConfig::default()
    };
    // Twice, as after a reset of the guest.
    for _ in 0..2 {
        let memory = memory(64);
        kernel.load(&memory, &config).unwrap();
        let expected = [b"microcode\0\0\0", large.as_slice(), b"\0\0\0second\0\0given"].concat();
        assert!(initrd(&memory) == expected);
        let page = read(&memory, ZERO_PAGE, 4096);
        assert_eq!(read(&memory, u32_in(&page, CMD_LINE_PTR).into(), 20), b"console=ttyS0 quiet\0");
    }
}

#[test]
fn what_cannot_be_used_is_said() {
    let kernel = elf64(true);
    let cases: &[(Vec<u8>, &str)] = &[
        (image(0xAA64, &[(".linux", &kernel)]), "it is a unified kernel image for arm64"),
        (image(0x14C, &[(".linux", &kernel)]), "it is a unified kernel image for another machine"),
        (
            image(X86_64, &[(".linux", &kernel), (".dtb", b"x")]),
            "with a device tree, which a machine with ACPI does not take",
        ),
        (
            image(X86_64, &[(".linux", b"not a kernel")]),
            "the kernel in this unified kernel image: it is text, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)",
        ),
        (
            image(X86_64, &[(".text", b"x")]),
            "it is an EFI or Windows program, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)",
        ),
        (
            image(X86_64, &[(".linux", &kernel)])[..0x500].to_vec(),
            "it is damaged: a section ends behind the end of the file",
        ),
        (
            image(X86_64, &[(".linux", &kernel), (".cmdline", &[b'x'; 65537])]),
            "its command line is longer than any kernel takes",
        ),
    ];
    for (file, text) in cases {
        let error = line(open(file).map(drop));
        assert!(error.ends_with(text), "{error}");
    }
}

/// Files of these contents, as initial RAM disks.
fn initrds(folder: &tempfile::TempDir, contents: &[&[u8]]) -> Vec<Initrd> {
    let path = |index: usize| -> PathBuf { folder.path().join(index.to_string()) };
    let initrd = |(index, contents): (usize, &&[u8])| {
        fs::write(path(index), contents).unwrap();
        Initrd::open(&path(index)).unwrap()
    };
    contents.iter().enumerate().map(initrd).collect()
}

#[test]
fn several_initial_ram_disks_begin_at_multiples_of_four() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![7; 70_001];
    let cases: &[(&[&[u8]], &[u8])] = &[
        (&[b"a"], b"a"),
        (&[b"a", b"b"], b"a\0\0\0b"),
        (&[b"abcd", b"ef", b"g"], b"abcdef\0\0g"),
        (&[&large, b"x"], &[large.as_slice(), b"\0\0\0x"].concat()),
    ];
    for (contents, expected) in cases {
        let initrds = initrds(&folder, contents);
        let memory = memory(64);
        let config = BootConfig { initrds: &initrds, ..BootConfig::default() };
        Kernel::parse(bzimage(&gzip(&elf64(false)))).unwrap().load(&memory, &config).unwrap();
        assert!(initrd(&memory) == *expected, "{}", contents.len());
    }
    let too_large = initrds(&folder, &[&vec![1; 2 << 20], &vec![1; 2 << 20]]);
    let config = BootConfig { initrds: &too_large, ..BootConfig::default() };
    let error = line(Kernel::parse(elf64(true)).unwrap().load(&memory(4), &config).map(drop));
    assert_eq!(
        error,
        "cannot use the 2 initrds together: it has 4 MiB, but only 3.0 MiB of the guest's 4 MiB are free for it"
    );
}
