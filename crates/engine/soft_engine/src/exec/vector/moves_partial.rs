//! Moves of a part of a vector: scalars, halves, single lanes, sign bits (SDM vol. 2A and 2B, MOVSS, MOVLPS, MOVDDUP,
//! PEXTRB, PINSRB, PMOVMSKB and following).

use iced_x86::Mnemonic;

use super::access::{self, Register, binary_xmm};
use super::lanes::{Mm, Vector, Xmm, bits, dwords, from_bits, half};
use super::moves::by_place;
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn, OperandKind};
use crate::exec::Form;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    // MOVSD is a string instruction's name too.
    let is_vector = form.insn.op0_register().is_xmm() || form.insn.op1_register().is_xmm();
    match form.mnemonic {
        Mnemonic::Movss => Some(by_place(form, [load_scalar::<u32>, store_low::<u32>])),
        Mnemonic::Movsd if is_vector => Some(by_place(form, [load_scalar::<u64>, store_low::<u64>])),
        Mnemonic::Movlps | Mnemonic::Movlpd => Some(by_place(form, [load_low, store_low::<u64>])),
        Mnemonic::Movhps | Mnemonic::Movhpd => Some(by_place(form, [load_high, store_high])),
        Mnemonic::Movhlps => binary_xmm!(|a, b| [b[1], a[1]]),
        Mnemonic::Movlhps => binary_xmm!(|a, b| [a[0], b[0]]),
        Mnemonic::Movddup => Some(movddup),
        Mnemonic::Movsldup => binary_xmm!(|_, b| b.each(|x| u64::from(half(x, false)) * 0x1_0000_0001)),
        Mnemonic::Movshdup => binary_xmm!(|_, b| b.each(|x| u64::from(half(x, true)) * 0x1_0000_0001)),
        Mnemonic::Movmskps => Some(|core, insn| {
            sign_mask::<Xmm>(core, insn, |value| {
                dwords(value).iter().rev().fold(0, |mask, x| mask << 1 | x >> 31)
            })
        }),
        Mnemonic::Movmskpd => Some(|core, insn| {
            sign_mask::<Xmm>(core, insn, |value| (value[0] >> 63 | value[1] >> 63 << 1) as u32)
        }),
        Mnemonic::Pmovmskb if access::is_mmx(form.insn) => {
            Some(|core, insn| sign_mask::<Mm>(core, insn, |value| byte_signs(value[0])))
        }
        Mnemonic::Pmovmskb => Some(|core, insn| {
            sign_mask::<Xmm>(core, insn, |value| byte_signs(value[0]) | byte_signs(value[1]) << 8)
        }),
        _ => lane_moves(form),
    }
}

fn lane_moves(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pextrb => Some(extract::<u8>),
        Mnemonic::Pextrw if access::is_mmx(form.insn) => Some(pextrw_mmx),
        Mnemonic::Pextrw => Some(extract::<u16>),
        Mnemonic::Pextrd | Mnemonic::Extractps => Some(extract::<u32>),
        Mnemonic::Pextrq => Some(extract::<u64>),
        Mnemonic::Pinsrb => Some(insert::<u8>),
        Mnemonic::Pinsrw if access::is_mmx(form.insn) => Some(pinsrw_mmx),
        Mnemonic::Pinsrw => Some(insert::<u16>),
        Mnemonic::Pinsrd => Some(insert::<u32>),
        Mnemonic::Pinsrq => Some(insert::<u64>),
        _ => None,
    }
}

/// From memory the rest becomes zero, from a register it stays.
fn load_scalar<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let destination = insn.ops[0].register;
    let value = if insn.ops[1].is_memory() {
        [core.read::<T>(insn, 1)?.to_u64(), 0]
    } else {
        let (old, source) = (Xmm::get(core, destination), Xmm::get(core, insn.ops[1].register));
        let keep = if T::BITS == 64 { 0 } else { u64::MAX << (T::BITS % 64) };
        [old[0] & keep | source[0] & !keep, old[1]]
    };
    Xmm::set(core, destination, value);
    Ok(())
}

/// To memory.
fn store_low<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value = Xmm::get(core, insn.ops[1].register)[0];
    core.write(insn, 0, T::from_u64(value))
}

fn store_high(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value = Xmm::get(core, insn.ops[1].register)[1];
    core.write(insn, 0, value)
}

fn load_low(core: &mut Core<'_>, insn: &Insn) -> Exec {
    load_half(core, insn, |old, value| [value, old[1]])
}

fn load_high(core: &mut Core<'_>, insn: &Insn) -> Exec {
    load_half(core, insn, |old, value| [old[0], value])
}

fn movddup(core: &mut Core<'_>, insn: &Insn) -> Exec {
    load_half(core, insn, |_, value| [value; 2])
}

#[inline(always)]
fn load_half(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(Xmm, u64) -> Xmm) -> Exec {
    access::check_sse(core)?;
    let value = access::low_source(core, insn, 1)?;
    let destination = insn.ops[0].register;
    let old = Xmm::get(core, destination);
    Xmm::set(core, destination, operation(old, value));
    Ok(())
}

/// The signs of all lanes, zero-extended into a general-purpose register.
#[inline(always)]
fn sign_mask<V: Register>(core: &mut Core<'_>, insn: &Insn, signs: impl Fn(V) -> u32) -> Exec {
    V::check(core)?;
    let source = insn.ops[1].register;
    let value = V::get(core, source);
    V::touch(core);
    core.set_reg(insn.ops[0].register.into(), u64::from(signs(value)));
    Ok(())
}

/// The highest bits of eight bytes.
fn byte_signs(x: u64) -> u32 {
    // Each of the products moves one sign to bits 56 and up; none of them overlap.
    ((x >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// To memory, or zero-extended to a general-purpose register.
fn extract<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value = bits(Xmm::get(core, insn.ops[1].register)) >> lane_shift::<T>(insn, 16);
    let value = T::from_u64(value as u64);
    match insn.ops[0].kind {
        OperandKind::Memory => core.write(insn, 0, value),
        _ => {
            core.set_reg(insn.ops[0].register.into(), value.to_u64());
            Ok(())
        }
    }
}

/// From memory, or from the low part of a general-purpose register.
fn insert<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let value: T = core.read(insn, 1)?;
    let destination = insn.ops[0].register;
    let shift = lane_shift::<T>(insn, 16);
    let mask = u128::from(u64::MAX >> (64 - T::BITS)) << shift;
    let old = bits(Xmm::get(core, destination));
    Xmm::set(core, destination, from_bits(old & !mask | u128::from(value.to_u64()) << shift));
    Ok(())
}

fn pextrw_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let [value] = Mm::get(core, insn.ops[1].register);
    access::enter_mmx(core);
    core.set_reg(insn.ops[0].register.into(), value >> lane_shift::<u16>(insn, 8) & 0xffff);
    Ok(())
}

fn pinsrw_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let value: u16 = core.read(insn, 1)?;
    let destination = insn.ops[0].register;
    let shift = lane_shift::<u16>(insn, 8);
    let [old] = Mm::get(core, destination);
    Mm::set(core, destination, [old & !(0xffff << shift) | u64::from(value) << shift]);
    Ok(())
}

/// Where the lane is that the immediate names, in a vector of `size` bytes.
fn lane_shift<T: Word>(insn: &Insn, size: usize) -> u32 {
    (insn.imm as u32 & (size / T::BYTES - 1) as u32) * T::BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_gathered_in_order() {
        assert_eq!(byte_signs(0x8000_0000_0000_00ff), 0x81);
        for index in 0..8 {
            assert_eq!(byte_signs(0x80 << (8 * index)), 1 << index);
            assert_eq!(byte_signs(!(0x80 << (8 * index))), 0xff & !(1 << index));
        }
    }
}
