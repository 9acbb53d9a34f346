//! FXSAVE, FXRSTOR, LDMXCSR, STMXCSR (SDM vol. 2A; the image: vol. 1, table 10-2).

use iced_x86::Mnemonic;

use super::access;
use crate::cpu::mode::cr0;
use crate::cpu::state::{legacy_area, legacy_fpu};
use crate::cpu::{Core, Exception, Exec, Mode, vector};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::memory::paging::Kind;

/// Bits of MXCSR that exist; others cannot be set (SDM vol. 1, 11.6.6).
const MXCSR_MASK: u32 = 0xffff;
/// Size of the operand.
const AREA_SIZE: usize = 512;
/// What FXSAVE writes: neither reserved space after the registers nor what software may use.
const IMAGE_SIZE: usize = 416;
/// Where the registers of 64-bit mode begin.
const XMM8: usize = 288;
/// Where XMM0 is.
const XMM0: usize = 160;
/// Where MXCSR is.
const MXCSR: usize = 24;
/// The upper halves of wide pointers: the instruction's and the operand's.
const POINTERS_HIGH: [std::ops::Range<usize>; 2] = [12..16, 20..24];

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Fxsave => Some(|core, insn| fxsave(core, insn, false)),
        Mnemonic::Fxsave64 => Some(|core, insn| fxsave(core, insn, true)),
        Mnemonic::Fxrstor => Some(|core, insn| fxrstor(core, insn, false)),
        Mnemonic::Fxrstor64 => Some(|core, insn| fxrstor(core, insn, true)),
        Mnemonic::Ldmxcsr => Some(ldmxcsr),
        Mnemonic::Stmxcsr => Some(stmxcsr),
        _ => None,
    }
}

/// Pointers that are not `wide` have 32 bits and a selector, which is zero.
fn fxsave(core: &mut Core<'_>, insn: &Insn, wide: bool) -> Exec {
    check(core)?;
    let offset = core.effective_address(insn);
    core.require_area_alignment(insn.segment, offset, Kind::Write)?;
    core.probe_field_write::<1>(insn, AREA_SIZE - 1)?;
    let mut image = legacy_area(&core.fpu, core.mxcsr, &core.vectors);
    if !wide {
        narrow_pointers(&mut image);
    }
    let len = if core.mode == Mode::Long { IMAGE_SIZE } else { XMM8 };
    core.store_slice(insn.segment.into(), offset, &image[..len])
}

fn fxrstor(core: &mut Core<'_>, insn: &Insn, wide: bool) -> Exec {
    check(core)?;
    let offset = core.effective_address(insn);
    core.require_area_alignment(insn.segment, offset, Kind::Read)?;
    core.probe_field_read::<1>(insn, AREA_SIZE - 1)?;
    let mut image: [u8; AREA_SIZE] = core.load_bytes(insn.segment.into(), offset)?;
    let mxcsr = u32::from_le_bytes(bytes_at(&image, MXCSR));
    if mxcsr & !MXCSR_MASK != 0 {
        return core.general_protection(0);
    }
    if !wide {
        narrow_pointers(&mut image);
    }
    core.fpu = legacy_fpu(&image);
    let control = core.fpu.control;
    core.fpu.set_control(control);
    core.mxcsr = mxcsr;
    let registers = if core.mode == Mode::Long { 16 } else { 8 };
    for (index, vector) in core.vectors.iter_mut().take(registers).enumerate() {
        let at = XMM0 + 16 * index;
        let halves = [at, at + 8].map(|at| u64::from_le_bytes(bytes_at(&image, at)));
        [vector[0], vector[1]] = halves;
    }
    Ok(())
}

fn ldmxcsr(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value: u32 = core.read(insn, 0)?;
    if value & !MXCSR_MASK != 0 {
        return core.general_protection(0);
    }
    core.mxcsr = value;
    Ok(())
}

fn stmxcsr(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
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

fn bytes_at<const N: usize>(image: &[u8; AREA_SIZE], at: usize) -> [u8; N] {
    std::array::from_fn(|index| image[at + index])
}
