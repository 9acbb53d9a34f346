//! Images that are cut short, damaged, or made to do harm.

use std::io::Read;

use super::*;

fn images() -> Vec<(&'static str, Vec<u8>)> {
    let mut images = all_bzimages();
    images.push(("elf64", elf64(true)));
    images.push(("elf32", elf32(true)));
    images
}

#[test]
fn an_image_that_is_cut_short_is_refused() {
    let memory = memory(4);
    for (name, image) in images() {
        for len in (0..image.len()).step_by(64) {
            let result = load(image[..len].to_vec(), &memory, &BootConfig::default());
            assert!(result.is_err(), "{name} cut to {len} bytes");
        }
    }
}

#[test]
fn damage_is_an_error_or_harmless_but_never_a_panic() {
    let memory = memory(4);
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        // xorshift64, Marsaglia 2003
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for (_, image) in images() {
        let headers = image.len().min(0x400) as u64;
        for round in 0..200 {
            let mut damaged = image.clone();
            for _ in 0..=round % 4 {
                let range = if round % 2 == 0 { headers } else { image.len() as u64 };
                damaged[(next() % range) as usize] = next() as u8;
            }
            let _ = load(damaged, &memory, &BootConfig::default());
        }
    }
}

#[test]
fn packed_data_are_checked_to_their_end() {
    for (name, mut image) in all_bzimages() {
        if !["gzip", "xz", "zstd"].contains(&name) {
            continue;
        }
        // In the checksum behind the last segment's bytes.
        let at = image.len()
            - if name == "gzip" {
                6
            } else if name == "zstd" {
                5
            } else {
                20
            };
        image[at] ^= 0xff;
        let text = line(load(image, &memory(4), &BootConfig::default()));
        assert!(text.contains(&format!("its {name} data are damaged")), "{text}");
    }
}

#[test]
fn bombs_are_not_unpacked() {
    let bomb = |elf: &[u8]| {
        let zeros = std::io::repeat(0).take(300 << 20);
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut elf.chain(zeros), &mut encoder).unwrap();
        bzimage(&encoder.finish().unwrap())
    };
    let text = line(load(bomb(&elf64(true)), &memory(4), &BootConfig::default()));
    assert!(text.ends_with("it unpacks to more than 256 MiB"), "{text}");
    let mut far = elf64(true);
    far[72..80].copy_from_slice(&(255u64 << 40).to_le_bytes());
    let text = line(load(bzimage(&gzip(&far)), &memory(4), &BootConfig::default()));
    assert!(text.ends_with("it unpacks to more than 256 MiB"), "{text}");
}

/// Writes `value` over eight bytes of the tiny kernel's first program header.
fn with_field(offset: usize, value: u64) -> Vec<u8> {
    let mut elf = elf64(true);
    elf[64 + offset..64 + offset + 8].copy_from_slice(&value.to_le_bytes());
    elf
}

#[test]
fn segments_that_make_no_sense_are_refused() {
    const DAMAGED: &str = "it is damaged: an ELF segment makes no sense";
    let cases = [
        (with_field(32, CODE_SIZE + BSS_SIZE + 1), DAMAGED),
        (with_field(40, u64::MAX), DAMAGED),
        (with_field(8, u64::MAX - 1), DAMAGED),
        (with_field(24, 0x9_0000), "0x90000 to 0x93800, RAM for it is from 0x100000 to 0x400000"),
        (with_field(24, 0x3f_f000), "0x3ff000 to 0x402800, RAM for it is from 0x100000 to 0x400000"),
        (with_field(24, 1 << 62), "RAM for it is from 0x100000 to 0x400000"),
        (with_field(24, 0x20_0000), "its entry is not in a segment"),
        (with_field(8, 0x2000), "it is truncated: a part of the kernel is missing"),
        (with_field(40, 0), "it is damaged: it has nothing to load"),
    ];
    for (elf, expected) in cases {
        for image in [elf.clone(), bzimage(&zstd(&elf))] {
            let text = line(load(
                image,
                &memory(4),
                &BootConfig { protocol: Some(BootProtocol::Pvh), ..BootConfig::default() },
            ));
            let by_decoder = expected.contains("truncated") && text.contains("its zstd data are damaged");
            assert!(text.ends_with(expected) || by_decoder, "{text}");
        }
    }
}

#[test]
fn tables_and_notes_that_make_no_sense_are_refused_or_passed_over() {
    let mut many = elf64(true);
    many[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(line(Kernel::parse(many)).ends_with("its table of ELF segments makes no sense"));
    let mut overlapping = elf64(true);
    overlapping.copy_within(64..120, 120);
    assert!(line(Kernel::parse(overlapping)).ends_with("its ELF segments overlap in memory"));
    // A note whose name is longer than everything: there is no PVH entry then.
    let mut note = elf64(true);
    note[0x1800..0x1804].fill(0xff);
    let loaded = load(note, &memory(4), &BootConfig::default()).unwrap();
    assert_eq!(loaded.protocol, BootProtocol::Linux);
}
