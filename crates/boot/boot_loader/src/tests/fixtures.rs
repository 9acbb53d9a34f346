//! Kernels made for tests: a tiny ELF file, and bzImages around it.

use std::io::Write;
use std::sync::Arc;

use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy, Slots};

use crate::bzimage::spec::*;

/// Where the tiny kernel is linked to run.
pub const BASE: u64 = 0x10_0000;
/// Its code: eight KiB, of which the second page is zeros.
pub const CODE_SIZE: u64 = 0x2000;
/// Uninitialized memory behind the code.
pub const BSS_SIZE: u64 = 0x1800;
/// Its PVH entry.
pub const PVH_ENTRY: u32 = 0x10_0040;
/// File offset of its segment.
const OFFSET: u64 = 0x1000;
/// Offset of the note from the segment's start.
const NOTE: u64 = 0x800;

pub fn memory(mib: u64) -> Arc<Slots> {
    let range = GpaRange { start: GuestAddress(0), size_bytes: mib << 20 };
    GuestMemory::allocate(&[range], Policy { huge_pages: false, ..Policy::default() }).unwrap().snapshot()
}

pub fn read(memory: &Slots, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

pub fn u64_in(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

pub fn u32_in(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

/// What the tiny kernel looks like in memory.
pub fn code() -> Vec<u8> {
    let mut code: Vec<u8> = (0..CODE_SIZE).map(|at| (at * 7 + at / 256) as u8).collect();
    code[0x1000..].fill(0);
    let note: Vec<u8> = [
        // Another owner's note first.
        [4u32.to_le_bytes(), 5u32.to_le_bytes(), 18u32.to_le_bytes(), *b"GNU\0", [1; 4], [2, 0, 0, 0]]
            .concat(),
        [4u32.to_le_bytes(), 4u32.to_le_bytes(), 18u32.to_le_bytes(), *b"Xen\0", PVH_ENTRY.to_le_bytes()]
            .concat(),
    ]
    .concat();
    code[NOTE as usize..NOTE as usize + note.len()].copy_from_slice(&note);
    code
}

/// A tiny 64-bit kernel, with a note that names a PVH entry or without. Its entry is a virtual address.
pub fn elf64(with_note: bool) -> Vec<u8> {
    const VIRTUAL: u64 = 0xffff_ffff_8000_0000;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    put16(&mut file, &[2, 62, 1, 0]);
    put64(&mut file, &[VIRTUAL + BASE + 0x80, 64, 0]);
    put16(&mut file, &[0, 0, 64, 56, 1 + u16::from(with_note), 0, 0, 0]);
    put16(&mut file, &[1, 0, 7, 0]);
    put64(&mut file, &[OFFSET, VIRTUAL + BASE, BASE, CODE_SIZE, CODE_SIZE + BSS_SIZE, 0x1000]);
    if with_note {
        put16(&mut file, &[4, 0, 4, 0]);
        put64(&mut file, &[OFFSET + NOTE, VIRTUAL + BASE + NOTE, BASE + NOTE, 44, 44, 4]);
    }
    file.resize(OFFSET as usize, 0);
    file.extend_from_slice(&code());
    file
}

/// The same as a 32-bit file.
pub fn elf32(with_note: bool) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    put16(&mut file, &[2, 3, 1, 0]);
    put32(&mut file, &[BASE as u32, 52, 0, 0]);
    put16(&mut file, &[52, 32, 1 + u16::from(with_note), 0, 0, 0]);
    let sizes = [CODE_SIZE as u32, (CODE_SIZE + BSS_SIZE) as u32, 7, 0x1000];
    put32(&mut file, &[1, OFFSET as u32, BASE as u32, BASE as u32]);
    put32(&mut file, &sizes);
    if with_note {
        let (offset, address) = ((OFFSET + NOTE) as u32, (BASE + NOTE) as u32);
        put32(&mut file, &[4, offset, address, address, 44, 44, 4, 4]);
    }
    file.resize(OFFSET as usize, 0);
    file.extend_from_slice(&code());
    file
}

fn put16(file: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
}

fn put32(file: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
}

fn put64(file: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
}

/// A bzImage of protocol 2.15 around a packed kernel.
pub fn bzimage(payload: &[u8]) -> Vec<u8> {
    const CODE_START: usize = 1024;
    const PAYLOAD: usize = 0x300;
    let mut file = vec![0; CODE_START + PAYLOAD];
    file.extend_from_slice(payload);
    let paragraphs = (file.len() - CODE_START).div_ceil(16) as u32;
    file[SETUP_SECTS] = 1;
    file[HEADER_LENGTH] = 0x6a;
    let mut set = |offset: usize, bytes: &[u8]| file[offset..offset + bytes.len()].copy_from_slice(bytes);
    set(SYSSIZE, &paragraphs.to_le_bytes());
    set(BOOT_FLAG, &BOOT_FLAG_VALUE);
    set(HEADER, &HEADER_VALUE);
    set(VERSION, &0x020fu16.to_le_bytes());
    set(LOADFLAGS, &[0x83]);
    set(INITRD_ADDR_MAX, &0x7fff_ffffu32.to_le_bytes());
    set(XLOADFLAGS, &0x3fu16.to_le_bytes());
    set(CMDLINE_SIZE, &100u32.to_le_bytes());
    set(PAYLOAD_OFFSET, &(PAYLOAD as u32).to_le_bytes());
    set(PAYLOAD_LENGTH, &(payload.len() as u32).to_le_bytes());
    set(PREF_ADDRESS, &BASE.to_le_bytes());
    set(INIT_SIZE, &0x8000u32.to_le_bytes());
    file
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// As Linux packs: with the filter for x86 code and a CRC32.
pub fn xz(data: &[u8]) -> Vec<u8> {
    use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
    let mut filters = Filters::new();
    filters.x86().lzma2(&LzmaOptions::new_preset(0).unwrap());
    let stream = Stream::new_stream_encoder(&filters, Check::Crc32).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// lz4's legacy frame in blocks of 8 MiB.
pub fn lz4(data: &[u8]) -> Vec<u8> {
    let mut file = b"\x02\x21\x4c\x18".to_vec();
    for block in data.chunks(8 << 20) {
        let packed = lz4_flex::block::compress(block);
        file.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        file.extend_from_slice(&packed);
    }
    file
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// What Linux's build appends to every payload but gzip's, which has it anyway: the unpacked size.
pub fn with_size(mut packed: Vec<u8>, unpacked: usize) -> Vec<u8> {
    packed.extend_from_slice(&(unpacked as u32).to_le_bytes());
    packed
}

/// The tiny kernel in every packing.
pub fn all_bzimages() -> Vec<(&'static str, Vec<u8>)> {
    let elf = elf64(true);
    vec![
        ("unpacked", bzimage(&elf)),
        ("gzip", bzimage(&gzip(&elf))),
        ("xz", bzimage(&with_size(xz(&elf), elf.len()))),
        ("lz4", bzimage(&with_size(lz4(&elf), elf.len()))),
        ("zstd", bzimage(&with_size(zstd(&elf), elf.len()))),
    ]
}
