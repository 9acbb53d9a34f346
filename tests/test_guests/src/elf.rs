//! A minimal ELF64 executable with a PVH entry note.

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the note whose value is the 32-bit physical entry point (Xen,
/// `public/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;

/// Wraps `code` as an ELF64 executable loaded at `address` and entered at its first byte in 32-bit protected
/// mode, as the PVH boot protocol has it.
pub fn pvh_elf(code: &[u8], address: u32) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4u32, 4, PHYS32_ENTRY] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(address.to_le_bytes());

    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    let note_at = HEADER + 2 * SEGMENT;
    let code_at = 0x1000u64;
    let mut out = Vec::new();
    out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend(2u16.to_le_bytes()); // executable
    out.extend(62u16.to_le_bytes()); // x86-64
    out.extend(1u32.to_le_bytes());
    for field in [u64::from(address), HEADER, 0] {
        out.extend(field.to_le_bytes()); // entry, program headers, section headers
    }
    out.extend(0u32.to_le_bytes());
    for field in [HEADER as u16, SEGMENT as u16, 2, 64, 0, 0] {
        out.extend(field.to_le_bytes());
    }
    let len = code.len() as u64;
    out.extend(segment(1, 7, code_at, address.into(), len, 0x1000));
    out.extend(segment(4, 4, note_at, 0, note.len() as u64, 4));
    out.extend(&note);
    out.resize(code_at as usize, 0);
    out.extend(code);
    out
}

/// One program header.
fn segment(kind: u32, flags: u32, offset: u64, address: u64, size: u64, align: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(kind.to_le_bytes());
    out.extend(flags.to_le_bytes());
    for field in [offset, address, address, size, size, align] {
        out.extend(field.to_le_bytes());
    }
    out
}
