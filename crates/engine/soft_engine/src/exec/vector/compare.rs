//! Integer comparisons (SDM vol. 2B, PCMPEQB and following; vol. 2B, PTEST; vol. 2C, VTESTPD).

use iced_x86::Mnemonic;

use super::access::{Encoding, binary, binary_xmm, wide};
use super::lanes::{Lane, Vector, Wide};
use crate::cpu::{Core, Exec, flags};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

/// Lanes become all ones where the condition holds, else zero.
macro_rules! compare {
    ($form:expr, $lane:ty, $condition:expr) => {
        binary!($form, |a, b| a.zip_lanes::<$lane>(b, |a, b| <$lane>::mask($condition(&a, &b))))
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pcmpeqb | Mnemonic::Vpcmpeqb => compare!(form, i8, i8::eq),
        Mnemonic::Pcmpeqw | Mnemonic::Vpcmpeqw => compare!(form, i16, i16::eq),
        Mnemonic::Pcmpeqd | Mnemonic::Vpcmpeqd => compare!(form, i32, i32::eq),
        Mnemonic::Pcmpeqq | Mnemonic::Vpcmpeqq => {
            binary_xmm!(form, |a, b| a.vertical(b, |a, b| u64::mask(a == b)))
        }
        Mnemonic::Pcmpgtb | Mnemonic::Vpcmpgtb => compare!(form, i8, i8::gt),
        Mnemonic::Pcmpgtw | Mnemonic::Vpcmpgtw => compare!(form, i16, i16::gt),
        Mnemonic::Pcmpgtd | Mnemonic::Vpcmpgtd => compare!(form, i32, i32::gt),
        Mnemonic::Pcmpgtq | Mnemonic::Vpcmpgtq => {
            binary_xmm!(form, |a, b| a.vertical(b, |a, b| u64::mask(a as i64 > b as i64)))
        }
        Mnemonic::Ptest | Mnemonic::Vptest => wide!(form, E, |core, insn| test::<E>(core, insn, u64::MAX)),
        Mnemonic::Vtestps => wide!(form, E, |core, insn| test::<E>(core, insn, 0x8000_0000_8000_0000)),
        Mnemonic::Vtestpd => wide!(form, E, |core, insn| test::<E>(core, insn, 1 << 63)),
        _ => None,
    }
}

/// ZF: no bit of both, CF: no bit of the second operand alone, of those that `examined` has in each 64.
fn test<E: Encoding<V: Wide>>(core: &mut Core<'_>, insn: &Insn, examined: u64) -> Exec {
    E::check(core)?;
    let second = E::source(core, insn, 1)?;
    let first = E::get(core, insn.ops[0].register);
    let is_zero = |value: E::V| (0..E::V::LANES).all(|index| value.lane(index) == [0; 2]);
    let and = is_zero(first.vertical(second, |a, b| a & b & examined));
    let and_not = is_zero(first.vertical(second, |a, b| !a & b & examined));
    let status = if and { flags::ZF } else { 0 } | if and_not { flags::CF } else { 0 };
    core.flags.set_status(status);
    Ok(())
}
