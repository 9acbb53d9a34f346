//! Bitwise logic and shifts (SDM vol. 2B, PAND, PSLLW and following; ANDPS and its like are the same on bits).

use iced_x86::Mnemonic;

use super::access::{self, Register, binary, binary_xmm};
use super::lanes::{Lane, Mm, Vector, Xmm, bits, from_bits};
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn, OperandKind};
use crate::exec::Form;

/// A shift of each lane by a count that is the same for all: `operation(lane, count)`.
macro_rules! shift {
    ($form:expr, $lane:ty, $operation:expr) => {{
        let (mmx, sse): (Handler, Handler) = (
            |core, insn| shift::<Mm, $lane>(core, insn, $operation),
            |core, insn| shift::<Xmm, $lane>(core, insn, $operation),
        );
        Some(if access::is_mmx($form.insn) { mmx } else { sse })
    }};
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pand => binary!(form, |a, b| a.vertical(b, |a, b| a & b)),
        Mnemonic::Pandn => binary!(form, |a, b| a.vertical(b, |a, b| !a & b)),
        Mnemonic::Por => binary!(form, |a, b| a.vertical(b, |a, b| a | b)),
        Mnemonic::Pxor => binary!(form, |a, b| a.vertical(b, |a, b| a ^ b)),
        Mnemonic::Andps | Mnemonic::Andpd => binary_xmm!(|a, b| a.vertical(b, |a, b| a & b)),
        Mnemonic::Andnps | Mnemonic::Andnpd => binary_xmm!(|a, b| a.vertical(b, |a, b| !a & b)),
        Mnemonic::Orps | Mnemonic::Orpd => binary_xmm!(|a, b| a.vertical(b, |a, b| a | b)),
        Mnemonic::Xorps | Mnemonic::Xorpd => binary_xmm!(|a, b| a.vertical(b, |a, b| a ^ b)),
        _ => shifts(form),
    }
}

fn shifts(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Psllw => shift!(form, u16, |x: u16, n| x.checked_shl(n).unwrap_or(0)),
        Mnemonic::Pslld => shift!(form, u32, |x: u32, n| x.checked_shl(n).unwrap_or(0)),
        Mnemonic::Psllq => shift!(form, u64, |x: u64, n| x.checked_shl(n).unwrap_or(0)),
        Mnemonic::Psrlw => shift!(form, u16, |x: u16, n| x.checked_shr(n).unwrap_or(0)),
        Mnemonic::Psrld => shift!(form, u32, |x: u32, n| x.checked_shr(n).unwrap_or(0)),
        Mnemonic::Psrlq => shift!(form, u64, |x: u64, n| x.checked_shr(n).unwrap_or(0)),
        Mnemonic::Psraw => shift!(form, i16, |x: i16, n: u32| x >> n.min(15)),
        Mnemonic::Psrad => shift!(form, i32, |x: i32, n: u32| x >> n.min(31)),
        Mnemonic::Pslldq => {
            Some(|core, insn| shift_bytes(core, insn, |x, bits| x.checked_shl(bits).unwrap_or(0)))
        }
        Mnemonic::Psrldq => {
            Some(|core, insn| shift_bytes(core, insn, |x, bits| x.checked_shr(bits).unwrap_or(0)))
        }
        _ => None,
    }
}

/// The count is an immediate byte, or the low 64 bits of the source.
#[inline(always)]
fn shift<V: Register, T: Lane>(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(T, u32) -> T) -> Exec {
    V::check(core)?;
    let count = match insn.ops[1].kind {
        OperandKind::Immediate => insn.imm & 0xff,
        _ => V::source(core, insn, 1)?.low(),
    };
    let count = count.min(64) as u32;
    let destination = insn.ops[0].register;
    let value = V::get(core, destination).map_lanes(|lane| operation(lane, count));
    V::set(core, destination, value);
    Ok(())
}

#[inline(always)]
fn shift_bytes(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(u128, u32) -> u128) -> Exec {
    access::check_sse(core)?;
    let destination = insn.ops[0].register;
    let value = bits(Xmm::get(core, destination));
    Xmm::set(core, destination, from_bits(operation(value, u32::from(insn.imm as u8) * 8)));
    Ok(())
}
