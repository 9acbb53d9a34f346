//! Integer comparisons (SDM vol. 2B, PCMPEQB and following; vol. 2B, PTEST).

use iced_x86::Mnemonic;

use super::access::{self, Register, binary, binary_xmm};
use super::lanes::{Lane, Vector, Xmm};
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
        Mnemonic::Pcmpeqb => compare!(form, i8, i8::eq),
        Mnemonic::Pcmpeqw => compare!(form, i16, i16::eq),
        Mnemonic::Pcmpeqd => compare!(form, i32, i32::eq),
        Mnemonic::Pcmpeqq => binary_xmm!(|a, b| a.vertical(b, |a, b| u64::mask(a == b))),
        Mnemonic::Pcmpgtb => compare!(form, i8, i8::gt),
        Mnemonic::Pcmpgtw => compare!(form, i16, i16::gt),
        Mnemonic::Pcmpgtd => compare!(form, i32, i32::gt),
        Mnemonic::Pcmpgtq => binary_xmm!(|a, b| a.vertical(b, |a, b| u64::mask(a as i64 > b as i64))),
        Mnemonic::Ptest => Some(ptest),
        _ => None,
    }
}

fn ptest(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let second = Xmm::source(core, insn, 1)?;
    let first = Xmm::get(core, insn.ops[0].register);
    let and = first.vertical(second, |a, b| a & b) == [0; 2];
    let and_not = first.vertical(second, |a, b| !a & b) == [0; 2];
    let status = if and { flags::ZF } else { 0 } | if and_not { flags::CF } else { 0 };
    core.flags.set_status(status);
    Ok(())
}
