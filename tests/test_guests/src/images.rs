//! Kernel images other than ELF files, around guest code.

use crate::guests::LOAD_ADDRESS;

/// Size of the header of [`multiboot_image`], at which the code begins.
const MULTIBOOT_HEADER_SIZE: u32 = 32;

/// A Multiboot image (specification 0.6.96, 3.1): a header that says where it is loaded, and `code`, entered at its
/// first byte. It asks for aligned modules and the memory map.
pub fn multiboot_image(code: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const FLAGS: u32 = 1 << 16 | 1 << 1 | 1 << 0;
    let sum = 0u32.wrapping_sub(MAGIC).wrapping_sub(FLAGS);
    // Header, start, end (that of the file), end of zeros (none), entry.
    let header = [MAGIC, FLAGS, sum, LOAD_ADDRESS, LOAD_ADDRESS, 0, 0, LOAD_ADDRESS + MULTIBOOT_HEADER_SIZE];
    [&words(&header), code].concat()
}

/// A Multiboot2 image (specification 2.0, 3.1): the same with the tags for addresses and entry.
pub fn multiboot2_image(code: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0xe852_50d6;
    const LENGTH: u32 = 16 + 24 + 16 + 8;
    let sum = 0u32.wrapping_sub(MAGIC).wrapping_sub(LENGTH);
    let header = words(&[MAGIC, 0, LENGTH, sum]);
    let addresses = words(&[2, 24, LOAD_ADDRESS, LOAD_ADDRESS, 0, 0]);
    let entry = words(&[3, 12, LOAD_ADDRESS + LENGTH, 0]);
    [&header, &addresses, &entry, &words(&[0, 8]), code].concat()
}

/// A Linux image without payload (Linux, `Documentation/arch/x86/boot.rst`): its protected-mode code is `code`,
/// entered at its first byte in 64-bit mode, or else in 32-bit protected mode.
pub fn linux_image(code: &[u8], long: bool) -> Vec<u8> {
    const SECTOR: usize = 512;
    // The 64-bit entry is at 0x200 of the protected-mode code.
    let code = [if long { vec![0xf4; SECTOR] } else { vec![] }, code.to_vec()].concat();
    let mut image = vec![0; 2 * SECTOR];
    let mut set = |offset: usize, bytes: &[u8]| image[offset..offset + bytes.len()].copy_from_slice(bytes);
    set(0x1f1, &[1]); // sectors behind the first
    set(0x1f4, &(code.len().div_ceil(16) as u32).to_le_bytes());
    set(0x1fe, &[0x55, 0xaa, 0xeb, 0x66]); // the jump's second byte is the header's length
    set(0x202, b"HdrS");
    set(0x206, &0x020cu16.to_le_bytes()); // version
    set(0x211, &[1]); // loaded high
    set(0x22c, &0x7fff_ffffu32.to_le_bytes()); // last address of an initrd
    set(0x236, &u16::from(long).to_le_bytes()); // has the 64-bit entry
    set(0x238, &255u32.to_le_bytes()); // longest command line
    set(0x258, &u64::from(LOAD_ADDRESS).to_le_bytes()); // preferred address
    set(0x260, &0x1_0000u32.to_le_bytes()); // memory needed
    image.extend(code);
    image
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A unified kernel image (PE format, sections 2 to 4) for x86-64 of these sections: name, contents.
pub fn unified_image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const PE: usize = 0x80;
    const SECTIONS: usize = PE + 24;
    let mut file = vec![0; 0x400];
    let set = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    set(&mut file, 0, b"MZ");
    set(&mut file, 0x3c, &[PE as u8]);
    set(&mut file, PE, b"PE\0\0\x64\x86");
    set(&mut file, PE + 6, &[sections.len() as u8]);
    for (index, (name, contents)) in sections.iter().enumerate() {
        let at = SECTIONS + index * 40;
        let (size, start) = (contents.len() as u32, file.len() as u32);
        set(&mut file, at, name.as_bytes());
        set(&mut file, at + 8, &size.to_le_bytes());
        set(&mut file, at + 16, &[size.to_le_bytes(), start.to_le_bytes()].concat());
        file.extend_from_slice(contents);
    }
    file
}
