//! Multiboot headers that ask for the impossible, make no sense, or were made to do harm.

use super::multiboot::{HEADER_ADDRESS, HEADER_AT, header1, header2, tag, with_header, words};
use super::*;

const BASE32: u32 = BASE as u32;

/// Why an ELF file with `header` is refused.
fn refused(header: &[u8]) -> String {
    let text = line(load(with_header(elf32(false), header), &memory(4), &BootConfig::default()));
    text.strip_prefix("cannot use kernel (in memory): ").unwrap().to_owned()
}

#[test]
fn what_cannot_be_had_is_named() {
    let cases = [
        (header1(4, &[]), "Multiboot header requires a video mode, which this machine does not have"),
        (header1(8, &[]), "Multiboot header requires feature 3, which is unknown"),
        (header1(0x8001, &[]), "Multiboot header requires feature 15, which is unknown"),
        (header2(&[tag(99, 0, &[])]), "Multiboot2 header requires tag 99, which is unknown"),
        (header2(&[tag(1, 0, &[6, 22])]), "Multiboot2 header requires information 22, which is unknown"),
        (
            header2(&[tag(4, 0, &[1])]),
            "Multiboot2 header requires a text console or framebuffer, which this machine does not have",
        ),
        (
            header2(&[tag(5, 0, &[800, 600, 32])]),
            "Multiboot2 header requires a framebuffer, which this machine does not have",
        ),
        (
            header2(&[tag(7, 0, &[])]),
            "Multiboot2 header requires EFI boot services, which this machine does not have",
        ),
        (
            header2(&[tag(9, 0, &[1])]),
            "Multiboot2 header requires an entry by EFI, which this machine does not have",
        ),
    ];
    for (header, expected) in cases {
        assert_eq!(refused(&header), format!("its {expected}"));
        // Alone, with no ELF file around it, too.
        let image = [&[0; 64][..], &header, &[0; 64]].concat();
        let text = line(load(image, &memory(4), &BootConfig::default()));
        assert_eq!(text, format!("cannot use kernel (in memory): its {expected}"));
    }
}

#[test]
fn addresses_that_make_no_sense_are_refused() {
    const NONSENSE: &str = "it is damaged: the addresses in its Multiboot header make no sense";
    const NO_ENTRY: &str = "it is damaged: its entry is not in a segment";
    const NO_RAM: &str = "RAM for it is from 0x100000 to 0x400000";
    let cases: [([u32; 5], &str); 12] = [
        // Loaded from before the file, or from behind the header.
        ([HEADER_ADDRESS, HEADER_ADDRESS - HEADER_AT as u32 - 1, 0, 0, BASE32], NONSENSE),
        ([HEADER_ADDRESS, HEADER_ADDRESS + 1, 0, 0, BASE32], NONSENSE),
        ([HEADER_ADDRESS, u32::MAX, 0, 0, BASE32], NONSENSE),
        // Ends before its beginning; zeros end before the code.
        ([HEADER_ADDRESS, BASE32, BASE32, 0, BASE32], NONSENSE),
        ([HEADER_ADDRESS, BASE32, BASE32 + 0x1000, BASE32 + 0xfff, BASE32], NONSENSE),
        ([HEADER_ADDRESS, BASE32, 0, BASE32 + 1, BASE32], NONSENSE),
        // Entered before, behind, at zero.
        ([HEADER_ADDRESS, BASE32, BASE32 + 0x1000, 0, BASE32 - 1], NO_ENTRY),
        ([HEADER_ADDRESS, BASE32, BASE32 + 0x1000, 0, BASE32 + 0x1000], NO_ENTRY),
        ([HEADER_ADDRESS, BASE32, BASE32 + 0x1000, 0, 0], NO_ENTRY),
        // Beyond RAM, with zeros, below 1 MiB.
        ([HEADER_ADDRESS, BASE32, BASE32 + 0x1000, u32::MAX, BASE32], NO_RAM),
        ([0xffff_f040, 0xffff_f000, 0, 0, 0xffff_f000], NO_RAM),
        ([0x7c40, 0x7c00, 0, 0, 0x7c00], NO_RAM),
    ];
    for (fields, expected) in cases {
        let text = refused(&header1(1 << 16, &fields));
        assert!(text.ends_with(expected), "{fields:x?}: {text}");
        if fields[1] == u32::MAX {
            continue;
        }
        let text = refused(&header2(&[tag(2, 0, &fields[..4]), tag(3, 0, &fields[4..])]));
        assert!(text.ends_with(expected), "{fields:x?}: {text}");
    }
    let beyond_file = [HEADER_ADDRESS, BASE32, BASE32 + 0x2001, 0, BASE32];
    assert_eq!(refused(&header1(1 << 16, &beyond_file)), "it is truncated: a part of the kernel is missing");
    // "From the beginning" is less than the header's own offset.
    let below_zero = header2(&[tag(2, 0, &[HEADER_AT as u32 - 1, u32::MAX, 0, 0]), tag(3, 0, &[0])]);
    assert_eq!(refused(&below_zero), NONSENSE);
}

#[test]
fn tags_that_make_no_sense_are_refused() {
    let tag_of = |kind: u32, size: u32| words(&[kind, size]);
    let cases: [(Vec<u8>, &str); 9] = [
        (header2(&[tag_of(1, 7)]), "a tag in its Multiboot2 header makes no sense"),
        (header2(&[tag_of(1, 0)]), "a tag in its Multiboot2 header makes no sense"),
        (header2(&[tag_of(1, u32::MAX)]), "a tag in its Multiboot2 header makes no sense"),
        (header2(&[tag_of(6, 17)]), "a tag in its Multiboot2 header makes no sense"),
        (header2(&[tag(3, 0, &[])]), "a tag in its Multiboot2 header is too short"),
        (header2(&[tag(2, 0, &[BASE32])]), "a tag in its Multiboot2 header is too short"),
        (header2(&[tag(10, 0, &[0, 0, 0])]), "a tag in its Multiboot2 header is too short"),
        (
            header2(&[tag(2, 0, &[HEADER_ADDRESS, BASE32, 0, 0])]),
            "its Multiboot2 header has addresses but no entry",
        ),
        (header2(&[tag(10, 0, &[0, 0, 0, 3])]), "its Multiboot2 header has an unknown load preference"),
    ];
    for (header, expected) in cases {
        assert_eq!(refused(&header), format!("it is damaged: {expected}"));
    }
    // A length of nothing, of everything, and one that leaves out the end tag.
    for length in [0, 15, 0x10_0000, u32::MAX, 16] {
        let magic = 0xe852_50d6u32;
        let sum = 0u32.wrapping_sub(magic).wrapping_sub(length);
        let text = refused(&words(&[magic, 0, length, sum]));
        assert!(text.starts_with("it is damaged: "), "{text}");
    }
}

#[test]
fn images_that_cannot_be_moved_where_they_may_are_refused() {
    let cases = [
        [0x40_0000, u32::MAX, 0x1000, 1],
        [u32::MAX, u32::MAX, u32::MAX, 2],
        [0, 0x10_0000, 0x1000, 0],
        [0, u32::MAX, 0x40_0000, 1],
        [0, 0, 0, 0],
    ];
    for fields in cases {
        let text = refused(&header2(&[tag(10, 0, &fields)]));
        assert!(text.contains("it does not fit into the guest's memory"), "{text}");
    }
    let outside = refused(&header2(&[tag(10, 0, &[0, u32::MAX, 1, 1]), tag(3, 0, &[u32::MAX])]));
    assert_eq!(outside, "it is damaged: its entry is not in a segment");
    // Segments so far apart that the image is longer than any memory.
    let mut far = elf64(true);
    far[120..124].copy_from_slice(&1u32.to_le_bytes());
    let at = 120 + 24;
    far[at..at + 8].copy_from_slice(&(u64::MAX - 0x1000).to_le_bytes());
    let far = with_header(far, &header2(&[tag(10, 0, &[0, u32::MAX, 1, 2])]));
    let text = line(load(far, &memory(4), &BootConfig::default()));
    assert!(text.contains("it does not fit into the guest's memory"), "{text}");
}

#[test]
fn modules_that_do_not_fit_or_cannot_be_listed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module");
    fs::write(&path, vec![1; 2 << 20]).unwrap();
    let open = |line: &str| Module::open(&path, line).unwrap();
    for (header, protocol) in
        [(header1(0, &[]), BootProtocol::Multiboot), (header2(&[]), BootProtocol::Multiboot2)]
    {
        let image = || with_header(elf32(false), &header);
        let load_with = |modules: &[Module], mib| {
            let config = BootConfig { modules, protocol: Some(protocol), ..BootConfig::default() };
            load(image(), &memory(mib), &config)
        };
        assert!(load_with(&[open("")], 4).is_ok());
        let text = line(load_with(&[open(""), open("")], 4));
        let reason = "it has 2 MiB, but only 1008 KiB of the guest's 4 MiB are free for it";
        assert_eq!(text, format!("cannot use module {}: {reason}", path.display()));
        let long = "x".repeat(0x1_0000);
        let modules = [open(&long), open(&long), open(&long)];
        assert_eq!(line(load_with(&modules, 8)), "the list of modules with their command lines is too long");
        let line_of = |length: usize| "x".repeat(length);
        let with_line = |line: &str| {
            let config = BootConfig { command_line: line, protocol: Some(protocol), ..BootConfig::default() };
            load(image(), &memory(4), &config)
        };
        assert!(with_line(&line_of(0xffff)).is_ok());
        assert!(matches!(with_line(&line_of(0x1_0000)), Err(LoadError::CommandLineTooLong { .. })));
        assert!(matches!(with_line("a\0b"), Err(LoadError::CommandLineZero)));
    }
    assert!(line(Module::open(&path, "a\0b")).ends_with("its command line contains a zero byte"));
    assert!(line(Module::open(folder.path(), "")).ends_with("it is a folder, and a regular file is needed"));
}

#[test]
fn damage_to_headers_is_an_error_or_harmless_but_never_a_panic() {
    let fields = [HEADER_ADDRESS, BASE32, BASE32 + 0x1000, BASE32 + 0x2000, BASE32];
    let images = [
        with_header(elf32(false), &header1(1 << 16 | 3, &fields)),
        with_header(
            elf64(false),
            &header2(&[
                tag(1, 0, &[4, 6]),
                tag(2, 0, &fields[..4]),
                tag(3, 0, &fields[4..]),
                tag(10, 0, &[0, u32::MAX, 0x1000, 2]),
            ]),
        ),
    ];
    let memory = memory(4);
    for image in images {
        // Every word of the header as 0, as all ones, and one more or less; the sums are made right again.
        for word in 0..28 {
            let at = HEADER_AT + 4 * word;
            let old = u32_in(&image, at);
            for value in [0, u32::MAX, old.wrapping_add(1), old.wrapping_sub(1), old ^ 1 << 31] {
                let mut damaged = image.clone();
                damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
                fix_sums(&mut damaged);
                for image in [gzip(&damaged), damaged] {
                    if let Ok(loaded) = load(image, &memory, &BootConfig::default()) {
                        assert!((BASE..4 << 20).contains(&loaded.entry.0));
                    }
                }
            }
        }
    }
}

fn fix_sums(image: &mut [u8]) {
    let field = |index: usize| u32_in(image, HEADER_AT + 4 * index);
    let (words, at) = if field(0) == 0x1bad_b002 { (2, 8) } else { (3, 12) };
    let sum = (0..words).fold(0u32, |sum, index| sum.wrapping_sub(field(index)));
    image[HEADER_AT + at..HEADER_AT + at + 4].copy_from_slice(&sum.to_le_bytes());
}
