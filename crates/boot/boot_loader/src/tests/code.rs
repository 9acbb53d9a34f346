//! bzImages whose own protected-mode code is loaded: those without a payload, and those with one that only
//! they can unpack.

use super::*;

/// As memtest86+ has it: no payload.
fn bare() -> Vec<u8> {
    let mut image = bzimage(&[0x90; 4096]);
    image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].fill(0);
    image
}

fn load_code(image: &[u8], memory: &Slots) -> LoadedKernel {
    load(image.to_vec(), memory, &BootConfig::default()).unwrap()
}

#[test]
fn an_image_without_payload_is_entered_at_its_64_bit_entry() {
    let (image, memory) = (bare(), memory(4));
    let loaded = load_code(&image, &memory);
    assert_eq!((loaded.protocol, loaded.entry.0), (BootProtocol::Linux, BASE + 0x200));
    assert_eq!(read(&memory, BASE, image.len() - 1024), image[1024..]);
    let (registers, system) = (loaded.initial.registers, loaded.initial.system);
    assert_eq!((registers.rip, registers.rsi, system.efer), (BASE + 0x200, ZERO_PAGE, 0x500));
    assert_eq!(u32_in(&read(&memory, ZERO_PAGE, 4096), CODE32_START), BASE as u32);
}

#[test]
fn payloads_that_only_the_kernel_can_unpack_are_left_to_it() {
    for payload in [&b"BZh91AY"[..], b"\x5d\0\0\0\x80", b"\x01\x02\x03\x04"] {
        let (image, memory) = (bzimage(payload), memory(4));
        assert_eq!(load_code(&image, &memory).entry.0, BASE + 0x200);
        assert_eq!(read(&memory, BASE, image.len() - 1024), image[1024..]);
        let config = BootConfig { protocol: Some(BootProtocol::Pvh), ..BootConfig::default() };
        assert!(line(load(image, &memory, &config)).contains("it is packed with "));
    }
}

#[test]
fn an_image_without_64_bit_entry_is_entered_at_its_32_bit_entry() {
    // What the payload is does not matter then.
    for mut image in [bare(), bzimage(&gzip(&elf32(false)))] {
        image[XLOADFLAGS] &= !1;
        let memory = memory(4);
        let loaded = load_code(&image, &memory);
        assert_eq!(read(&memory, BASE, image.len() - 1024), image[1024..]);
        let (registers, system) = (loaded.initial.registers, loaded.initial.system);
        assert_eq!((registers.rip, registers.rsi, registers.rflags), (BASE, ZERO_PAGE, 2));
        assert_eq!((registers.rbp, registers.rdi, registers.rbx), (0, 0, 0));
        assert_eq!((system.cr0, system.cr4, system.efer), (0x11, 0, 0));
        assert_eq!((system.cs.selector, system.ds.selector, system.ss.selector), (0x10, 0x18, 0x18));
        assert!(system.cs.default_big && !system.cs.long);
    }
}

#[test]
fn an_old_image_without_payload_has_no_entry_that_can_be_used() {
    let mut real = bare();
    real[LOADFLAGS] &= !LOADED_HIGH;
    let mut old = bare();
    old[VERSION..VERSION + 2].copy_from_slice(&0x0207u16.to_le_bytes());
    for image in [real, old] {
        let text = line(load(image, &memory(4), &BootConfig::default()));
        assert!(text.ends_with("it has no Linux entry that can be used"), "{text}");
    }
    let mut without_flags = bare();
    without_flags[VERSION..VERSION + 2].copy_from_slice(&0x020bu16.to_le_bytes());
    assert_eq!(load_code(&without_flags, &memory(4)).entry.0, BASE);
}

#[test]
fn code_is_put_where_it_prefers_to_be_or_where_it_fits() {
    let with = |preferred: u64, relocatable: u8, align: u32, init_size: u32| {
        let mut image = bare();
        image[PREF_ADDRESS..PREF_ADDRESS + 8].copy_from_slice(&preferred.to_le_bytes());
        image[RELOCATABLE_KERNEL] = relocatable;
        image[KERNEL_ALIGNMENT..KERNEL_ALIGNMENT + 4].copy_from_slice(&align.to_le_bytes());
        image[INIT_SIZE..INIT_SIZE + 4].copy_from_slice(&init_size.to_le_bytes());
        load(image, &memory(8), &BootConfig::default())
    };
    let entry = |result: Result<LoadedKernel, LoadError>| result.unwrap().entry.0 - 0x200;
    assert_eq!(entry(with(0, 0, 0, 0)), BASE, "none said");
    assert_eq!(entry(with(0x40_0000, 1, 0x20_0000, 0x40_0000)), 0x40_0000);
    assert_eq!(entry(with(0x100_0000, 1, 0x20_0000, 0x60_0000)), 0x20_0000, "moved");
    assert_eq!(entry(with(u64::MAX, 1, 0, 0x70_0000)), BASE, "moved, with no alignment");
    for (preferred, relocatable, align, init_size) in [
        (0x100_0000, 0, 0x20_0000, 0x60_0000),
        (u64::MAX, 0, 1, u32::MAX),
        (0x1000, 0, 1, 0),
        (0x100_0000, 1, 0x20_0000, 0x60_0001),
        (0x100_0000, 1, u32::MAX, 0),
    ] {
        let text = line(with(preferred, relocatable, align, init_size));
        assert!(text.contains("it does not fit into the guest's memory"), "{text}");
    }
}

#[test]
fn modules_are_nothing_for_linux() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module");
    fs::write(&path, b"module").unwrap();
    let modules = [Module::open(&path, "").unwrap()];
    let config = BootConfig { modules: &modules, ..BootConfig::default() };
    assert_eq!(
        line(load(bare(), &memory(4), &config)),
        "kernel (in memory) takes no modules: by the Linux boot protocol there is only an initrd"
    );
}
