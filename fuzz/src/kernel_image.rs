//! Targets `bzimage`, `elf` and `multiboot`: the boot loader on kernels of any contents, into 64 MiB of RAM.
//!
//! They have one body and different seeds: which way the loader goes is in the file's first bytes.
//! Always: a kernel that was loaded is entered in RAM, and loading it again, as a reset does, comes to the
//! same. That memory stays bounded is for libFuzzer to see: `-rss_limit_mb=1024 -timeout=10`.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use boot_loader::{BootConfig, BootProtocol, Initrd, Kernel, Module};
use guest_memory::{GpaRange, GuestAddress, GuestMemory, GuestMemoryBackend, Policy, Slots};

use crate::{Notation, Script, Seed};

const RAM_BYTES: u64 = 64 << 20;
const INITRD_BYTES: usize = 100 << 10;
/// Where the seeds' kernels are loaded.
const LOAD_ADDRESS: u64 = 0x20_0000;

/// Runs one input: a byte of configuration, then the file.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let Ok(kernel) = Kernel::parse(script.remaining().to_vec()) else { return };
    let config = BootConfig {
        command_line: if flags & 8 != 0 { "console=ttyS0 panic=-1" } else { "" },
        initrds: if flags & 4 != 0 { std::slice::from_ref(initrd()) } else { &[] },
        modules: if flags & 0x40 != 0 { modules() } else { &[] },
        rsdp: Some(GuestAddress(0xe_0000)),
        protocol: match (flags & 3, flags & 0x80 != 0) {
            (0 | 1, false) => None,
            (2, false) => Some(BootProtocol::Linux),
            (_, false) => Some(BootProtocol::Pvh),
            (0 | 1, true) => Some(BootProtocol::Multiboot),
            (_, true) => Some(BootProtocol::Multiboot2),
        },
        zeroed_ram: true,
    };
    let memory = ram(flags & 0x10 != 0);
    let Ok(loaded) = kernel.load(&memory, &config) else { return };
    assert!(memory.address_in_range(loaded.entry), "the entry is in RAM");
    assert_eq!(loaded.initial.registers.rip, loaded.entry.0);
    if flags & 0x20 != 0 {
        let again = kernel.load(&memory, &BootConfig { zeroed_ram: false, ..config });
        assert_eq!(again.expect("it was loaded before"), loaded);
    }
}

/// Fresh RAM, in one region or with a hole below 1 MiB.
fn ram(hole: bool) -> Arc<Slots> {
    let range = |start: u64, end: u64| GpaRange { start: GuestAddress(start), size_bytes: end - start };
    let whole = [range(0, RAM_BYTES)];
    let split = [range(0, 0xa_0000), range(0x10_0000, RAM_BYTES)];
    let policy = Policy { huge_pages: false, ..Policy::default() };
    GuestMemory::allocate(if hole { &split } else { &whole }, policy)
        .expect("RAM is not committed yet")
        .snapshot()
}

/// An initrd that is longer than what is read at once.
fn initrd() -> &'static Initrd {
    static INITRD: OnceLock<(File, Initrd)> = OnceLock::new();
    let (_, initrd) = INITRD.get_or_init(|| {
        let mut file = host_sys::memory::memfd("fuzz-initrd", INITRD_BYTES as u64).expect("a small memfd");
        file.write_all(b"070701").expect("a memfd can be written");
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let initrd = Initrd::open(&path).expect("an initrd may hold anything");
        (file, initrd)
    });
    initrd
}

/// Two modules, one of which is told something.
fn modules() -> &'static [Module] {
    static MODULES: OnceLock<(File, [Module; 2])> = OnceLock::new();
    let (_, modules) = MODULES.get_or_init(|| {
        let file = host_sys::memory::memfd("fuzz-module", 5000).expect("a small memfd");
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let open = |line: &str| Module::open(&path, line).expect("a module may hold anything");
        let modules = [open("a line"), open("")];
        (file, modules)
    });
    modules
}

/// A program header: kind, offset and size in the file, address, size in memory.
type ProgramHeader = (u32, u64, u64, u64, u64);

const LOAD: u32 = 1;
const NOTE: u32 = 4;
const CODE: [u8; 64] = [0xf4; 64];

/// A 64-bit ELF executable that begins with `headers`, entered at [`LOAD_ADDRESS`], with `contents` behind.
fn elf64(headers: &[ProgramHeader], contents: &[u8]) -> Vec<u8> {
    let file = Notation::new().bytes(b"\x7fELF\x02\x01\x01").bytes(&[0; 9]).u16(2).u16(62).u32(1);
    let file = long(long(long(file, LOAD_ADDRESS), 64), 0).u32(0);
    let file = file.u16(64).u16(56).u16(headers.len() as u16).u16(0).u16(0).u16(0);
    let file = headers.iter().fold(file, |file, (kind, offset, file_size, address, memory_size)| {
        let file = file.u32(*kind).u32(5);
        [*offset, *address, *address, *file_size, *memory_size, 4].into_iter().fold(file, long)
    });
    file.bytes(contents).finish()
}

/// The same with 32 bits.
fn elf32(headers: &[ProgramHeader], contents: &[u8]) -> Vec<u8> {
    let file = Notation::new().bytes(b"\x7fELF\x01\x01\x01").bytes(&[0; 9]).u16(2).u16(3).u32(1);
    let file = file.u32(LOAD_ADDRESS as u32).u32(52).u32(0).u32(0);
    let file = file.u16(52).u16(32).u16(headers.len() as u16).u16(0).u16(0).u16(0);
    let file = headers.iter().fold(file, |file, (kind, offset, file_size, address, memory_size)| {
        [
            *kind,
            *offset as u32,
            *address as u32,
            *address as u32,
            *file_size as u32,
            *memory_size as u32,
            5,
            4,
        ]
        .into_iter()
        .fold(file, Notation::u32)
    });
    file.bytes(contents).finish()
}

fn long(script: Notation, value: u64) -> Notation {
    script.bytes(&value.to_le_bytes())
}

/// Xen's note that names the PVH entry, padded to the length of [`CODE`].
fn pvh_note() -> Vec<u8> {
    let note = Notation::new().u32(4).u32(4).u32(18).bytes(b"Xen\0").u32(LOAD_ADDRESS as u32).finish();
    [note, vec![0; CODE.len() - 20]].concat()
}

/// Two segments, the second with a tail of zeros; with a note or without.
fn vmlinux() -> Vec<u8> {
    let first = 64 + 3 * 56;
    let headers = [
        (LOAD, first, 64, LOAD_ADDRESS, 64),
        (LOAD, first + 64, 64, LOAD_ADDRESS + 0x1000, 0x3000),
        (NOTE, first + 64, 64, LOAD_ADDRESS + 0x1000, 64),
    ];
    elf64(&headers, &[&CODE[..], &pvh_note()].concat())
}

/// ELF files of both widths, alone.
pub fn elf_seeds() -> Vec<Seed> {
    let with = |flags: u8, file: &[u8]| [&[flags][..], file].concat();
    let small = elf64(&[(LOAD, 64 + 56, 64, LOAD_ADDRESS, 64)], &CODE);
    let narrow = elf32(
        &[(LOAD, 52 + 64, 128, LOAD_ADDRESS, 0x1000), (NOTE, 52 + 64 + 64, 64, LOAD_ADDRESS + 64, 64)],
        &[&CODE[..], &pvh_note()].concat(),
    );
    vec![
        ("small", with(0x2c, &small)),
        ("linux", with(0x3e, &vmlinux())),
        ("pvh", with(0x0f, &vmlinux())),
        ("narrow", with(0x20, &narrow)),
    ]
}

/// A bzImage around `payload`; without one, its code is the kernel.
fn bzimage(payload: Option<&[u8]>) -> Vec<u8> {
    const HEADER: usize = 0x1f1;
    const CODE_START: usize = 0x400;
    let code = payload.map_or_else(|| vec![0xf4; 0x210], <[u8]>::to_vec);
    let paragraphs = code.len().div_ceil(16) as u32;
    let header = Notation::new().u8(1).u16(0).u32(paragraphs).u16(0).u16(0).u16(0).u16(0xaa55);
    let header = header.bytes(&[0xeb, 0x6a]).bytes(b"HdrS").u16(0x020f).u32(0).u16(0).u16(0);
    let header = header.u8(0).u8(1).u16(0).u32(0x10_0000).u32(0).u32(0).u32(0).u16(0).u8(0).u8(0).u32(0);
    let header = header.u32(0x7fff_ffff).u32(0x20_0000).u8(1).u8(21).u16(1).u32(2047).u32(0);
    let header = long(header, 0).u32(0).u32(payload.map_or(0, <[u8]>::len) as u32);
    let header = long(long(header, 0), LOAD_ADDRESS).u32(0x1_0000).u32(0).finish();
    let mut file = vec![0; CODE_START];
    file[HEADER..HEADER + header.len()].copy_from_slice(&header);
    [file, code].concat()
}

/// A kernel packed in each way, and one that is not.
pub fn bzimage_seeds() -> Vec<Seed> {
    let kernel = vmlinux();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&kernel).expect("a vector takes everything");
    let gzip = gzip.finish().expect("a vector takes everything");
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(&kernel).expect("a vector takes everything");
        encoder.finish().expect("a vector takes everything")
    };
    let zstd = zstd::bulk::compress(&kernel, 3).expect("it can be packed");
    let block = lz4_flex::block::compress(&kernel);
    let lz4 = [&0x184c_2102u32.to_le_bytes()[..], &(block.len() as u32).to_le_bytes(), &block].concat();
    // Linux appends the unpacked size to what has no room for it (`scripts/Makefile.lib`, `size_append`).
    let sized = |packed: &[u8]| [packed, &(kernel.len() as u32).to_le_bytes()].concat();
    let with = |flags: u8, payload: Option<&[u8]>| [vec![flags], bzimage(payload)].concat();
    vec![
        ("gzip", with(0x2c, Some(&gzip))),
        ("xz", with(0x0e, Some(&sized(&xz)))),
        ("lz4", with(0x0f, Some(&sized(&lz4)))),
        ("zstd", with(0x20, Some(&sized(&zstd)))),
        ("stored", with(0x10, Some(&kernel))),
        ("code", with(0x2e, None)),
    ]
}

/// Fields of a header of version 1: magic, flags, checksum, and what follows.
fn multiboot(flags: u32, fields: &[u32]) -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    let fixed = [MAGIC, flags, 0u32.wrapping_sub(MAGIC).wrapping_sub(flags)];
    fixed.iter().chain(fields).copied().fold(Notation::new(), Notation::u32).finish()
}

/// A header of version 2 with `tags`, of which each has an even number of words.
fn multiboot2(tags: &[u32]) -> Vec<u8> {
    const MAGIC: u32 = 0xe852_50d6;
    let length = 16 + 4 * tags.len() as u32 + 8;
    let fixed = [MAGIC, 0, length, 0u32.wrapping_sub(MAGIC).wrapping_sub(length)];
    fixed.iter().chain(tags).chain(&[0, 8]).copied().fold(Notation::new(), Notation::u32).finish()
}

/// Multiboot kernels of both versions: ELF files, and images with addresses in their headers.
pub fn multiboot_seeds() -> Vec<Seed> {
    const LOAD32: u32 = LOAD_ADDRESS as u32;
    let with = |flags: u8, file: &[u8]| [&[flags][..], file].concat();
    let around = |header: &[u8]| {
        let contents = [header, &CODE].concat();
        let size = contents.len() as u64;
        elf32(&[(LOAD, 52 + 32, size, LOAD_ADDRESS, size + 0x1000)], &contents)
    };
    let addresses = [LOAD32, LOAD32, LOAD32 + 64, LOAD32 + 0x2000, LOAD32 + 32];
    let tags2 = [[2, 24, LOAD32, LOAD32, LOAD32 + 96, 0].as_slice(), &[3, 12, LOAD32 + 72, 0]].concat();
    let raw = [multiboot(1 << 16 | 3, &addresses), CODE.to_vec()].concat();
    let raw2 = [multiboot2(&tags2), CODE.to_vec()].concat();
    // Header at a multiple of 8: the program header ends at 84.
    let moving = [vec![0; 4], multiboot2(&[10, 24, 0x30_0000, u32::MAX, 0x1000, 2, 1, 16, 4, 6])].concat();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&raw).expect("a vector takes everything");
    let gzip = gzip.finish().expect("a vector takes everything");
    vec![
        ("elf", with(0x6c, &around(&multiboot(3, &[])))),
        ("elf2", with(0x68, &around(&moving))),
        ("addresses", with(0x20, &raw)),
        ("addresses2", with(0x60, &raw2)),
        ("packed", with(0x28, &gzip)),
        ("forced", with(0xe8, &raw)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_kernels_that_load() {
        for (name, seed) in [bzimage_seeds(), elf_seeds(), multiboot_seeds()].concat() {
            let kernel =
                Kernel::parse(seed[1..].to_vec()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let config = BootConfig { zeroed_ram: true, ..BootConfig::default() };
            kernel.load(&ram(false), &config).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }
}
