//! VHD and VDI images.

use disk::SourceFormat;

use super::make::{BLOCK_BYTES, VDI_MAP, VHD_BAT, VHD_HEADER, sum_vhd, vdi, vhd, vhd_footer};
use super::{complaint, open, source, temporary};

/// Three blocks and a bit.
const SIZE_BYTES: u64 = 3 * BLOCK_BYTES as u64 + 512;

fn sound_vhd() -> Vec<u8> {
    vhd(SIZE_BYTES, &[(1, &[1; BLOCK_BYTES]), (3, &[3; 512])])
}

fn sound_vdi() -> Vec<u8> {
    vdi(SIZE_BYTES, &[(3, &[3; 512]), (1, &[1; BLOCK_BYTES])])
}

fn fixed_vhd(program: &[u8; 4], size_bytes: u64, geometry: (u16, u8, u8)) -> Vec<u8> {
    let mut image = vec![7; size_bytes as usize];
    image.extend(vhd_footer(2, program, size_bytes, geometry));
    image
}

fn with(mut image: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

#[test]
fn blocks_are_where_they_belong() {
    for (image, format) in [(sound_vhd(), SourceFormat::Vhd), (sound_vdi(), SourceFormat::Vdi)] {
        let disk = open(image, format).unwrap();
        assert_eq!(disk.len_bytes(), SIZE_BYTES);
        let mut all = vec![9; SIZE_BYTES as usize];
        disk.read_at(0, &mut all).unwrap();
        let expected = |at: usize| match at / BLOCK_BYTES {
            1 => 1,
            3 => 3,
            _ => 0,
        };
        assert!(all.iter().enumerate().all(|(at, byte)| *byte == expected(at)), "{format}");
        disk.read_at(SIZE_BYTES - 1, &mut [0; 2]).unwrap_err();
    }
}

/// The footer has a size and a geometry, which is rounded down; which of them is meant depends on who wrote it.
#[test]
fn vhd_disks_are_as_long_as_their_makers_mean() {
    const CYLINDER: u64 = 16 * 17 * 512;
    let (odd, even) = (10 * CYLINDER + 4096, 10 * CYLINDER);
    for (program, geometry, current, expected) in [
        (b"vpc ", (10, 16, 17), odd, even),
        (b"vs  ", (10, 16, 17), odd, even),
        (b"qemu", (10, 16, 17), even, even),
        (b"win ", (10, 16, 17), odd, odd),
        (b"qem2", (10, 16, 17), odd, odd),
        (b"vbox", (10, 16, 17), odd, odd),
        (b"wa\0\0", (10, 16, 17), odd, odd),
        (b"d2v ", (10, 16, 17), odd, odd),
        (b"tap\0", (10, 16, 17), odd, odd),
        // Geometries that are of no use: of a disk that is too long for one, of another disk, of none.
        (b"vpc ", (65535, 16, 255), odd, odd),
        (b"vpc ", (3, 16, 17), odd, odd),
        (b"vpc ", (11, 16, 17), odd, odd),
        (b"vpc ", (0, 16, 17), odd, odd),
        (b"vpc ", (0, 0, 0), odd, odd),
    ] {
        let disk = open(fixed_vhd(program, current, geometry), SourceFormat::Vhd).unwrap();
        assert_eq!(disk.len_bytes(), expected, "{} {geometry:?}", program.escape_ascii());
        let mut all = vec![0; expected as usize];
        disk.read_at(0, &mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn a_damaged_vhd_footer_has_a_copy() {
    let image = sound_vhd();
    let end = image.len() - 512;
    for damaged in [
        with(image.clone(), end, b"nothing!"),
        with(image.clone(), end + 50, b"x"),
        image[..end].to_vec(),
        image[..end + 100].to_vec(),
        with(image.clone(), 0, b"nothing!"),
    ] {
        assert_eq!(open(damaged, SourceFormat::Vhd).unwrap().len_bytes(), SIZE_BYTES);
    }
    let both = with(with(image, end + 50, b"x"), 50, b"x");
    assert!(complaint(both, SourceFormat::Vhd).contains("its footer is not what its checksum says"));
    // Virtual PC wrote one byte less before 2004.
    let mut old = fixed_vhd(b"vpc ", 1 << 20, (65535, 16, 255));
    old.pop();
    assert_eq!(open(old, SourceFormat::Vhd).unwrap().len_bytes(), 1 << 20);
}

#[test]
fn vhd_images_that_lie_are_told() {
    let header = |at: usize, bytes: &[u8]| {
        let mut image = with(sound_vhd(), VHD_HEADER + at, bytes);
        sum_vhd(&mut image[VHD_HEADER..VHD_HEADER + 1024], 36);
        image
    };
    let footer = |at: usize, bytes: &[u8]| {
        let mut image = sound_vhd();
        let end = image.len() - 512;
        image = with(image, end + at, bytes);
        sum_vhd(&mut image[end..], 64);
        image
    };
    let fixed = fixed_vhd(b"win ", 1 << 20, (65535, 16, 255));
    for (image, words) in [
        (vec![0; 4096], "does not begin as a VHD image, nor does it end as one does"),
        (b"conectix".to_vec(), "checksum"),
        (fixed[512..].to_vec(), "shorter than its disk"),
        (fixed[..512].iter().chain(&fixed[..4096]).copied().collect(), "nor does it end as one"),
        (vhd_footer(2, b"win ", 1 << 20, (1, 1, 1)), "cut short"),
        (footer(60, &4u32.to_be_bytes()), "a differencing image"),
        (footer(60, &9u32.to_be_bytes()), "VHD type 9"),
        (footer(12, &(2u32 << 16).to_be_bytes()), "VHD version 2.0"),
        (footer(48, &(1u64 << 60).to_be_bytes()), "a disk of 1152921504606846976 bytes"),
        (footer(48, &0u64.to_be_bytes()), "a disk of 0 bytes"),
        (footer(48, &513u64.to_be_bytes()), "a disk of 513 bytes"),
        (footer(48, &(1u64 << 40).to_be_bytes()), "too short for the disk"),
        (footer(16, &u64::MAX.to_be_bytes()), "behind the end of the file"),
        (footer(16, &0u64.to_be_bytes()), "its header is not what its checksum says"),
        (with(sound_vhd(), VHD_HEADER + 20, b"x"), "its header is not what its checksum says"),
        (header(32, &3u32.to_be_bytes()), "blocks of 3 bytes"),
        (header(32, &(1u32 << 31).to_be_bytes()), "blocks of 2147483648 bytes"),
        (header(28, &1u32.to_be_bytes()), "too short for the disk"),
        (header(16, &(1u64 << 62).to_be_bytes()), "impossible place"),
        (header(16, &1537u64.to_be_bytes()), "impossible place"),
        (with(sound_vhd(), VHD_BAT, &0xffff_fffeu32.to_be_bytes()), "behind the end of the file"),
    ] {
        let found = complaint(image, SourceFormat::Vhd);
        assert!(found.contains(words), "{found}, not {words}");
    }
}

#[test]
fn vdi_images_that_lie_are_told() {
    let image = |at: usize, bytes: &[u8]| with(sound_vdi(), at, bytes);
    for (image, words) in [
        (image(64, b"nope"), "does not begin as a VDI image"),
        (image(68, &2u32.to_le_bytes()), "VDI version 0.2"),
        (image(68, &(2u32 << 16).to_le_bytes()), "VDI version 2.0"),
        (image(76, &4u32.to_le_bytes()), "in front of another one"),
        (image(76, &3u32.to_le_bytes()), "in front of another one"),
        (image(76, &9u32.to_le_bytes()), "VDI type 9"),
        (image(424, b"x"), "in front of another one"),
        (image(455, b"x"), "in front of another one"),
        (image(360, &4096u32.to_le_bytes()), "sectors of 4096 bytes"),
        (image(376, &3u32.to_le_bytes()), "blocks of 3 bytes"),
        (image(376, &(1u32 << 31).to_le_bytes()), "blocks of 2147483648 bytes"),
        (image(380, &u32::MAX.to_le_bytes()), "before each block"),
        (image(368, &0u64.to_le_bytes()), "a disk of 0 bytes"),
        (image(368, &u64::MAX.to_le_bytes()), "bytes is impossible"),
        (image(368, &(1u64 << 40).to_le_bytes()), "too short for the disk"),
        (image(384, &1u32.to_le_bytes()), "too short for the disk"),
        (image(340, &3u32.to_le_bytes()), "impossible place"),
        (image(340, &0u32.to_le_bytes()), "impossible place"),
        (image(340, &0xffff_fff0u32.to_le_bytes()), "behind the end of the file"),
        (image(344, &u32::MAX.to_le_bytes()), "behind the end of the file"),
        (image(VDI_MAP, &0xffff_fffdu32.to_le_bytes()), "behind the end of the file"),
    ] {
        let found = complaint(image, SourceFormat::Vdi);
        assert!(found.contains(words), "{found}, not {words}");
    }
    // Blocks that were discarded are zeros, and so is what VirtualBox calls a fixed image where nothing is in it.
    let discarded = image(VDI_MAP + 4, &0xffff_fffeu32.to_le_bytes());
    let mut block = vec![1; BLOCK_BYTES];
    open(discarded, SourceFormat::Vdi).unwrap().read_at(BLOCK_BYTES as u64, &mut block).unwrap();
    assert!(block.iter().all(|byte| *byte == 0));
}

#[test]
fn images_that_are_cut_short_never_read_as_whole() {
    for (image, format) in [(sound_vhd(), SourceFormat::Vhd), (sound_vdi(), SourceFormat::Vdi)] {
        // Of the last block only 512 bytes are on the disk, and the footer's copy stands in for it.
        let end = if format == SourceFormat::Vhd { image.len() - 512 - BLOCK_BYTES } else { image.len() };
        for length in (0..end).step_by(end / 150) {
            let Ok(disk) = open(image[..length].to_vec(), format) else { continue };
            let mut all = vec![0; disk.len_bytes() as usize];
            disk.read_at(0, &mut all).unwrap_err();
        }
    }
}

#[test]
fn changed_bytes_are_errors_or_other_disks() {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for round in 0..3000 {
        let (mut image, format) = match round % 2 {
            0 => (sound_vhd(), SourceFormat::Vhd),
            _ => (sound_vdi(), SourceFormat::Vdi),
        };
        for _ in 0..1 + next() % 4 {
            image[next() % 2048] = next() as u8;
        }
        if format == SourceFormat::Vhd {
            let end = image.len() - 512;
            image.copy_within(..512, end);
            sum_vhd(&mut image[end..], 64);
            sum_vhd(&mut image[VHD_HEADER..VHD_HEADER + 1024], 36);
        }
        if let Ok(disk) = open(image, format) {
            let mut out = vec![0; (disk.len_bytes() as usize).min(5 << 20)];
            // Right or wrong, but it comes back.
            let _ = disk.read_at(0, &mut out);
        }
    }
}

#[test]
fn disks_are_described() {
    for (image, format, kind) in [
        (sound_vhd(), SourceFormat::Vhd, "dynamic, blocks of 64 KiB"),
        (fixed_vhd(b"win ", SIZE_BYTES, (1, 1, 1)), SourceFormat::Vhd, "fixed"),
        (sound_vdi(), SourceFormat::Vdi, "dynamic, blocks of 64 KiB"),
        (with(sound_vdi(), 76, &2u32.to_le_bytes()), SourceFormat::Vdi, "fixed, blocks of 64 KiB"),
    ] {
        let info = foreign_disks::describe_source(source(&temporary(&image), format, "a")).unwrap();
        assert_eq!((info.size_bytes, &*info.kind), (SIZE_BYTES, kind));
    }
}
