//! Floating-point comparisons (SDM vol. 2A, CMPPS, COMISS; vol. 2B, UCOMISS).

use iced_x86::Mnemonic;

use super::access::{Encoding, narrow, wide};
use super::float::{Element, environment, from_elements, packed, scalar, settle};
use super::lanes::{Wide, Xmm};
use crate::cpu::{Core, Exec, flags};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, Relation};

/// A comparison into RFLAGS, quiet or not.
macro_rules! to_flags {
    ($form:expr, $format:ty, $quiet:literal) => {
        narrow!($form, E, |core, insn| compare_to_flags::<E, $format>(core, insn, $quiet))
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    // CMPSD is a string instruction's name too.
    let is_vector = form.insn.op0_register().is_xmm();
    match form.mnemonic {
        Mnemonic::Cmpps | Mnemonic::Vcmpps => wide!(form, E, compare_packed::<E, F32>),
        Mnemonic::Cmppd | Mnemonic::Vcmppd => wide!(form, E, compare_packed::<E, F64>),
        Mnemonic::Cmpss | Mnemonic::Vcmpss => narrow!(form, E, compare_scalar::<E, F32>),
        Mnemonic::Cmpsd if is_vector => narrow!(form, E, compare_scalar::<E, F64>),
        Mnemonic::Vcmpsd => narrow!(form, E, compare_scalar::<E, F64>),
        Mnemonic::Comiss | Mnemonic::Vcomiss => to_flags!(form, F32, false),
        Mnemonic::Comisd | Mnemonic::Vcomisd => to_flags!(form, F64, false),
        Mnemonic::Ucomiss | Mnemonic::Vucomiss => to_flags!(form, F32, true),
        Mnemonic::Ucomisd | Mnemonic::Vucomisd => to_flags!(form, F64, true),
        _ => None,
    }
}

fn compare_packed<E: Encoding<V: Wide>, F: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let predicate = predicate::<E>(insn);
    packed::<E>(core, insn, |env, a, b| {
        from_elements(|index| F::mask(holds(env, F::get(&a, index), F::get(&b, index), predicate)))
    })
}

fn compare_scalar<E: Encoding<V = Xmm>, F: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let predicate = predicate::<E>(insn);
    scalar::<E, F>(core, insn, |env, a, b| F::mask(holds(env, a, b, predicate)))
}

/// Legacy encodings know the first eight.
fn predicate<E: Encoding>(insn: &Insn) -> u8 {
    insn.imm as u8 & if E::FIRST == 0 { 7 } else { 31 }
}

/// A predicate (SDM vol. 2A, table "Comparison Predicate for CMPPD"). Bits 1:0: equal, less, less or equal, unordered.
/// Bit 3: the answer about unordered operands is turned round. Bit 2: every answer is. Those about order signal any NaN,
/// the others do not; bit 4 turns this round.
fn holds<F: Element>(env: &mut Env, a: F, b: F, predicate: u8) -> bool {
    let signals = matches!(predicate & 3, 1 | 2) != (predicate & 16 != 0);
    let relation = softfloat::compare(env, a, b, !signals);
    let holds = match predicate & 3 {
        0 => relation == Relation::Equal,
        1 => relation == Relation::Less,
        2 => matches!(relation, Relation::Less | Relation::Equal),
        _ => relation == Relation::Unordered,
    };
    let turned = predicate & 8 != 0 && relation == Relation::Unordered;
    (holds != turned) != (predicate & 4 != 0)
}

fn compare_to_flags<E: Encoding<V = Xmm>, F: Element>(core: &mut Core<'_>, insn: &Insn, quiet: bool) -> Exec {
    E::check(core)?;
    let second = F::source(core, insn, 1)?;
    let first = F::get(&E::get(core, insn.ops[0].register), 0);
    let mut env = environment(core);
    let relation = softfloat::compare(&mut env, first, second, quiet);
    settle(core, &env)?;
    core.flags.set_status(relation_flags(relation));
    Ok(())
}

/// Flags of COMISS and FCOMI.
pub(in crate::exec) fn relation_flags(relation: Relation) -> u64 {
    match relation {
        Relation::Greater => 0,
        Relation::Less => flags::CF,
        Relation::Equal => flags::ZF,
        Relation::Unordered => flags::ZF | flags::PF | flags::CF,
    }
}
