//! FXSAVE, FXRSTOR, LDMXCSR, STMXCSR (SDM vol. 2A; the image: vol. 1, table 10-2).

use iced_x86::Mnemonic;

use super::access::{Encoding, narrow};
use crate::cpu::mode::cr0;
use crate::cpu::state::{legacy_area, legacy_fpu};
use crate::cpu::{Core, Exception, Exec, Mode, vector};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::memory::paging::Kind;

/// Bits of MXCSR that exist; others cannot be set (SDM vol. 1, 11.6.6).
pub(super) const MXCSR_MASK: u32 = 0xffff;
/// Size of the operand.
pub(super) const AREA_SIZE: usize = 512;
/// Where XMM0 is.
pub(super) const XMM0: usize = 160;
/// Where MXCSR is.
pub(super) const MXCSR: usize = 24;
/// The upper halves of wide pointers: the instruction's and the operand's.
const POINTERS_HIGH: [std::ops::Range<usize>; 2] = [12..16, 20..24];

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Fxsave => Some(|core, insn| fxsave(core, insn, false)),
        Mnemonic::Fxsave64 => Some(|core, insn| fxsave(core, insn, true)),
        Mnemonic::Fxrstor => Some(|core, insn| fxrstor(core, insn, false)),
        Mnemonic::Fxrstor64 => Some(|core, insn| fxrstor(core, insn, true)),
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => narrow!(form, E, ldmxcsr::<E>),
        Mnemonic::Stmxcsr | Mnemonic::Vstmxcsr => narrow!(form, E, stmxcsr::<E>),
        _ => None,
    }
}

/// Pointers that are not `wide` have 32 bits and a selector, which is zero.
fn fxsave(core: &mut Core<'_>, insn: &Insn, wide: bool) -> Exec {
    check(core)?;
    let offset = core.effective_address(insn);
    core.require_area_alignment(insn.segment, offset, Kind::Write)?;
    core.probe_field_write::<1>(insn, AREA_SIZE - 1)?;
    let image = image(core, wide);
    let len = XMM0 + 16 * registers(core);
    core.store_slice(insn.segment.into(), offset, &image[..len])
}

fn fxrstor(core: &mut Core<'_>, insn: &Insn, wide: bool) -> Exec {
    check(core)?;
    let offset = core.effective_address(insn);
    core.require_area_alignment(insn.segment, offset, Kind::Read)?;
    core.probe_field_read::<1>(insn, AREA_SIZE - 1)?;
    let mut image: [u8; AREA_SIZE] = core.load_bytes(insn.segment.into(), offset)?;
    let mxcsr = mxcsr_of(core, &image)?;
    take_fpu(core, &mut image, wide);
    core.mxcsr = mxcsr;
    take_xmm(core, &image);
    Ok(())
}

/// The image that is stored.
pub(super) fn image(core: &Core<'_>, wide: bool) -> [u8; AREA_SIZE] {
    let mut image = legacy_area(&core.fpu, core.mxcsr, &core.vectors);
    if !wide {
        narrow_pointers(&mut image);
    }
    image
}

/// The vector registers that there are in this mode: others are neither stored nor loaded.
pub(super) fn registers(core: &Core<'_>) -> usize {
    if core.mode == Mode::Long { 16 } else { 8 }
}

/// MXCSR in an image; raises #GP if bits are set that do not exist.
pub(super) fn mxcsr_of(core: &mut Core<'_>, image: &[u8; AREA_SIZE]) -> Exec<u32> {
    let mxcsr = u32::from_le_bytes(bytes_at(image, MXCSR));
    if mxcsr & !MXCSR_MASK != 0 { core.general_protection(0) } else { Ok(mxcsr) }
}

/// Loads the x87 unit from an image.
pub(super) fn take_fpu(core: &mut Core<'_>, image: &mut [u8; AREA_SIZE], wide: bool) {
    if !wide {
        narrow_pointers(image);
    }
    core.fpu = legacy_fpu(image);
    let control = core.fpu.control;
    core.fpu.set_control(control);
}

/// Loads XMM registers from an image.
pub(super) fn take_xmm(core: &mut Core<'_>, image: &[u8; AREA_SIZE]) {
    let registers = registers(core);
    for (index, vector) in core.vectors.iter_mut().take(registers).enumerate() {
        let at = XMM0 + 16 * index;
        let halves = [at, at + 8].map(|at| u64::from_le_bytes(bytes_at(image, at)));
        [vector[0], vector[1]] = halves;
    }
}

fn ldmxcsr<E: Encoding>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value: u32 = core.read(insn, 0)?;
    if value & !MXCSR_MASK != 0 {
        return core.general_protection(0);
    }
    core.mxcsr = value;
    Ok(())
}

fn stmxcsr<E: Encoding>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = core.mxcsr;
    core.write(insn, 0, value)
}

fn check(core: &mut Core<'_>) -> Exec {
    if core.cr0 & cr0::EM != 0 {
        return core.undefined();
    }
    if core.cr0 & cr0::TS != 0 {
        return core.raise(Exception::plain(vector::NM));
    }
    Ok(())
}

fn narrow_pointers(image: &mut [u8; AREA_SIZE]) {
    for high in POINTERS_HIGH {
        image[high].fill(0);
    }
}

pub(super) fn bytes_at<const N: usize>(image: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| image[at + index])
}
