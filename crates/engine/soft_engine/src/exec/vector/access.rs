//! Where vector instructions get their operands, where they put their results, and what is checked before
//! (SDM vol. 2A, 2.4, exception types; vol. 3, tables 2-2 and 12-1).
//!
//! Legacy encodings name two operands, and the first is source and destination; those with a VEX prefix name the first
//! source after the destination, clear what lies above the result, and ask for no alignment (SDM vol. 1, 14.1 and 14.9).
//! [`Encoding`] knows it.

use iced_x86::{EncodingKind, Instruction};

use super::lanes::{self, Mm, Vector, Wide, Xmm, Ymm};
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

/// How instructions name registers of one width, and what goes with it.
pub trait Encoding {
    /// What a register holds.
    type V: Vector;
    /// Which operand is the first source of an operation on two.
    const FIRST: usize;
    /// Which is the second one.
    const SECOND: usize;
    /// Bytes of a vector.
    const BYTES: u64;
    /// Raises what keeps these instructions from running.
    fn check(core: &mut Core<'_>) -> Exec;
    /// The value of register `number`.
    fn get(core: &Core<'_>, number: u8) -> Self::V;
    /// Sets register `number`.
    fn set(core: &mut Core<'_>, number: u8, value: Self::V);
    /// What using the registers does besides, where none is written.
    fn touch(_core: &mut Core<'_>) {}
    /// Loads the memory operand, with the check of its alignment.
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Self::V>;
    /// Operand `index`, a register or memory.
    #[inline(always)]
    fn source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<Self::V> {
        let operand = insn.ops[index];
        if operand.is_memory() { Self::load(core, insn) } else { Ok(Self::get(core, operand.register)) }
    }
}

/// MMX registers.
pub struct Mmx;
/// XMM registers by legacy encodings, which leave the upper halves of YMM registers alone.
pub struct Sse;
/// XMM registers by VEX prefixes.
pub struct Vex128;
/// YMM registers.
pub struct Vex256;

impl Encoding for Mmx {
    type V = Mm;
    const FIRST: usize = 0;
    const SECOND: usize = 1;
    const BYTES: u64 = 8;

    #[inline(always)]
    fn check(core: &mut Core<'_>) -> Exec {
        check_mmx(core)
    }

    #[inline(always)]
    fn get(core: &Core<'_>, number: u8) -> Mm {
        [core.fpu.registers[usize::from(number & 7)].significand]
    }

    #[inline(always)]
    fn set(core: &mut Core<'_>, number: u8, value: Mm) {
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
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Mm> {
        let offset = core.effective_address(insn);
        Ok([core.load(insn.segment.into(), offset)?])
    }
}

impl Encoding for Sse {
    type V = Xmm;
    const FIRST: usize = 0;
    const SECOND: usize = 1;
    const BYTES: u64 = 16;

    #[inline(always)]
    fn check(core: &mut Core<'_>) -> Exec {
        check_sse(core)
    }

    #[inline(always)]
    fn get(core: &Core<'_>, number: u8) -> Xmm {
        let [low, high, ..] = core.vectors[usize::from(number) & REGISTER_MASK];
        [low, high]
    }

    #[inline(always)]
    fn set(core: &mut Core<'_>, number: u8, value: Xmm) {
        let register = &mut core.vectors[usize::from(number) & REGISTER_MASK];
        [register[0], register[1]] = value;
    }

    #[inline(always)]
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Xmm> {
        let offset = core.effective_address(insn);
        core.require_alignment(insn.segment, offset, 16, Kind::Read)?;
        load_xmm(core, insn, offset)
    }
}

impl Encoding for Vex128 {
    type V = Xmm;
    const FIRST: usize = 1;
    const SECOND: usize = 2;
    const BYTES: u64 = 16;

    #[inline(always)]
    fn check(core: &mut Core<'_>) -> Exec {
        check_avx(core)
    }

    #[inline(always)]
    fn get(core: &Core<'_>, number: u8) -> Xmm {
        Sse::get(core, number)
    }

    #[inline(always)]
    fn set(core: &mut Core<'_>, number: u8, value: Xmm) {
        core.vectors[usize::from(number) & REGISTER_MASK] = [value[0], value[1], 0, 0];
    }

    #[inline(always)]
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Xmm> {
        let offset = core.effective_address(insn);
        load_xmm(core, insn, offset)
    }
}

impl Encoding for Vex256 {
    type V = Ymm;
    const FIRST: usize = 1;
    const SECOND: usize = 2;
    const BYTES: u64 = 32;

    #[inline(always)]
    fn check(core: &mut Core<'_>) -> Exec {
        check_avx(core)
    }

    #[inline(always)]
    fn get(core: &Core<'_>, number: u8) -> Ymm {
        core.vectors[usize::from(number) & REGISTER_MASK]
    }

    #[inline(always)]
    fn set(core: &mut Core<'_>, number: u8, value: Ymm) {
        core.vectors[usize::from(number) & REGISTER_MASK] = value;
    }

    #[inline(always)]
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Ymm> {
        let offset = core.effective_address(insn);
        load_ymm(core, insn, offset)
    }
}

/// Which [`Encoding`] an instruction is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// [`Mmx`].
    Mmx,
    /// [`Sse`].
    Sse,
    /// [`Vex128`], also where no vector register is named.
    Vex128,
    /// [`Vex256`].
    Vex256,
}

impl Class {
    /// That of `insn`: by the widest operand.
    pub fn of(insn: &Instruction) -> Class {
        let is_vex = insn.code().encoding() == EncodingKind::VEX;
        let has_ymm = (0..insn.op_count()).any(|index| insn.op_register(index).is_ymm())
            || insn.memory_size().size() == Vex256::BYTES as usize;
        match (is_vex, has_ymm) {
            (true, true) => Class::Vex256,
            (true, false) => Class::Vex128,
            _ if is_mmx(insn) => Class::Mmx,
            _ => Class::Sse,
        }
    }
}

/// Raises #UD or #NM if AVX cannot be used now (SDM vol. 2A, 2.4, exception types 1 to 8).
#[inline(always)]
pub fn check_avx(core: &mut Core<'_>) -> Exec {
    let enabled = core.has_avx_enabled();
    if enabled && core.cr0 & cr0::TS == 0 { Ok(()) } else { refuse_avx(core, enabled) }
}

/// Sets XMM register `number` as the encoding does, whose own registers may be wider.
#[inline(always)]
pub fn set_xmm<E: Encoding>(core: &mut Core<'_>, number: u8, value: Xmm) {
    if E::FIRST == 0 { Sse::set(core, number, value) } else { Vex128::set(core, number, value) }
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
    Ok(lanes::from_bytes(core.load_bytes(insn.segment.into(), offset)?))
}

/// Loads 32 bytes. Where alignment is checked, that to 16 bytes does, as on AMD's processors.
#[inline(always)]
fn load_ymm(core: &mut Core<'_>, insn: &Insn, offset: u64) -> Exec<Ymm> {
    core.check_wide_alignment(insn.segment, offset, 16)?;
    Ok(lanes::from_wide_bytes(core.load_bytes(insn.segment.into(), offset)?))
}

/// Stores a vector, as [`load_xmm`] and its like load one.
#[inline(always)]
pub fn store_vector<V: Wide>(core: &mut Core<'_>, insn: &Insn, offset: u64, value: V) -> Exec {
    core.check_wide_alignment(insn.segment, offset, 16)?;
    let mut bytes = [0; 32];
    for (index, place) in bytes.as_chunks_mut().0.iter_mut().enumerate().take(V::LANES) {
        *place = lanes::bytes(value.lane(index));
    }
    core.store_slice(insn.segment.into(), offset, &bytes[..16 * V::LANES])
}

/// Operand `index`: a vector register, or memory that need not be aligned.
#[inline(always)]
pub fn unaligned_vector<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<E::V> {
    if !insn.ops[index].is_memory() {
        return Ok(E::get(core, insn.ops[index].register));
    }
    let offset = core.effective_address(insn);
    let value = if E::BYTES == 32 {
        load_ymm(core, insn, offset)?
    } else {
        let [low, high] = load_xmm(core, insn, offset)?;
        [low, high, 0, 0]
    };
    Ok(E::V::from_lanes(|index| value.lane(index)))
}

/// Operand `index`: an XMM register, or memory that need not be aligned.
#[inline(always)]
pub fn unaligned_source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<Xmm> {
    unaligned_vector::<Vex128>(core, insn, index)
}

/// Operand `index`: the low 64 bits of an XMM register, or 64 bits of memory.
#[inline(always)]
pub fn low_source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<u64> {
    match insn.ops[index].kind {
        OperandKind::Memory => core.read(insn, index),
        _ => Ok(Sse::get(core, insn.ops[index].register)[0]),
    }
}

/// Operand `index`: the low 32 bits of an XMM register, or 32 bits of memory.
#[inline(always)]
pub fn lowest_source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<u32> {
    match insn.ops[index].kind {
        OperandKind::Memory => core.read(insn, index),
        _ => Ok(Sse::get(core, insn.ops[index].register)[0] as u32),
    }
}

/// destination = operation(first source, second source).
#[inline(always)]
pub fn combine<E: Encoding>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl FnOnce(E::V, E::V) -> E::V,
) -> Exec {
    E::check(core)?;
    let second = E::source(core, insn, E::SECOND)?;
    let first = E::get(core, insn.ops[E::FIRST].register);
    E::set(core, insn.ops[0].register, operation(first, second));
    Ok(())
}

/// As [`combine`], for an operation on each 128 bits.
#[inline(always)]
pub fn combine_128<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(Xmm, Xmm) -> Xmm,
) -> Exec {
    combine::<E>(core, insn, |a, b| lanes::zip_128(a, b, operation))
}

/// As [`combine_128`], with the immediate byte, of which each 128 bits use `bits` of their own; none: all the same.
#[inline(always)]
pub fn combine_immediate<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    bits: usize,
    operation: impl Fn(Xmm, Xmm, u8) -> Xmm,
) -> Exec {
    let imm = insn.imm as u8;
    combine::<E>(core, insn, |a, b| {
        E::V::from_lanes(|index| operation(a.lane(index), b.lane(index), imm >> (bits * index)))
    })
}

/// As [`combine`] for XMM registers, with a source in memory that need not be aligned: the SHA extensions on AMD's
/// processors.
#[inline(always)]
pub fn combine_unaligned(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(Xmm, Xmm) -> Xmm) -> Exec {
    check_sse(core)?;
    let second = unaligned_source(core, insn, 1)?;
    let destination = insn.ops[0].register;
    let first = Sse::get(core, destination);
    Sse::set(core, destination, operation(first, second));
    Ok(())
}

/// destination = operation(source): the only one, whatever the encoding.
#[inline(always)]
pub fn unary<E: Encoding>(core: &mut Core<'_>, insn: &Insn, operation: impl FnOnce(E::V) -> E::V) -> Exec {
    E::check(core)?;
    let source = E::source(core, insn, 1)?;
    E::set(core, insn.ops[0].register, operation(source));
    Ok(())
}

/// As [`unary`], for an operation on each 128 bits.
#[inline(always)]
pub fn unary_128<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(Xmm) -> Xmm,
) -> Exec {
    unary::<E>(core, insn, |source| E::V::from_lanes(|index| operation(source.lane(index))))
}

/// Whether the instruction works on MMX registers.
pub fn is_mmx(insn: &Instruction) -> bool {
    insn.op0_register().is_mm() || insn.op1_register().is_mm()
}

/// The handler of an instruction for its [`Encoding`], of those listed, which `$handler` finds under the name `$e`.
macro_rules! by_encoding {
    ($form:expr, [$($encoding:ident)*], $e:ident, $handler:expr) => {{
        let class = super::access::Class::of($form.insn);
        'found: {
            $(if class == super::access::Class::$encoding {
                type $e = super::access::$encoding;
                let handler: crate::decode::insn::Handler = $handler;
                break 'found Some(handler);
            })*
            None
        }
    }};
}
pub(super) use by_encoding;

/// [`by_encoding!`] of instructions on XMM and YMM registers.
macro_rules! wide {
    ($form:expr, $e:ident, $handler:expr) => {
        super::access::by_encoding!($form, [Sse Vex128 Vex256], $e, $handler)
    };
}
pub(super) use wide;

/// [`by_encoding!`] of instructions on XMM registers only.
macro_rules! narrow {
    ($form:expr, $e:ident, $handler:expr) => {
        super::access::by_encoding!($form, [Sse Vex128], $e, $handler)
    };
}
pub(super) use narrow;

/// The handler of an instruction that has forms for MMX registers and up: `operation` on two vectors.
macro_rules! binary {
    ($form:expr, $operation:expr) => {
        super::access::by_encoding!($form, [Mmx Sse Vex128 Vex256], E, |core, insn| {
            super::access::combine::<E>(core, insn, $operation)
        })
    };
}
pub(super) use binary;

/// The handler of an instruction that has forms for XMM registers and up: `operation` on 128 bits of two vectors.
macro_rules! binary_xmm {
    ($form:expr, $operation:expr) => {
        super::access::wide!($form, E, |core, insn| super::access::combine_128::<E>(core, insn, $operation))
    };
}
pub(super) use binary_xmm;

/// As [`binary_xmm!`], on 128 bits of one vector.
macro_rules! unary_xmm {
    ($form:expr, $operation:expr) => {
        super::access::wide!($form, E, |core, insn| super::access::unary_128::<E>(core, insn, $operation))
    };
}
pub(super) use unary_xmm;

/// As [`binary_xmm!`], with the immediate byte, of which each 128 bits have `$bits` of their own.
macro_rules! binary_immediate {
    ($form:expr, $bits:literal, $operation:expr) => {
        super::access::wide!($form, E, |core, insn| {
            super::access::combine_immediate::<E>(core, insn, $bits, $operation)
        })
    };
}
pub(super) use binary_immediate;

/// As [`unary_xmm!`], with the immediate byte.
macro_rules! unary_immediate {
    ($form:expr, $operation:expr) => {
        super::access::wide!($form, E, |core, insn| {
            super::access::unary_128::<E>(core, insn, |source| $operation(source, insn.imm as u8))
        })
    };
}
pub(super) use unary_immediate;

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

#[cold]
#[inline(never)]
fn refuse_avx(core: &mut Core<'_>, enabled: bool) -> Exec {
    if enabled { core.raise(Exception::plain(vector::NM)) } else { core.undefined() }
}
