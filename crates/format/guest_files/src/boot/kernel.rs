//! Whether a file is a kernel, and for which processors: the first bytes tell.

use super::volumes::Volumes;
use super::{Architecture, FileRef};
use crate::bytes::Bytes;

/// Linux's x86 boot protocol: `HdrS` (Documentation/arch/x86/boot.rst).
const X86_MAGIC_AT: usize = 0x202;
/// Linux's arm64 and riscv image headers: `ARM\x64` and `RSC\x05`.
const IMAGE_MAGIC_AT: usize = 0x38;
/// ELF's machine field, and its values.
const ELF_MACHINE_AT: usize = 18;
const ELF_X86_64: u16 = 62;
const ELF_AARCH64: u16 = 183;
const ELF_RISCV: u16 = 243;

const FRONT_BYTES: u64 = 0x300;

/// Says what is wrong with a file as a kernel for `architecture`.
pub(super) fn check(volumes: &Volumes, kernel: &FileRef, architecture: Architecture) -> Result<(), String> {
    let mut front = Vec::new();
    let file = FileRef { size_bytes: kernel.size_bytes.min(FRONT_BYTES), ..kernel.clone() };
    volumes.write(&file, FRONT_BYTES, &mut front).map_err(|error| format!("{kernel}: {error}"))?;
    match recognize(&front) {
        Some(kind) if kind == architecture => Ok(()),
        Some(kind) => Err(format!("{kernel} is a kernel for {kind}, not for {architecture}")),
        None => Err(format!("{kernel} is not a kernel that could be loaded")),
    }
}

fn recognize(front: &[u8]) -> Option<Architecture> {
    let has = |at: usize, magic: &[u8]| front.get(at..at + magic.len()) == Some(magic);
    if has(X86_MAGIC_AT, b"HdrS") {
        return Some(Architecture::X86_64);
    }
    if has(IMAGE_MAGIC_AT, b"ARM\x64") {
        return Some(Architecture::Aarch64);
    }
    if has(IMAGE_MAGIC_AT, b"RSC\x05") {
        return Some(Architecture::Riscv64);
    }
    if !has(0, b"\x7fELF") {
        return None;
    }
    match Bytes(front).le16(ELF_MACHINE_AT).ok()? {
        ELF_X86_64 => Some(Architecture::X86_64),
        ELF_AARCH64 => Some(Architecture::Aarch64),
        ELF_RISCV => Some(Architecture::Riscv64),
        _ => None,
    }
}
