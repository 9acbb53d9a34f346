mod code;
mod fixtures;
mod hostile;
mod multiboot;
mod multiboot_hostile;
mod unified;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arch_model::x86_64::layout::*;
use guest_memory::{Bytes, GuestAddress, Slots};

use super::*;
use crate::boot_data::{COMMAND_LINE, GDT, PAGE_TABLES, START_INFO, ZERO_PAGE};
use crate::bzimage::spec::*;
use fixtures::*;

fn load(image: Vec<u8>, memory: &Slots, config: &BootConfig<'_>) -> Result<LoadedKernel, LoadError> {
    Kernel::parse(image)?.load(memory, config)
}

/// An error as the user sees it.
fn line<T: std::fmt::Debug>(result: Result<T, LoadError>) -> String {
    let error = result.unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn every_packing_gives_the_same_kernel() {
    for (name, image) in all_bzimages() {
        for zeroed_ram in [true, false] {
            let memory = memory(4);
            if !zeroed_ram {
                memory.write_slice(&vec![0xee; 1 << 20], GuestAddress(BASE)).unwrap();
            }
            let config = BootConfig { zeroed_ram, ..BootConfig::default() };
            let loaded = load(image.clone(), &memory, &config).unwrap();
            assert_eq!((loaded.protocol, loaded.entry.0), (BootProtocol::Linux, BASE + 0x80), "{name}");
            assert_eq!(read(&memory, BASE, CODE_SIZE as usize), code(), "{name}");
            let bss = read(&memory, BASE + CODE_SIZE, BSS_SIZE as usize);
            assert!(bss.iter().all(|byte| *byte == 0), "{name}");
        }
    }
}

#[test]
fn large_kernels_unpack_block_by_block_and_zeros_take_no_memory() {
    // Its segment is longer than a chunk, than lz4's blocks and than the part that is unpacked at once.
    let mut elf = elf64(false);
    let size: u64 = 9 << 20;
    elf[96..104].copy_from_slice(&size.to_le_bytes());
    elf[104..112].copy_from_slice(&size.to_le_bytes());
    elf.resize(0x1000 + size as usize, 0);
    let last = elf.len() - 1;
    elf[last] = 0x55;
    let folder = tempfile::tempdir().unwrap();
    for image in [elf.clone(), bzimage(&with_size(lz4(&elf), elf.len())), bzimage(&zstd(&elf))] {
        let path = folder.path().join("kernel");
        fs::write(&path, &image).unwrap();
        let memory = memory(16);
        let config = BootConfig { zeroed_ram: true, ..BootConfig::default() };
        Kernel::open(&path).unwrap().load(&memory, &config).unwrap();
        assert_eq!(read(&memory, BASE, CODE_SIZE as usize), code());
        assert_eq!(read(&memory, BASE + size - 2, 3), [0, 0x55, 0]);
        let written: Vec<u64> = memory.take_device_dirty().iter().filter(|page| *page >= BASE).collect();
        assert_eq!(written, [BASE, BASE + size - 0x1000]);
    }
}

#[test]
fn protocol_follows_the_file_unless_forced() {
    use BootProtocol::{Linux, Pvh};
    let bzimage = || bzimage(&gzip(&elf64(true)));
    type Case = (Vec<u8>, Option<BootProtocol>, Result<BootProtocol, &'static str>);
    let cases: [Case; 11] = [
        (elf64(true), None, Ok(Pvh)),
        (elf64(true), Some(Linux), Ok(Linux)),
        (elf64(false), None, Ok(Linux)),
        (elf64(false), Some(Pvh), Err("it has no PVH entry")),
        (elf32(true), None, Ok(Pvh)),
        (elf32(true), Some(Linux), Err("it has no Linux entry that can be used")),
        (elf32(false), None, Err("it is 32-bit only and has neither a PVH nor a Multiboot entry")),
        (bzimage(), None, Ok(Linux)),
        (bzimage(), Some(Pvh), Ok(Pvh)),
        (bzimage(), Some(Linux), Ok(Linux)),
        (super::tests::bzimage(&gzip(&elf64(false))), Some(Pvh), Err("it has no PVH entry")),
    ];
    for (index, (image, protocol, expected)) in cases.into_iter().enumerate() {
        let result = load(image, &memory(4), &BootConfig { protocol, ..BootConfig::default() });
        match expected {
            Ok(expected) => assert_eq!(result.unwrap().protocol, expected, "case {index}"),
            Err(text) => assert!(line(result).ends_with(text), "case {index}"),
        }
    }
}

#[test]
fn linux_gets_its_zero_page_and_long_mode() {
    let memory = memory(64);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("initrd");
    fs::write(&path, vec![0xab; 100_001]).unwrap();
    let initrd = Initrd::open(&path).unwrap();
    let config = BootConfig {
        command_line: "console=ttyS0",
        initrds: std::slice::from_ref(&initrd),
        rsdp: Some(GuestAddress(RSDP_ADDRESS)),
        ..BootConfig::default()
    };
    let image = bzimage(&gzip(&elf64(false)));
    let loaded = load(image.clone(), &memory, &config).unwrap();
    let page = read(&memory, ZERO_PAGE, 4096);
    assert_eq!(
        page[SETUP_SECTS..LOADFLAGS - 1],
        [&image[SETUP_SECTS..VID_MODE], &[0xff, 0xff], &image[VID_MODE + 2..LOADFLAGS - 1]].concat()
    );
    assert_eq!((page[TYPE_OF_LOADER], page[LOADFLAGS]), (0xff, 0x01));
    assert_eq!(u64_in(&page, 0x70), RSDP_ADDRESS);
    assert_eq!(read(&memory, u32_in(&page, CMD_LINE_PTR).into(), 14), b"console=ttyS0\0");
    let (address, size) = (u32_in(&page, RAMDISK_IMAGE), u32_in(&page, RAMDISK_SIZE));
    assert_eq!((address, size), ((64 << 20) - 0x19000, 100_001));
    assert_eq!(read(&memory, address.into(), 100_001), vec![0xab; 100_001]);
    let map: Vec<(u64, u64, u32)> = (0..page[0x1e8] as usize)
        .map(|index| 0x2d0 + index * 20)
        .map(|at| (u64_in(&page, at), u64_in(&page, at + 8), u32_in(&page, at + 16)))
        .collect();
    assert_eq!(
        map,
        [
            (0, LOW_HOLE_START, 1),
            (LOW_HOLE_START, HIGH_MEMORY_START - LOW_HOLE_START, 2),
            (HIGH_MEMORY_START, (64 << 20) - HIGH_MEMORY_START, 1),
            (ECAM_BASE, ECAM_SIZE, 2),
        ]
    );
    let (registers, system) = (loaded.initial.registers, loaded.initial.system);
    assert_eq!((registers.rip, registers.rsi, registers.rflags), (BASE + 0x80, ZERO_PAGE, 2));
    assert_eq!((system.cr0, system.cr4, system.efer), (0x8000_0011, 0x20, 0x500));
    assert_eq!((system.cs.selector, system.ds.selector, system.cs.long), (0x10, 0x18, true));
    assert_eq!(system.apic_base, 0xfee0_0900);
    assert_eq!((system.gdt.base, system.gdt.limit), (GDT, 47));
    assert_eq!(u64_in(&read(&memory, GDT + 0x10, 8), 0), 0x00af_9b00_0000_ffff);
    for address in [0u64, 0x7000, BASE, 0x4000_0123, 0xfee0_0000, 0xffff_ffff] {
        assert_eq!(translate(&memory, system.cr3, address), address);
    }
}

/// Walks the page tables (SDM vol. 3, 4.5.4).
fn translate(memory: &Slots, cr3: u64, address: u64) -> u64 {
    let entry = |table: u64, index: u64| u64_in(&read(memory, table + index % 512 * 8, 8), 0);
    let pointers = entry(cr3, address >> 39);
    let directory = entry(pointers & !0xfff, address >> 30);
    let page = entry(directory & !0xfff, address >> 21);
    assert_eq!((pointers & 0x83, directory & 0x83, page & 0x83), (3, 3, 0x83));
    (page & !0x1f_ffff) + (address & 0x1f_ffff)
}

#[test]
fn a_kernel_without_header_gets_a_made_one() {
    let memory = memory(4);
    load(elf64(false), &memory, &BootConfig::default()).unwrap();
    let page = read(&memory, ZERO_PAGE, 4096);
    assert_eq!((&page[BOOT_FLAG..VERSION], page[LOADFLAGS]), (&b"\x55\xaa\0\0HdrS"[..], 1));
    assert_eq!((u32_in(&page, CMD_LINE_PTR), u32_in(&page, RAMDISK_SIZE)), (0, 0));
}

#[test]
fn pvh_gets_its_start_info_and_protected_mode() {
    let memory = memory(8);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("initrd");
    fs::write(&path, b"initrd").unwrap();
    let initrd = Initrd::open(&path).unwrap();
    let config = BootConfig {
        command_line: "a b",
        initrds: std::slice::from_ref(&initrd),
        rsdp: Some(GuestAddress(RSDP_ADDRESS)),
        ..BootConfig::default()
    };
    let loaded = load(elf32(true), &memory, &config).unwrap();
    let info = read(&memory, loaded.initial.registers.rbx, 56);
    assert_eq!((u32_in(&info, 0), u32_in(&info, 4), u32_in(&info, 12)), (0x336e_c578, 1, 1));
    assert_eq!((u64_in(&info, 24), u64_in(&info, 32)), (COMMAND_LINE, RSDP_ADDRESS));
    let module = read(&memory, u64_in(&info, 16), 32);
    assert_eq!(read(&memory, u64_in(&module, 0), u64_in(&module, 8) as usize), b"initrd");
    assert_eq!(u64_in(&module, 0), (8 << 20) - 0x1000);
    let map = read(&memory, u64_in(&info, 40), u32_in(&info, 48) as usize * 24);
    assert_eq!(
        (u32_in(&info, 48), u64_in(&map, 0), u64_in(&map, 8), u64_in(&map, 16)),
        (4, 0, LOW_HOLE_START, 1)
    );
    let (registers, system) = (loaded.initial.registers, loaded.initial.system);
    assert_eq!((registers.rip, registers.rbx), (PVH_ENTRY.into(), START_INFO));
    assert_eq!((system.cr0, system.cr3, system.cr4, system.efer), (0x11, 0, 0, 0));
    assert!(system.cs.default_big && !system.cs.long && system.cs.limit == u32::MAX);
    assert!(read(&memory, PAGE_TABLES, 16).iter().all(|byte| *byte == 0));
}

#[test]
fn command_lines_end_where_the_kernel_stops_reading() {
    let long = "x".repeat(101);
    let config = BootConfig { command_line: &long, ..BootConfig::default() };
    let image = || bzimage(&gzip(&elf64(true)));
    assert_eq!(
        line(load(image(), &memory(4), &config)),
        "the command line has 101 bytes, kernel (in memory) takes at most 100"
    );
    assert!(load(image(), &memory(4), &BootConfig { command_line: &long[1..], ..config }).is_ok());
    assert!(load(elf64(true), &memory(4), &config).is_ok());
    let zero = BootConfig { command_line: "a\0b", ..BootConfig::default() };
    assert!(matches!(load(image(), &memory(4), &zero), Err(LoadError::CommandLineZero)));
}

#[test]
fn an_initrd_needs_room_behind_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("initrd");
    fs::write(&path, vec![1; 3 << 20]).unwrap();
    let initrd = Initrd::open(&path).unwrap();
    let config = BootConfig { initrds: std::slice::from_ref(&initrd), ..BootConfig::default() };
    let text = line(load(elf64(true), &memory(4), &config));
    let expected = "it has 3 MiB, but only 3.0 MiB of the guest's 4 MiB are free for it";
    assert_eq!(text, format!("cannot use initrd {}: {expected}", path.display()));
    assert!(load(elf64(true), &memory(5), &config).is_ok());
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let arm64 = [&[0; 56][..], b"ARM\x64", &[0; 100]].concat();
    let mut old = bzimage(&gzip(&elf64(true)));
    old[VERSION..VERSION + 2].copy_from_slice(&0x0205u16.to_le_bytes());
    let mut other_machine = elf64(true);
    other_machine[18] = 183;
    let mut library = elf64(true);
    library[16] = 3;
    let cases: [(&[u8], &str); 11] = [
        (b"", "it is empty"),
        (b"hello world\n", "it is text, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)"),
        (
            &[0; 5000],
            "it is a file of zeros, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)",
        ),
        (
            &gzip(b"hello world\n"),
            "it is a gzip file that holds text, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)",
        ),
        (&arm64, "it is an arm64 Image, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)"),
        (
            &other_machine,
            "it is an ELF file for arm64, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)",
        ),
        (
            &library,
            "it is a dynamically linked program or library, not an x86 kernel (a bzImage, an ELF file or a Multiboot image)",
        ),
        (&elf64(true)[..50], "it is truncated: the ELF header is missing"),
        (&old, "its boot protocol 2.5 is too old (2.6 is the first that can be used)"),
        (&bzimage(&gzip(b"no kernel")), "its gzip data are damaged or cut short; get it again"),
        (&bzimage(&gzip(&[1; 100])), "it is damaged: what is packed into it is not an ELF file"),
    ];
    let path = folder.path().join("kernel");
    for (contents, reason) in cases {
        fs::write(&path, contents).unwrap();
        let result = Kernel::open(&path).and_then(|kernel| kernel.load(&memory(4), &BootConfig::default()));
        assert_eq!(line(result), format!("cannot use kernel {}: {reason}", path.display()));
    }
    let missing = line(Kernel::open(Path::new("/nonexistent/kernel")));
    assert_eq!(
        missing,
        "cannot use kernel /nonexistent/kernel: cannot open it: No such file or directory (os error 2)"
    );
    assert!(line(Kernel::open(folder.path())).ends_with("it is a folder, and a regular file is needed"));
    let device = line(Initrd::open(Path::new("/dev/null")));
    assert!(device.ends_with("it is a character device, and a regular file is needed"), "{device}");
    assert_eq!(
        line(load(elf64(true), &memory(1), &BootConfig::default())),
        "cannot use kernel (in memory): it does not fit into the guest's memory: it belongs at 0x100000 to \
         0x103800, RAM for it is from 0x100000 to 0x100000"
    );
}
