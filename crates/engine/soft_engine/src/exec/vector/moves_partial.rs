//! Moves of a part of a vector: scalars, halves, single lanes, sign bits (SDM vol. 2A and 2B, MOVSS, MOVLPS, MOVDDUP,
//! PEXTRB, PINSRB, PMOVMSKB and following).

use iced_x86::{Mnemonic, OpKind};

use super::access::{self, Encoding, Mmx, binary_xmm, narrow, unary_xmm, wide};
use super::lanes::{Vector, Wide, Xmm, bits, dwords, from_bits, half};
use super::moves::is_store;
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn, OperandKind};
use crate::exec::Form;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    // MOVSD is a string instruction's name too.
    let is_vector = form.insn.op0_register().is_xmm() || form.insn.op1_register().is_xmm();
    match form.mnemonic {
        Mnemonic::Movss | Mnemonic::Vmovss => scalar_move::<u32>(form),
        Mnemonic::Movsd if is_vector => scalar_move::<u64>(form),
        Mnemonic::Vmovsd => scalar_move::<u64>(form),
        Mnemonic::Movlps | Mnemonic::Movlpd | Mnemonic::Vmovlps | Mnemonic::Vmovlpd if is_store(form) => {
            narrow!(form, E, store_low::<E, u64>)
        }
        Mnemonic::Movlps | Mnemonic::Movlpd | Mnemonic::Vmovlps | Mnemonic::Vmovlpd => {
            narrow!(form, E, |core, insn| load_half::<E>(core, insn, |old, value| [value, old[1]]))
        }
        Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Vmovhps | Mnemonic::Vmovhpd if is_store(form) => {
            narrow!(form, E, store_high::<E>)
        }
        Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Vmovhps | Mnemonic::Vmovhpd => {
            narrow!(form, E, |core, insn| load_half::<E>(core, insn, |old, value| [old[0], value]))
        }
        Mnemonic::Movhlps | Mnemonic::Vmovhlps => binary_xmm!(form, |a, b| [b[1], a[1]]),
        Mnemonic::Movlhps | Mnemonic::Vmovlhps => binary_xmm!(form, |a, b| [a[0], b[0]]),
        _ => duplications(form).or_else(|| sign_masks(form)).or_else(|| lane_moves(form)),
    }
}

fn scalar_move<T: Word>(form: &Form<'_>) -> Option<Handler> {
    if is_store(form) {
        narrow!(form, E, store_low::<E, T>)
    } else if form.insn.op1_kind() == OpKind::Memory {
        narrow!(form, E, load_scalar::<E, T>)
    } else {
        narrow!(form, E, merge_scalar::<E, T>)
    }
}

fn duplications(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Vmovddup if form.insn.op0_register().is_ymm() => unary_xmm!(form, |x| [x[0]; 2]),
        Mnemonic::Movddup | Mnemonic::Vmovddup => narrow!(form, E, movddup::<E>),
        Mnemonic::Movsldup | Mnemonic::Vmovsldup => {
            unary_xmm!(form, |x| x.each(|x| u64::from(half(x, false)) * 0x1_0000_0001))
        }
        Mnemonic::Movshdup | Mnemonic::Vmovshdup => {
            unary_xmm!(form, |x| x.each(|x| u64::from(half(x, true)) * 0x1_0000_0001))
        }
        _ => None,
    }
}

fn sign_masks(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Movmskps | Mnemonic::Vmovmskps => wide!(form, E, |core, insn| {
            wide_sign_mask::<E>(core, insn, 4, |value| {
                dwords(value).iter().rev().fold(0, |mask, x| mask << 1 | x >> 31)
            })
        }),
        Mnemonic::Movmskpd | Mnemonic::Vmovmskpd => wide!(form, E, |core, insn| {
            wide_sign_mask::<E>(core, insn, 2, |value| (value[0] >> 63 | value[1] >> 63 << 1) as u32)
        }),
        Mnemonic::Pmovmskb if access::is_mmx(form.insn) => {
            Some(|core, insn| sign_mask::<Mmx>(core, insn, |value| byte_signs(value[0])))
        }
        Mnemonic::Pmovmskb | Mnemonic::Vpmovmskb => wide!(form, E, |core, insn| {
            wide_sign_mask::<E>(core, insn, 16, |value| byte_signs(value[0]) | byte_signs(value[1]) << 8)
        }),
        _ => None,
    }
}

fn lane_moves(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pextrb | Mnemonic::Vpextrb => narrow!(form, E, extract::<E, u8>),
        Mnemonic::Pextrw if access::is_mmx(form.insn) => Some(pextrw_mmx),
        Mnemonic::Pextrw | Mnemonic::Vpextrw => narrow!(form, E, extract::<E, u16>),
        Mnemonic::Pextrd | Mnemonic::Extractps | Mnemonic::Vpextrd | Mnemonic::Vextractps => {
            narrow!(form, E, extract::<E, u32>)
        }
        Mnemonic::Pextrq | Mnemonic::Vpextrq => narrow!(form, E, extract::<E, u64>),
        Mnemonic::Pinsrb | Mnemonic::Vpinsrb => narrow!(form, E, insert::<E, u8>),
        Mnemonic::Pinsrw if access::is_mmx(form.insn) => Some(pinsrw_mmx),
        Mnemonic::Pinsrw | Mnemonic::Vpinsrw => narrow!(form, E, insert::<E, u16>),
        Mnemonic::Pinsrd | Mnemonic::Vpinsrd => narrow!(form, E, insert::<E, u32>),
        Mnemonic::Pinsrq | Mnemonic::Vpinsrq => narrow!(form, E, insert::<E, u64>),
        _ => None,
    }
}

/// From memory: the rest becomes zero.
fn load_scalar<E: Encoding<V = Xmm>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = core.read::<T>(insn, 1)?.to_u64();
    E::set(core, insn.ops[0].register, [value, 0]);
    Ok(())
}

/// From a register: the rest is the first source's.
fn merge_scalar<E: Encoding<V = Xmm>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::combine::<E>(core, insn, |old, source| {
        let keep = if T::BITS == 64 { 0 } else { u64::MAX << (T::BITS % 64) };
        [old[0] & keep | source[0] & !keep, old[1]]
    })
}

/// To memory.
fn store_low<E: Encoding<V = Xmm>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = E::get(core, insn.ops[1].register)[0];
    core.write(insn, 0, T::from_u64(value))
}

/// To memory.
fn store_high<E: Encoding<V = Xmm>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = E::get(core, insn.ops[1].register)[1];
    core.write(insn, 0, value)
}

/// From memory.
#[inline(always)]
fn load_half<E: Encoding<V = Xmm>>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(Xmm, u64) -> Xmm,
) -> Exec {
    E::check(core)?;
    let value = access::low_source(core, insn, E::SECOND)?;
    let old = E::get(core, insn.ops[E::FIRST].register);
    E::set(core, insn.ops[0].register, operation(old, value));
    Ok(())
}

fn movddup<E: Encoding<V = Xmm>>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = access::low_source(core, insn, 1)?;
    E::set(core, insn.ops[0].register, [value; 2]);
    Ok(())
}

/// As [`sign_mask`], from the signs of each 128 bits, of which there are `count`.
#[inline(always)]
fn wide_sign_mask<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    count: usize,
    signs: impl Fn(Xmm) -> u32,
) -> Exec {
    sign_mask::<E>(core, insn, |value| {
        (0..E::V::LANES).fold(0, |mask, index| mask | signs(value.lane(index)) << (count * index))
    })
}

/// The signs of all lanes, zero-extended into a general-purpose register.
#[inline(always)]
fn sign_mask<E: Encoding>(core: &mut Core<'_>, insn: &Insn, signs: impl Fn(E::V) -> u32) -> Exec {
    E::check(core)?;
    let source = insn.ops[1].register;
    let value = E::get(core, source);
    E::touch(core);
    core.set_reg(insn.ops[0].register.into(), u64::from(signs(value)));
    Ok(())
}

/// The highest bits of eight bytes.
fn byte_signs(x: u64) -> u32 {
    // Each of the products moves one sign to bits 56 and up; none of them overlap.
    ((x >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// To memory, or zero-extended to a general-purpose register.
fn extract<E: Encoding<V = Xmm>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value = bits(E::get(core, insn.ops[1].register)) >> lane_shift::<T>(insn, 16);
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
fn insert<E: Encoding<V = Xmm>, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let value: T = core.read(insn, E::SECOND)?;
    let shift = lane_shift::<T>(insn, 16);
    let mask = u128::from(u64::MAX >> (64 - T::BITS)) << shift;
    let old = bits(E::get(core, insn.ops[E::FIRST].register));
    E::set(core, insn.ops[0].register, from_bits(old & !mask | u128::from(value.to_u64()) << shift));
    Ok(())
}

fn pextrw_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let [value] = Mmx::get(core, insn.ops[1].register);
    access::enter_mmx(core);
    core.set_reg(insn.ops[0].register.into(), value >> lane_shift::<u16>(insn, 8) & 0xffff);
    Ok(())
}

fn pinsrw_mmx(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    let value: u16 = core.read(insn, 1)?;
    let destination = insn.ops[0].register;
    let shift = lane_shift::<u16>(insn, 8);
    let [old] = Mmx::get(core, destination);
    Mmx::set(core, destination, [old & !(0xffff << shift) | u64::from(value) << shift]);
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
