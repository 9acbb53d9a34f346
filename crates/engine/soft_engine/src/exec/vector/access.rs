//! Where vector instructions get their operands, where they put their results, and what is checked before
//! (SDM vol. 2A, 2.4, exception types; vol. 3, tables 2-2 and 12-1).
//!
//! Legacy encodings name two operands, and the first is source and destination: only the functions here know it.

use iced_x86::Instruction;

use super::lanes::{Mm, Vector, Xmm};
use crate::cpu::mode::{cr0, cr4};
use crate::cpu::{Core, Exception, Exec, vector};
use crate::decode::insn::{Insn, OperandKind};
use crate::memory::paging::Kind;

/// TOP in the x87 status word.
const STATUS_TOP: u16 = 7 << 11;
/// Error summary in the x87 status word: an unmasked exception waits.
const STATUS_ES: u16 = 1 << 7;
/// What the exponent field of a register becomes when MMX writes it (SDM vol. 1, 9.2.2).
const MMX_EXPONENT: u16 = 0xffff;
/// XMM registers that there are.
const REGISTER_MASK: usize = 15;

/// A vector register file.
pub trait Register: Vector {
    /// Raises what keeps instructions on these registers from running.
    fn check(core: &mut Core<'_>) -> Exec;
    /// The value of register `number`.
    fn get(core: &Core<'_>, number: u8) -> Self;
    /// Sets register `number`.
    fn set(core: &mut Core<'_>, number: u8, value: Self);
    /// What using the registers does besides, where none is written.
    fn touch(core: &mut Core<'_>);
    /// Loads the memory operand, with the check of its alignment.
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Self>;
    /// Operand `index`, a register or memory.
    #[inline(always)]
    fn source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<Self> {
        let operand = insn.ops[index];
        if operand.is_memory() { Self::load(core, insn) } else { Ok(Self::get(core, operand.register)) }
    }
}

impl Register for Mm {
    #[inline(always)]
    fn check(core: &mut Core<'_>) -> Exec {
        check_mmx(core)
    }

    #[inline(always)]
    fn get(core: &Core<'_>, number: u8) -> Self {
        [core.fpu.registers[usize::from(number & 7)].significand]
    }

    #[inline(always)]
    fn set(core: &mut Core<'_>, number: u8, value: Self) {
        enter_mmx(core);
        let register = &mut core.fpu.registers[usize::from(number & 7)];
        register.significand = value[0];
        register.sign_exponent = MMX_EXPONENT;
    }

    #[inline(always)]
    fn touch(core: &mut Core<'_>) {
        enter_mmx(core);
    }

    #[inline(always)]
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Self> {
        let offset = core.effective_address(insn);
        Ok([core.load(insn.segment.into(), offset)?])
    }
}

impl Register for Xmm {
    #[inline(always)]
    fn check(core: &mut Core<'_>) -> Exec {
        check_sse(core)
    }

    #[inline(always)]
    fn get(core: &Core<'_>, number: u8) -> Self {
        let [low, high, ..] = core.vectors[usize::from(number) & REGISTER_MASK];
        [low, high]
    }

    #[inline(always)]
    fn set(core: &mut Core<'_>, number: u8, value: Self) {
        let register = &mut core.vectors[usize::from(number) & REGISTER_MASK];
        [register[0], register[1]] = value;
    }

    #[inline(always)]
    fn touch(_core: &mut Core<'_>) {}

    #[inline(always)]
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Self> {
        let offset = core.effective_address(insn);
        core.require_alignment(insn.segment, offset, 16, Kind::Read)?;
        load_xmm(core, insn, offset)
    }
}

/// Raises #UD or #NM if SSE cannot be used now.
#[inline(always)]
pub fn check_sse(core: &mut Core<'_>) -> Exec {
    if core.cr0 & (cr0::EM | cr0::TS) == 0 && core.cr4 & cr4::OSFXSR != 0 { Ok(()) } else { refuse_sse(core) }
}

/// Raises #UD, #NM or #MF if MMX cannot be used now.
#[inline(always)]
pub fn check_mmx(core: &mut Core<'_>) -> Exec {
    let available = core.cr0 & (cr0::EM | cr0::TS) == 0 && core.fpu.status & STATUS_ES == 0;
    if available { Ok(()) } else { refuse_mmx(core) }
}

/// The x87 unit becomes the MMX one: all registers valid, TOP zero (SDM vol. 1, 9.5.1).
#[inline(always)]
pub fn enter_mmx(core: &mut Core<'_>) {
    core.fpu.status &= !STATUS_TOP;
    core.fpu.valid = 0xff;
}

/// Loads 16 bytes; that they are not aligned matters only if alignment is checked.
#[inline(always)]
pub fn load_xmm(core: &mut Core<'_>, insn: &Insn, offset: u64) -> Exec<Xmm> {
    core.check_wide_alignment(insn.segment, offset, 16)?;
    Ok(super::lanes::from_bytes(core.load_bytes(insn.segment.into(), offset)?))
}

/// Stores 16 bytes, as [`load_xmm`] loads them.
#[inline(always)]
pub fn store_xmm(core: &mut Core<'_>, insn: &Insn, offset: u64, value: Xmm) -> Exec {
    core.check_wide_alignment(insn.segment, offset, 16)?;
    core.store_slice(insn.segment.into(), offset, &super::lanes::bytes(value))
}

/// Operand `index`: an XMM register, or memory that need not be aligned.
#[inline(always)]
pub fn unaligned_source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<Xmm> {
    if insn.ops[index].is_memory() {
        let offset = core.effective_address(insn);
        load_xmm(core, insn, offset)
    } else {
        Ok(Xmm::get(core, insn.ops[index].register))
    }
}

/// Operand `index`: the low 64 bits of an XMM register, or 64 bits of memory.
#[inline(always)]
pub fn low_source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<u64> {
    match insn.ops[index].kind {
        OperandKind::Memory => core.read(insn, index),
        _ => Ok(Xmm::get(core, insn.ops[index].register)[0]),
    }
}

/// Operand `index`: the low 32 bits of an XMM register, or 32 bits of memory.
#[inline(always)]
pub fn lowest_source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<u32> {
    match insn.ops[index].kind {
        OperandKind::Memory => core.read(insn, index),
        _ => Ok(Xmm::get(core, insn.ops[index].register)[0] as u32),
    }
}

/// destination = operation(destination, source).
#[inline(always)]
pub fn combine<V: Register>(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(V, V) -> V) -> Exec {
    V::check(core)?;
    let second = V::source(core, insn, 1)?;
    let destination = insn.ops[0].register;
    let first = V::get(core, destination);
    V::set(core, destination, operation(first, second));
    Ok(())
}

/// As [`combine`] for XMM registers, with a source in memory that need not be aligned: the SHA extensions on AMD's
/// processors.
#[inline(always)]
pub fn combine_unaligned(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(Xmm, Xmm) -> Xmm) -> Exec {
    check_sse(core)?;
    let second = unaligned_source(core, insn, 1)?;
    let destination = insn.ops[0].register;
    let first = Xmm::get(core, destination);
    Xmm::set(core, destination, operation(first, second));
    Ok(())
}

/// destination = operation(source).
#[inline(always)]
pub fn unary<V: Register>(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(V) -> V) -> Exec {
    combine(core, insn, |_, source| operation(source))
}

/// Whether the instruction works on MMX registers.
pub fn is_mmx(insn: &Instruction) -> bool {
    insn.op0_register().is_mm() || insn.op1_register().is_mm()
}

/// The handler of an instruction that has an MMX and an XMM form: `operation` on two vectors.
macro_rules! binary {
    ($form:expr, $operation:expr) => {{
        let (mmx, sse): (crate::decode::insn::Handler, crate::decode::insn::Handler) = (
            |core, insn| super::access::combine::<super::lanes::Mm>(core, insn, $operation),
            |core, insn| super::access::combine::<super::lanes::Xmm>(core, insn, $operation),
        );
        Some(if super::access::is_mmx($form.insn) { mmx } else { sse })
    }};
}
pub(super) use binary;

/// The handler of an instruction that has only an XMM form: `operation` on two vectors.
macro_rules! binary_xmm {
    ($operation:expr) => {{
        let handler: crate::decode::insn::Handler =
            |core, insn| super::access::combine::<super::lanes::Xmm>(core, insn, $operation);
        Some(handler)
    }};
}
pub(super) use binary_xmm;

/// The handler of an instruction that has only an XMM form: `operation` on two vectors and the immediate byte.
macro_rules! binary_immediate {
    ($operation:expr) => {{
        let handler: crate::decode::insn::Handler = |core, insn| {
            super::access::combine::<super::lanes::Xmm>(core, insn, |a, b| $operation(a, b, insn.imm as u8))
        };
        Some(handler)
    }};
}
pub(super) use binary_immediate;

#[cold]
#[inline(never)]
fn refuse_sse(core: &mut Core<'_>) -> Exec {
    if core.cr0 & cr0::EM != 0 || core.cr4 & cr4::OSFXSR == 0 {
        return core.undefined();
    }
    core.raise(Exception::plain(vector::NM))
}

#[cold]
#[inline(never)]
fn refuse_mmx(core: &mut Core<'_>) -> Exec {
    if core.cr0 & cr0::EM != 0 {
        return core.undefined();
    }
    let vector = if core.cr0 & cr0::TS != 0 { vector::NM } else { vector::MF };
    core.raise(Exception::plain(vector))
}
