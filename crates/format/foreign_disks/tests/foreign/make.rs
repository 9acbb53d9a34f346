//! VHDX, VMDK, VHD and VDI images, made by hand for tests and fuzz targets.

use std::io::Write;

const MIB: usize = 1 << 20;

/// Where a VHDX image of ours has its parts, in bytes.
pub const VHDX_BAT: usize = MIB;
/// The metadata table; its items are 64 KiB behind it.
pub const VHDX_METADATA: usize = 2 * MIB;
/// The first block.
pub const VHDX_BLOCKS: usize = 3 * MIB;
/// What has a checksum: where, and how long.
pub const VHDX_SUMMED: [(usize, usize); 4] =
    [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10), (256 << 10, 64 << 10)];

const BAT_GUID: &str = "6677c22d23f600429d64115e9bfd4a08";
const METADATA_GUID: &str = "06a27c8b90479a4bb8fe575f050f886e";
const PARAMETERS_GUID: &str = "3767a1ca36fa434db3b633f0aa44e76b";
const SIZE_GUID: &str = "2442a52f1bcd7648b2115dbed83bf4b8";
const SECTOR_GUID: &str = "1dbf41816fa90947ba47f233a8faab5f";

/// A VHDX image with blocks of 1 MiB, of which `blocks` are there: number and contents.
pub fn vhdx(size_bytes: u64, blocks: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; VHDX_BLOCKS + blocks.len() * MIB];
    put(&mut bytes, 0, b"vhdxfile");
    for (number, (at, _)) in VHDX_SUMMED.into_iter().enumerate() {
        if number < 2 {
            put(&mut bytes, at, b"head");
            put(&mut bytes, at + 8, &(number as u64).to_le_bytes());
            put(&mut bytes, at + 66, &1u16.to_le_bytes());
        } else {
            put(&mut bytes, at, b"regi");
            put(&mut bytes, at + 8, &2u32.to_le_bytes());
            region(&mut bytes, at + 16, BAT_GUID, VHDX_BAT, MIB);
            region(&mut bytes, at + 48, METADATA_GUID, VHDX_METADATA, MIB);
        }
    }
    put(&mut bytes, VHDX_METADATA, b"metadata");
    put(&mut bytes, VHDX_METADATA + 10, &3u16.to_le_bytes());
    let items: [(&str, Vec<u8>); 3] = [
        (PARAMETERS_GUID, (MIB as u64).to_le_bytes().to_vec()),
        (SIZE_GUID, size_bytes.to_le_bytes().to_vec()),
        (SECTOR_GUID, 512u32.to_le_bytes().to_vec()),
    ];
    for (number, (guid, value)) in items.iter().enumerate() {
        let (entry, place) = (VHDX_METADATA + 32 * (number + 1), (64 << 10) + number * 16);
        put(&mut bytes, entry, &guid_bytes(guid));
        put(&mut bytes, entry + 16, &(place as u32).to_le_bytes());
        put(&mut bytes, entry + 20, &(value.len() as u32).to_le_bytes());
        put(&mut bytes, entry + 24, &4u32.to_le_bytes());
        put(&mut bytes, VHDX_METADATA + place, value);
    }
    for (index, (number, contents)) in blocks.iter().enumerate() {
        let place = VHDX_BLOCKS + index * MIB;
        put(&mut bytes, place, contents);
        // A chunk has 4096 blocks of this size, and an entry for its bitmap behind them.
        let entry = VHDX_BAT + (number + number / 4096) as usize * 8;
        put(&mut bytes, entry, &(place as u64 | 6).to_le_bytes());
    }
    sum_vhdx(&mut bytes);
    bytes
}

/// Makes the checksums of a VHDX image right.
pub fn sum_vhdx(bytes: &mut [u8]) {
    for (at, length) in VHDX_SUMMED {
        if let Some(part) = bytes.get_mut(at..at + length) {
            part[4..8].fill(0);
            let sum = crc32c::crc32c(part);
            part[4..8].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

fn region(bytes: &mut [u8], at: usize, guid: &str, offset: usize, length: usize) {
    put(bytes, at, &guid_bytes(guid));
    put(bytes, at + 16, &(offset as u64).to_le_bytes());
    put(bytes, at + 24, &(length as u32).to_le_bytes());
    put(bytes, at + 28, &1u32.to_le_bytes());
}

fn guid_bytes(text: &str) -> Vec<u8> {
    (0..16).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap_or(0)).collect()
}

/// How the grains of a VMDK image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grains {
    /// As they are: monolithicSparse.
    Plain,
    /// Deflated, with the directory at the end: streamOptimized.
    Deflated,
}

/// Bytes of a grain of ours.
pub const GRAIN_BYTES: usize = 4096;

/// A VMDK image with grains of 4 KiB, of which `grains` are there: number and contents.
pub fn vmdk(size_bytes: u64, kind: Grains, grains: &[(u32, &[u8])]) -> Vec<u8> {
    let (flags, name) = match kind {
        Grains::Plain => (1u32, "monolithicSparse"),
        Grains::Deflated => (1 | 1 << 16 | 1 << 17, "streamOptimized"),
    };
    let descriptor = format!("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"{name}\"\n");
    let mut bytes = vec![0; 1024];
    put(&mut bytes, 512, descriptor.as_bytes());
    let tables = (size_bytes.div_ceil(512 * GRAIN_BYTES as u64)) as usize;
    let mut places = vec![0u32; tables * 512];
    for (number, contents) in grains {
        let mut grain = contents.to_vec();
        grain.resize(GRAIN_BYTES, 0);
        places[*number as usize] = (bytes.len() / 512) as u32;
        if kind == Grains::Deflated {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            grain = encoder.write_all(&grain).and_then(|()| encoder.finish()).unwrap_or_default();
            bytes.extend((u64::from(*number) * (GRAIN_BYTES / 512) as u64).to_le_bytes());
            bytes.extend((grain.len() as u32).to_le_bytes());
        }
        bytes.extend(grain);
        pad(&mut bytes);
    }
    let first_table = bytes.len() / 512;
    bytes.extend(places.iter().flat_map(|place| place.to_le_bytes()));
    let directory = bytes.len() / 512;
    bytes.extend((0..tables).flat_map(|table| ((first_table + table * 4) as u32).to_le_bytes()));
    pad(&mut bytes);
    let header = |directory: u64| {
        let mut header = vec![0; 512];
        put(&mut header, 0, b"KDMV");
        put(&mut header, 4, &1u32.to_le_bytes());
        put(&mut header, 8, &flags.to_le_bytes());
        put(&mut header, 12, &(size_bytes / 512).to_le_bytes());
        put(&mut header, 20, &((GRAIN_BYTES / 512) as u64).to_le_bytes());
        put(&mut header, 28, &1u64.to_le_bytes());
        put(&mut header, 36, &1u64.to_le_bytes());
        put(&mut header, 44, &512u32.to_le_bytes());
        put(&mut header, 56, &directory.to_le_bytes());
        put(&mut header, 73, b"\n \r\n");
        put(&mut header, 77, &u16::from(kind == Grains::Deflated).to_le_bytes());
        header
    };
    match kind {
        Grains::Plain => put(&mut bytes, 0, &header(directory as u64)),
        Grains::Deflated => {
            put(&mut bytes, 0, &header(u64::MAX));
            bytes.extend(header(directory as u64));
            bytes.extend([0; 512]);
        }
    }
    bytes
}

fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    bytes[at..at + data.len()].copy_from_slice(data);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

/// Bytes of a block of ours, in VHD and in VDI images.
pub const BLOCK_BYTES: usize = 64 << 10;

/// A footer of a VHD image: its type, the program that made it, its current size, and its geometry.
pub fn vhd_footer(kind: u32, program: &[u8; 4], size_bytes: u64, geometry: (u16, u8, u8)) -> Vec<u8> {
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix");
    put(&mut footer, 12, &(1u32 << 16).to_be_bytes());
    put(&mut footer, 16, &if kind == 2 { u64::MAX } else { 512 }.to_be_bytes());
    put(&mut footer, 28, program);
    put(&mut footer, 40, &size_bytes.to_be_bytes());
    put(&mut footer, 48, &size_bytes.to_be_bytes());
    put(&mut footer, 56, &geometry.0.to_be_bytes());
    put(&mut footer, 58, &[geometry.1, geometry.2]);
    put(&mut footer, 60, &kind.to_be_bytes());
    sum_vhd(&mut footer, 64);
    footer
}

/// Where a dynamic VHD image of ours has its header and its table, in bytes.
pub const VHD_HEADER: usize = 512;
pub const VHD_BAT: usize = 1536;

/// A dynamic VHD image with blocks of 64 KiB, of which `blocks` are there: number and contents.
pub fn vhd(size_bytes: u64, blocks: &[(usize, &[u8])]) -> Vec<u8> {
    let footer = vhd_footer(3, b"win ", size_bytes, (65535, 16, 255));
    let entries = size_bytes.div_ceil(BLOCK_BYTES as u64) as usize;
    let mut bytes = footer.clone();
    bytes.resize(VHD_BAT, 0);
    put(&mut bytes, VHD_HEADER, b"cxsparse");
    put(&mut bytes, VHD_HEADER + 8, &u64::MAX.to_be_bytes());
    put(&mut bytes, VHD_HEADER + 16, &(VHD_BAT as u64).to_be_bytes());
    put(&mut bytes, VHD_HEADER + 24, &(1u32 << 16).to_be_bytes());
    put(&mut bytes, VHD_HEADER + 28, &(entries as u32).to_be_bytes());
    put(&mut bytes, VHD_HEADER + 32, &(BLOCK_BYTES as u32).to_be_bytes());
    sum_vhd(&mut bytes[VHD_HEADER..VHD_HEADER + 1024], 36);
    bytes.resize((VHD_BAT + entries * 4).next_multiple_of(512), 0xff);
    for (number, contents) in blocks {
        let place = (bytes.len() / 512) as u32;
        put(&mut bytes, VHD_BAT + number * 4, &place.to_be_bytes());
        bytes.extend([0xff; 512]);
        let start = bytes.len();
        bytes.extend(*contents);
        bytes.resize(start + BLOCK_BYTES, 0);
    }
    bytes.extend(footer);
    bytes
}

/// Makes the checksum of a VHD structure right, which is at `checksum_at` in it.
pub fn sum_vhd(bytes: &mut [u8], checksum_at: usize) {
    put(bytes, checksum_at, &[0; 4]);
    let sum = bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    put(bytes, checksum_at, &(!sum).to_be_bytes());
}

/// Where a VDI image of ours has its map and its first block, in bytes.
pub const VDI_MAP: usize = 512;
pub const VDI_BLOCKS: usize = 4096;

/// A VDI image with blocks of 64 KiB, of which `blocks` are there: number and contents.
pub fn vdi(size_bytes: u64, blocks: &[(usize, &[u8])]) -> Vec<u8> {
    let entries = size_bytes.div_ceil(BLOCK_BYTES as u64) as usize;
    let mut bytes = vec![0; VDI_BLOCKS];
    put(&mut bytes, 0, b"<<< made by hand >>>\n");
    for (at, value) in [
        (64, 0xbeda_107f),
        (68, 0x1_0001),
        (72, 400),
        (76, 1),
        (340, VDI_MAP as u32),
        (344, VDI_BLOCKS as u32),
        (360, 512),
        (376, BLOCK_BYTES as u32),
        (384, entries as u32),
        (388, blocks.len() as u32),
    ] {
        put(&mut bytes, at, &u32::to_le_bytes(value));
    }
    put(&mut bytes, 368, &size_bytes.to_le_bytes());
    put(&mut bytes, VDI_MAP, &vec![0xff; entries * 4]);
    for (index, (number, contents)) in blocks.iter().enumerate() {
        put(&mut bytes, VDI_MAP + number * 4, &(index as u32).to_le_bytes());
        let start = bytes.len();
        bytes.extend(*contents);
        bytes.resize(start + BLOCK_BYTES, 0);
    }
    bytes
}
