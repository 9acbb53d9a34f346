//! Bitwise logic and shifts (SDM vol. 2B, PAND, PSLLW and following; ANDPS and its like are the same on bits).

use iced_x86::Mnemonic;

use super::access::{Encoding, Vex128, Vex256, binary, binary_xmm, by_encoding, wide};
use super::lanes::{Lane, Vector, Wide, bits, from_bits};
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn, OperandKind};
use crate::exec::Form;

/// A shift of each lane by a count that is the same for all: `operation(lane, count)`.
macro_rules! shift {
    ($form:expr, $lane:ty, $operation:expr) => {
        by_encoding!($form, [Mmx Sse Vex128 Vex256], E, |core, insn| {
            shift::<E, $lane>(core, insn, $operation)
        })
    };
}

/// A shift of each lane by a count of its own.
macro_rules! variable_shift {
    ($form:expr, $lane:ty, $operation:expr) => {
        binary!($form, |a, b| a.zip_lanes::<$lane>(b, $operation))
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pand | Mnemonic::Vpand => binary!(form, |a, b| a.vertical(b, |a, b| a & b)),
        Mnemonic::Pandn | Mnemonic::Vpandn => binary!(form, |a, b| a.vertical(b, |a, b| !a & b)),
        Mnemonic::Por | Mnemonic::Vpor => binary!(form, |a, b| a.vertical(b, |a, b| a | b)),
        Mnemonic::Pxor | Mnemonic::Vpxor => binary!(form, |a, b| a.vertical(b, |a, b| a ^ b)),
        Mnemonic::Andps | Mnemonic::Vandps | Mnemonic::Andpd | Mnemonic::Vandpd => {
            binary_xmm!(form, |a, b| a.vertical(b, |a, b| a & b))
        }
        Mnemonic::Andnps | Mnemonic::Vandnps | Mnemonic::Andnpd | Mnemonic::Vandnpd => {
            binary_xmm!(form, |a, b| a.vertical(b, |a, b| !a & b))
        }
        Mnemonic::Orps | Mnemonic::Vorps | Mnemonic::Orpd | Mnemonic::Vorpd => {
            binary_xmm!(form, |a, b| a.vertical(b, |a, b| a | b))
        }
        Mnemonic::Xorps | Mnemonic::Vxorps | Mnemonic::Xorpd | Mnemonic::Vxorpd => {
            binary_xmm!(form, |a, b| a.vertical(b, |a, b| a ^ b))
        }
        _ => shifts(form),
    }
}

fn shifts(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Psllw | Mnemonic::Vpsllw => shift!(form, u16, |x: u16, n| x.checked_shl(n).unwrap_or(0)),
        Mnemonic::Pslld | Mnemonic::Vpslld => shift!(form, u32, |x: u32, n| x.checked_shl(n).unwrap_or(0)),
        Mnemonic::Psllq | Mnemonic::Vpsllq => shift!(form, u64, |x: u64, n| x.checked_shl(n).unwrap_or(0)),
        Mnemonic::Psrlw | Mnemonic::Vpsrlw => shift!(form, u16, |x: u16, n| x.checked_shr(n).unwrap_or(0)),
        Mnemonic::Psrld | Mnemonic::Vpsrld => shift!(form, u32, |x: u32, n| x.checked_shr(n).unwrap_or(0)),
        Mnemonic::Psrlq | Mnemonic::Vpsrlq => shift!(form, u64, |x: u64, n| x.checked_shr(n).unwrap_or(0)),
        Mnemonic::Psraw | Mnemonic::Vpsraw => shift!(form, i16, |x: i16, n: u32| x >> n.min(15)),
        Mnemonic::Psrad | Mnemonic::Vpsrad => shift!(form, i32, |x: i32, n: u32| x >> n.min(31)),
        Mnemonic::Pslldq | Mnemonic::Vpslldq => {
            wide!(form, E, |core, insn| shift_bytes::<E>(core, insn, |x, bits| x
                .checked_shl(bits)
                .unwrap_or(0)))
        }
        Mnemonic::Psrldq | Mnemonic::Vpsrldq => {
            wide!(form, E, |core, insn| shift_bytes::<E>(core, insn, |x, bits| x
                .checked_shr(bits)
                .unwrap_or(0)))
        }
        _ => variable_shifts(form),
    }
}

fn variable_shifts(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Vpsllvd => variable_shift!(form, u32, |x: u32, n| x.checked_shl(n).unwrap_or(0)),
        Mnemonic::Vpsllvq => variable_shift!(form, u64, |x: u64, n| if n < 64 { x << n } else { 0 }),
        Mnemonic::Vpsrlvd => variable_shift!(form, u32, |x: u32, n| x.checked_shr(n).unwrap_or(0)),
        Mnemonic::Vpsrlvq => variable_shift!(form, u64, |x: u64, n| if n < 64 { x >> n } else { 0 }),
        Mnemonic::Vpsravd => variable_shift!(form, u32, |x: u32, n: u32| (x as i32 >> n.min(31)) as u32),
        _ => None,
    }
}

/// The count is an immediate byte, or the low 64 bits of the source, which is of 128 bits also for YMM registers.
#[inline(always)]
fn shift<E: Encoding, T: Lane>(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(T, u32) -> T) -> Exec {
    E::check(core)?;
    let count = match insn.ops[E::SECOND].kind {
        OperandKind::Immediate => insn.imm & 0xff,
        _ if E::BYTES == Vex256::BYTES => Vex128::source(core, insn, E::SECOND)?.low(),
        _ => E::source(core, insn, E::SECOND)?.low(),
    };
    let count = count.min(64) as u32;
    let value = E::get(core, insn.ops[E::FIRST].register).map_lanes(|lane| operation(lane, count));
    E::set(core, insn.ops[0].register, value);
    Ok(())
}

#[inline(always)]
fn shift_bytes<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(u128, u32) -> u128,
) -> Exec {
    E::check(core)?;
    let count = u32::from(insn.imm as u8) * 8;
    let value = E::get(core, insn.ops[E::FIRST].register);
    let value = E::V::from_lanes(|index| from_bits(operation(bits(value.lane(index)), count)));
    E::set(core, insn.ops[0].register, value);
    Ok(())
}
