//! Floating-point comparisons (SDM vol. 2A, CMPPS, COMISS; vol. 2B, UCOMISS).

use iced_x86::Mnemonic;

use super::access::{self, Register};
use super::float::{Element, environment, from_elements, packed, scalar, settle};
use super::lanes::Xmm;
use crate::cpu::{Core, Exec, flags};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, Relation};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    // CMPSD is a string instruction's name too.
    let is_vector = form.insn.op0_register().is_xmm();
    match form.mnemonic {
        Mnemonic::Cmpps => Some(compare_packed::<F32>),
        Mnemonic::Cmppd => Some(compare_packed::<F64>),
        Mnemonic::Cmpss => Some(compare_scalar::<F32>),
        Mnemonic::Cmpsd if is_vector => Some(compare_scalar::<F64>),
        Mnemonic::Comiss => Some(|core, insn| compare_to_flags::<F32>(core, insn, false)),
        Mnemonic::Comisd => Some(|core, insn| compare_to_flags::<F64>(core, insn, false)),
        Mnemonic::Ucomiss => Some(|core, insn| compare_to_flags::<F32>(core, insn, true)),
        Mnemonic::Ucomisd => Some(|core, insn| compare_to_flags::<F64>(core, insn, true)),
        _ => None,
    }
}

fn compare_packed<F: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let predicate = insn.imm as u8;
    packed(core, insn, |env, a, b| {
        from_elements(|index| F::mask(holds(env, F::get(&a, index), F::get(&b, index), predicate)))
    })
}

fn compare_scalar<F: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let predicate = insn.imm as u8;
    scalar::<F>(core, insn, |env, a, b| F::mask(holds(env, a, b, predicate)))
}

/// The eight predicates of SSE (SDM vol. 2A, table "Comparison Predicate for CMPPD"): equal, less, less or equal,
/// unordered, and their opposites. Those about order signal any NaN.
fn holds<F: Element>(env: &mut Env, a: F, b: F, predicate: u8) -> bool {
    let quiet = !matches!(predicate & 3, 1 | 2);
    let relation = softfloat::compare(env, a, b, quiet);
    let holds = match predicate & 3 {
        0 => relation == Relation::Equal,
        1 => relation == Relation::Less,
        2 => matches!(relation, Relation::Less | Relation::Equal),
        _ => relation == Relation::Unordered,
    };
    holds != (predicate & 4 != 0)
}

fn compare_to_flags<F: Element>(core: &mut Core<'_>, insn: &Insn, quiet: bool) -> Exec {
    access::check_sse(core)?;
    let second = F::source(core, insn, 1)?;
    let first = F::get(&Xmm::get(core, insn.ops[0].register), 0);
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
