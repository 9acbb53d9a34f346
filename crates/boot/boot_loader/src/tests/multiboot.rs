//! Multiboot kernels of both versions: which are recognized, what is loaded, what the kernel is told.

use super::*;
use crate::boot_data::BOOT_INFO;

/// Where the header of the images here lies in the file.
pub const HEADER_AT: usize = 0x1040;
/// Its address in the tiny kernel.
pub const HEADER_ADDRESS: u32 = BASE as u32 + 0x40;

/// Puts `header` into an ELF file or raw code, over what is there.
pub fn with_header(mut image: Vec<u8>, header: &[u8]) -> Vec<u8> {
    image[HEADER_AT..HEADER_AT + header.len()].copy_from_slice(header);
    image
}

pub fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A header of version 1 with its address fields, if any.
pub fn header1(flags: u32, fields: &[u32]) -> Vec<u8> {
    let magic = 0x1bad_b002u32;
    let fixed = [magic, flags, 0u32.wrapping_sub(magic).wrapping_sub(flags)];
    words(&[&fixed, fields].concat())
}

/// A tag of version 2, padded.
pub fn tag(kind: u16, flags: u16, fields: &[u32]) -> Vec<u8> {
    let size = 8 + 4 * fields.len() as u32;
    let mut tag = words(&[u32::from(kind) | u32::from(flags) << 16, size]);
    tag.extend(words(fields));
    tag.resize(tag.len().next_multiple_of(8), 0);
    tag
}

/// A header of version 2 with `tags` and the end tag.
pub fn header2(tags: &[Vec<u8>]) -> Vec<u8> {
    let tags = [tags.concat(), tag(0, 0, &[])].concat();
    let (magic, length) = (0xe852_50d6u32, 16 + tags.len() as u32);
    let sum = 0u32.wrapping_sub(magic).wrapping_sub(length);
    [words(&[magic, 0, length, sum]), tags].concat()
}

/// What the tiny kernel looks like in memory with `header` in it.
fn code_with(header: &[u8]) -> Vec<u8> {
    let mut code = code();
    code[0x40..0x40 + header.len()].copy_from_slice(header);
    code
}

fn forced(protocol: BootProtocol) -> BootConfig<'static> {
    BootConfig { protocol: Some(protocol), ..BootConfig::default() }
}

fn check_entry(loaded: &LoadedKernel, magic: u64, entry: u64) {
    let (registers, system) = (loaded.initial.registers, loaded.initial.system);
    assert_eq!((loaded.entry.0, registers.rip), (entry, entry));
    assert_eq!((registers.rax, registers.rbx, registers.rflags), (magic, BOOT_INFO, 2));
    assert_eq!((system.cr0, system.cr3, system.cr4, system.efer), (0x11, 0, 0, 0));
    for segment in [system.cs, system.ds, system.es, system.fs, system.gs, system.ss] {
        assert!(segment.default_big && !segment.long && segment.present && segment.granular);
        assert_eq!((segment.base, segment.limit, segment.dpl), (0, u32::MAX, 0));
    }
}

#[test]
fn elf_files_of_both_widths_are_loaded_by_both_versions() {
    for (elf, entry) in [(elf32(false), BASE), (elf64(false), BASE + 0x80)] {
        for (header, magic) in [(header1(3, &[]), 0x2bad_b002), (header2(&[]), 0x36d7_6289)] {
            let image = with_header(elf.clone(), &header);
            for image in [image.clone(), gzip(&image), xz(&image), zstd(&image), lz4(&image)] {
                let memory = memory(4);
                let loaded = load(image, &memory, &BootConfig::default()).unwrap();
                check_entry(&loaded, magic, entry);
                assert_eq!(read(&memory, BASE, CODE_SIZE as usize), code_with(&header));
            }
        }
    }
}

#[test]
fn the_first_way_in_the_order_is_taken_unless_another_is_forced() {
    use BootProtocol::{Linux, Multiboot, Multiboot2, Pvh};
    let one = header1(0, &[]);
    let both = [header2(&[]), one.clone()].concat();
    let cases: [(Vec<u8>, BootProtocol, &[BootProtocol]); 6] = [
        (with_header(elf64(true), &both), Pvh, &[Linux, Multiboot, Multiboot2]),
        (gzip(&with_header(elf64(true), &both)), Pvh, &[Linux, Multiboot, Multiboot2]),
        (with_header(elf64(false), &both), Multiboot2, &[Linux, Multiboot]),
        (with_header(elf32(false), &both), Multiboot2, &[Multiboot]),
        (with_header(elf32(false), &one), Multiboot, &[]),
        (elf64(false), Linux, &[]),
    ];
    for (image, best, others) in cases {
        assert_eq!(load(image.clone(), &memory(4), &BootConfig::default()).unwrap().protocol, best);
        for protocol in [Linux, Pvh, Multiboot, Multiboot2] {
            let result = load(image.clone(), &memory(4), &forced(protocol));
            if protocol == best || others.contains(&protocol) {
                assert_eq!(result.unwrap().protocol, protocol);
            } else {
                let expected = match protocol {
                    Linux => "it has no Linux entry that can be used",
                    Pvh => "it has no PVH entry",
                    Multiboot => "it has no Multiboot header",
                    Multiboot2 => "it has no Multiboot2 header",
                };
                assert_eq!(line(result), format!("cannot use kernel (in memory): {expected}"));
            }
        }
    }
}

/// A raw image: 64 bytes of nothing, then what the addresses speak of.
fn raw(header: &[u8]) -> Vec<u8> {
    let mut image = vec![0xee; 0x40];
    image.extend(code_with(header));
    image
}

#[test]
fn address_fields_say_what_is_loaded_where() {
    let base = BASE as u32;
    // The whole rest with no zeros; a part with zeros behind.
    for (load_end, bss_end, loaded_size) in [(0, 0, CODE_SIZE), (base + 0x1800, base + 0x2800, 0x1800)] {
        let one = header1(1 << 16, &[HEADER_ADDRESS, base, load_end, bss_end, base + 0x123]);
        let addresses = tag(2, 0, &[HEADER_ADDRESS, base, load_end, bss_end]);
        let two = header2(&[addresses, tag(3, 0, &[base + 0x123])]);
        for (header, magic) in [(one, 0x2bad_b002), (two, 0x36d7_6289)] {
            for image in [raw(&header), gzip(&raw(&header))] {
                let memory = memory(4);
                memory.write_slice(&[0xaa; 0x3000], GuestAddress(BASE)).unwrap();
                let loaded = load(image, &memory, &BootConfig::default()).unwrap();
                check_entry(&loaded, magic, BASE + 0x123);
                let size = loaded_size as usize;
                assert_eq!(read(&memory, BASE, size), code_with(&header)[..size]);
                let zeros = u64::from(bss_end).saturating_sub(BASE + loaded_size);
                assert_eq!(read(&memory, BASE + loaded_size, zeros as usize + 1)[zeros as usize], 0xaa);
                let cleared = read(&memory, BASE + loaded_size, zeros as usize);
                assert!(cleared.iter().all(|byte| *byte == 0));
            }
        }
    }
    // From the file's beginning.
    let two = header2(&[tag(2, 0, &[base + 0x80, u32::MAX, 0, 0]), tag(3, 0, &[base])]);
    let memory = memory(4);
    load(raw(&two), &memory, &BootConfig::default()).unwrap();
    assert_eq!(read(&memory, BASE, raw(&two).len()), raw(&two));
}

#[test]
fn address_fields_come_before_what_an_elf_file_says() {
    let base = BASE as u32 + 0x10_0000;
    let header = header1(1 << 16, &[base + 0x40, base, base + 0x1000, 0, base + 0x44]);
    let memory = memory(4);
    let loaded = load(with_header(elf32(false), &header), &memory, &BootConfig::default()).unwrap();
    assert_eq!(loaded.entry.0, u64::from(base) + 0x44);
    assert_eq!(read(&memory, base.into(), 0x1000), code_with(&header)[..0x1000]);
    assert_eq!(read(&memory, BASE, 0x1000), [0; 0x1000]);
}

#[test]
fn headers_lie_at_their_alignment_in_the_first_part_of_the_file() {
    let fields = |header: u32| [header, header, 0, 0, header];
    let one = |at: usize| {
        let mut image = vec![0; 0x9000];
        let header = header1(1 << 16, &fields(BASE as u32));
        image[at..at + header.len()].copy_from_slice(&header);
        Kernel::parse(image).is_ok()
    };
    assert!(one(4) && one(8192 - 32));
    assert!(!one(2) && !one(8192) && !one(8192 - 28));
    let two = |at: usize| {
        let mut image = vec![0; 0x9000];
        let header = header2(&[tag(2, 0, &fields(BASE as u32)[..4]), tag(3, 0, &[BASE as u32])]);
        image[at..at + header.len()].copy_from_slice(&header);
        (Kernel::parse(image).is_ok(), header.len())
    };
    let length = two(0).1;
    assert!(two(8).0 && two(32768 - length).0);
    assert!(!two(4).0 && !two(32768).0 && !two(32768 - length + 8).0);
}

#[test]
fn an_entry_tag_replaces_the_elf_entry_and_images_move_where_they_may() {
    let size = (CODE_SIZE + BSS_SIZE) as u32;
    let moved = |min: u32, max: u32, align: u32, preference: u32| {
        let tags = [tag(10, 0, &[min, max, align, preference]), tag(3, 1, &[BASE as u32 + 0x84])];
        let memory = memory(4);
        let image = with_header(elf32(false), &header2(&tags));
        let loaded = load(image, &memory, &BootConfig::default()).unwrap();
        let start = loaded.entry.0 - 0x84;
        assert_eq!(read(&memory, start, 0x40), code()[..0x40]);
        assert_eq!(info2(&memory)[&21], words(&[start as u32]));
        start
    };
    assert_eq!(moved(0, u32::MAX, 0x1000, 0), BASE, "where it was linked");
    assert_eq!(moved(0x20_0000, u32::MAX, 0x1000, 0), 0x20_0000);
    assert_eq!(moved(0x18_0001, u32::MAX, 0x8_0000, 1), 0x20_0000);
    assert_eq!(moved(0, u32::MAX, 0x10_0000, 2), 0x30_0000);
    assert_eq!(moved(0, 0x20_0000 + size - 1, 0x1000, 2), 0x20_0000);
    assert_eq!(moved(0, 0x20_0000 + size - 2, 0x1000, 2), 0x1f_f000);
}

/// Two module files and their contents, longer than what is read at once and shorter.
fn modules(folder: &Path) -> Vec<Module> {
    let contents = [vec![0xab; 100_001], b"second".to_vec()];
    let open = |(index, bytes): (usize, &Vec<u8>)| {
        let path = folder.join(format!("module{index}"));
        fs::write(&path, bytes).unwrap();
        Module::open(&path, ["first line", ""][index]).unwrap()
    };
    contents.iter().enumerate().map(open).collect()
}

/// Loads the tiny kernel with everything that it can be told.
fn load_all(header: &[u8], protocol: BootProtocol) -> (Arc<Slots>, LoadedKernel) {
    let folder = tempfile::tempdir().unwrap();
    let memory = memory(8);
    let mut rsdp = b"RSD PTR ".to_vec();
    rsdp.extend([0x11, b'Y', b'A', b'G', b'U', b'R', b'A', 2]);
    rsdp.extend(1..21);
    memory.write_slice(&rsdp, GuestAddress(RSDP_ADDRESS)).unwrap();
    let initrd = folder.path().join("initrd");
    fs::write(&initrd, b"initrd").unwrap();
    let config = BootConfig {
        command_line: "a b",
        initrds: &[Initrd::open(&initrd).unwrap()],
        modules: &modules(folder.path()),
        rsdp: Some(GuestAddress(RSDP_ADDRESS)),
        protocol: Some(protocol),
        zeroed_ram: true,
    };
    let image = with_header(elf32(true), header);
    let loaded = load(image, &memory, &config).unwrap();
    (memory, loaded)
}

fn text(memory: &Slots, address: u32) -> String {
    let bytes = read(memory, address.into(), 64);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

/// Pages right behind the kernel, in order.
const MODULES: [(u64, u64, &str); 3] =
    [(0x10_4000, 6, ""), (0x10_5000, 100_001, "first line"), (0x11_e000, 6, "")];

fn check_modules(memory: &Slots) {
    assert_eq!(read(memory, MODULES[0].0, 6), b"initrd");
    assert_eq!(read(memory, MODULES[1].0, 100_001), vec![0xab; 100_001]);
    assert_eq!(read(memory, MODULES[2].0, 6), b"second");
}

const MAP: [(u64, u64, u32); 4] = [
    (0, LOW_HOLE_START, 1),
    (LOW_HOLE_START, HIGH_MEMORY_START - LOW_HOLE_START, 2),
    (HIGH_MEMORY_START, (8 << 20) - HIGH_MEMORY_START, 1),
    (ECAM_BASE, ECAM_SIZE, 2),
];

#[test]
fn version_1_tells_memory_modules_and_lines() {
    let (memory, loaded) = load_all(&header1(3, &[]), BootProtocol::Multiboot);
    check_entry(&loaded, 0x2bad_b002, BASE);
    let info = read(&memory, BOOT_INFO, 116);
    let field = |offset| u32_in(&info, offset);
    assert_eq!(field(0), 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    assert_eq!((field(4), field(8)), (639, 7 << 10));
    assert_eq!((text(&memory, field(16)), text(&memory, field(64))), ("a b".to_owned(), "Yagura".to_owned()));
    let list = read(&memory, field(24).into(), field(20) as usize * 16);
    let found: Vec<_> = list
        .chunks(16)
        .map(|entry| (u32_in(entry, 0), u32_in(entry, 4), text(&memory, u32_in(entry, 8)), u32_in(entry, 12)))
        .collect();
    let expected = MODULES.map(|(at, size, line)| (at as u32, (at + size) as u32, line.to_owned(), 0));
    assert_eq!(found, expected);
    check_modules(&memory);
    let map = read(&memory, field(48).into(), field(44) as usize);
    let entries: Vec<_> = map
        .chunks(24)
        .map(|entry| (u32_in(entry, 0), u64_in(entry, 4), u64_in(entry, 12), u32_in(entry, 20)))
        .collect();
    assert_eq!(entries, MAP.map(|(start, size, kind)| (20, start, size, kind)));
    // What is not told is zero.
    assert!(info[28..44].iter().chain(&info[52..64]).chain(&info[68..]).all(|byte| *byte == 0));
}

/// The last tag of each type, without type and size.
fn info2(memory: &Slots) -> std::collections::BTreeMap<u32, Vec<u8>> {
    tags2(memory).into_iter().collect()
}

fn tags2(memory: &Slots) -> Vec<(u32, Vec<u8>)> {
    let size = u32_in(&read(memory, BOOT_INFO, 4), 0) as usize;
    let info = read(memory, BOOT_INFO, size);
    let (mut at, mut tags) = (8, Vec::new());
    while at < size {
        let (kind, length) = (u32_in(&info, at), u32_in(&info, at + 4) as usize);
        tags.push((kind, info[at + 8..at + length].to_vec()));
        at = (at + length).next_multiple_of(8);
    }
    assert_eq!((tags.last(), at), (Some(&(0, vec![])), size));
    tags
}

#[test]
fn version_2_tells_the_same_and_the_acpi_root_pointer() {
    let (memory, loaded) = load_all(&header2(&[tag(1, 0, &[1, 4, 6, 15, 21])]), BootProtocol::Multiboot2);
    check_entry(&loaded, 0x36d7_6289, BASE);
    check_modules(&memory);
    let module = |(at, size, line): (u64, u64, &str)| {
        (3, [&words(&[at as u32, (at + size) as u32])[..], line.as_bytes(), &[0]].concat())
    };
    let map = MAP.iter().flat_map(|(start, size, kind)| [*start, *size, u64::from(*kind)]);
    let map: Vec<u8> = map.flat_map(u64::to_le_bytes).collect();
    let expected = [
        (1, b"a b\0".to_vec()),
        (2, b"Yagura\0".to_vec()),
        module(MODULES[0]),
        module(MODULES[1]),
        module(MODULES[2]),
        (4, words(&[639, 7 << 10])),
        (6, [words(&[24, 0]), map].concat()),
        (15, read(&memory, RSDP_ADDRESS, 36)),
        (0, vec![]),
    ];
    assert_eq!(tags2(&memory), expected);
}

#[test]
fn pvh_is_told_of_all_modules_too() {
    let (memory, loaded) = load_all(&header1(0, &[]), BootProtocol::Pvh);
    let info = read(&memory, loaded.initial.registers.rbx, 56);
    assert_eq!(u32_in(&info, 12), 3);
    let list = read(&memory, u64_in(&info, 16), 96);
    let line = u64_in(&list, 48) as u32;
    assert_eq!((u64_in(&list, 16), text(&memory, line), u64_in(&list, 80)), (0, "first line".to_owned(), 0));
    assert_eq!(read(&memory, u64_in(&list, 64), u64_in(&list, 72) as usize), b"second");
    assert_eq!(u64_in(&info, 40), u64_in(&info, 16) + 96);
}

#[test]
fn what_may_be_passed_over_is() {
    let optional =
        [1, 4, 5, 7, 8, 9, 99].map(|kind| tag(kind, 1, &[999, 1, 2])).into_iter().chain([tag(6, 0, &[])]);
    let header = header2(&optional.chain([tag(4, 0, &[2])]).collect::<Vec<_>>());
    assert!(load(with_header(elf32(false), &header), &memory(4), &BootConfig::default()).is_ok());
    let header = header1(0xfffe_0003, &[]);
    assert!(load(with_header(elf32(false), &header), &memory(4), &BootConfig::default()).is_ok());
}
