//! What a file that is not a kernel looks like, so that the error can say it.

/// Contents at an offset, and what has them.
const MAGICS: &[(usize, &[u8], &str)] = &[
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
    (0, b"\x02\x21\x4c\x18", "an lz4 file"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\x89LZO", "an lzop file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"!<arch>\n", "a Debian package or library"),
    (0, b"070701", "an initramfs (cpio archive)"),
    (0, b"\xc7\x71", "an initramfs (cpio archive)"),
    (0, b"QFI\xfb", "a qcow2 disk image"),
    (0, b"\x27\x05\x19\x56", "a U-Boot image"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree"),
    (0, b"#!", "a script"),
    (56, b"ARM\x64", "an arm64 Image"),
    (56, b"RSC\x05", "a riscv64 Image"),
    (257, b"ustar", "a tar archive"),
    (0, b"MZ", "an EFI or Windows program"),
    (510, b"\x55\xaa", "a disk image with a boot sector"),
];

/// How much of a file [`looks_like`] wants to see, in bytes.
pub(crate) const HEAD_SIZE: usize = 4096;

/// What a file that begins with `head` looks like, with its article.
pub(crate) fn looks_like(head: &[u8]) -> &'static str {
    for (offset, magic, name) in MAGICS {
        if head.get(*offset..).is_some_and(|rest| rest.starts_with(magic)) {
            return name;
        }
    }
    if head.iter().all(|byte| *byte == 0) {
        "a file of zeros"
    } else if head.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..)) {
        "text"
    } else {
        "data of unknown kind"
    }
}

/// Machines that have an ELF number (System V gABI, `e_machine`).
pub(crate) fn elf_for(machine: u16) -> &'static str {
    match machine {
        3 => "a 32-bit x86 ELF file",
        40 => "an ELF file for 32-bit ARM",
        62 => "an x86-64 ELF file",
        183 => "an ELF file for arm64",
        243 => "an ELF file for RISC-V",
        _ => "an ELF file for another machine",
    }
}
