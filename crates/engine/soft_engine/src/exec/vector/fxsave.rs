//! FXSAVE, FXRSTOR, LDMXCSR, STMXCSR (SDM vol. 2A; the image: vol. 1, 10.5 and table "Layout of the 64-bit-mode FXSAVE64
//! Map").

use iced_x86::Mnemonic;

use super::access;
use crate::cpu::mode::cr0;
use crate::cpu::{Core, Cpu, Exception, Exec, Mode, X87Register, vector};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::memory::paging::Kind;

/// Bits of MXCSR that exist; others cannot be set (SDM vol. 1, 11.6.6).
pub const MXCSR_MASK: u32 = 0xffff;
/// What FXSAVE writes: neither reserved space after the registers nor what software may use.
const IMAGE_SIZE: usize = 416;

/// Offsets in the image.
mod at {
    pub const CONTROL: usize = 0;
    pub const STATUS: usize = 2;
    pub const VALID: usize = 4;
    pub const OPCODE: usize = 6;
    pub const INSTRUCTION: usize = 8;
    pub const DATA: usize = 16;
    pub const MXCSR: usize = 24;
    pub const MXCSR_MASK: usize = 28;
    pub const X87: usize = 32;
    pub const XMM: usize = 160;
    /// Where the registers of 64-bit mode begin.
    pub const XMM8: usize = 288;
}

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

fn fxsave(core: &mut Core<'_>, insn: &Insn, wide: bool) -> Exec {
    check(core)?;
    let offset = core.effective_address(insn);
    access::check_aligned(core, insn, offset, Kind::Write)?;
    let image = save(&core.cpu, wide);
    let len = if core.mode == Mode::Long { IMAGE_SIZE } else { at::XMM8 };
    core.store_slice(insn.segment.into(), offset, &image[..len])
}

fn fxrstor(core: &mut Core<'_>, insn: &Insn, wide: bool) -> Exec {
    check(core)?;
    let offset = core.effective_address(insn);
    access::check_aligned(core, insn, offset, Kind::Read)?;
    let image: [u8; 512] = core.load_bytes(insn.segment.into(), offset)?;
    if u32_at(&image, at::MXCSR) & !MXCSR_MASK != 0 {
        return core.general_protection(0);
    }
    let registers = if core.mode == Mode::Long { 16 } else { 8 };
    restore(&mut core.cpu, &image, wide, registers);
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

/// The image; `wide` pointers have 64 bits, others 32 and a selector, which is saved as zero.
fn save(cpu: &Cpu, wide: bool) -> [u8; IMAGE_SIZE] {
    let fpu = &cpu.fpu;
    let mut image = [0; IMAGE_SIZE];
    let pointer_bytes = if wide { 8 } else { 4 };
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(at::CONTROL, &fpu.control.to_le_bytes());
    put(at::STATUS, &fpu.status.to_le_bytes());
    put(at::VALID, &[fpu.valid]);
    put(at::OPCODE, &fpu.opcode.to_le_bytes());
    put(at::INSTRUCTION, &fpu.instruction.to_le_bytes()[..pointer_bytes]);
    put(at::DATA, &fpu.data.to_le_bytes()[..pointer_bytes]);
    put(at::MXCSR, &cpu.mxcsr.to_le_bytes());
    put(at::MXCSR_MASK, &MXCSR_MASK.to_le_bytes());
    for index in 0..8 {
        let register = fpu.registers[physical(fpu.status, index)];
        put(at::X87 + 16 * index, &register.significand.to_le_bytes());
        put(at::X87 + 16 * index + 8, &register.sign_exponent.to_le_bytes());
    }
    for (index, [low, high, ..]) in cpu.vectors.iter().enumerate() {
        put(at::XMM + 16 * index, &low.to_le_bytes());
        put(at::XMM + 16 * index + 8, &high.to_le_bytes());
    }
    image
}

fn restore(cpu: &mut Cpu, image: &[u8; 512], wide: bool, registers: usize) {
    let pointer = |at: usize| if wide { u64_at(image, at) } else { u32_at(image, at).into() };
    let fpu = &mut cpu.fpu;
    fpu.control = u16_at(image, at::CONTROL);
    fpu.status = u16_at(image, at::STATUS);
    fpu.valid = image[at::VALID];
    fpu.opcode = u16_at(image, at::OPCODE) & 0x7ff;
    fpu.instruction = pointer(at::INSTRUCTION);
    fpu.data = pointer(at::DATA);
    for index in 0..8 {
        let at = at::X87 + 16 * index;
        fpu.registers[physical(fpu.status, index)] =
            X87Register { significand: u64_at(image, at), sign_exponent: u16_at(image, at + 8) };
    }
    cpu.mxcsr = u32_at(image, at::MXCSR);
    for (index, vector) in cpu.vectors.iter_mut().take(registers).enumerate() {
        let at = at::XMM + 16 * index;
        (vector[0], vector[1]) = (u64_at(image, at), u64_at(image, at + 8));
    }
}

/// Number of the register that is ST(`index`).
fn physical(status: u16, index: usize) -> usize {
    (usize::from(status >> 11) + index) & 7
}

fn bytes_at<const N: usize>(image: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| image[at + index])
}

fn u16_at(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(image, at))
}

fn u32_at(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(image, at))
}

fn u64_at(image: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(image, at))
}
