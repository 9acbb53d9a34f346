//! Bitwise logic.

use iced_x86::Mnemonic;

use super::{Form, by_size, check_vex};
use crate::cpu::flags::{SF, ZF};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::And => by_size!(form, and),
        Mnemonic::Or => by_size!(form, or),
        Mnemonic::Xor => by_size!(form, xor),
        Mnemonic::Not => by_size!(form, not),
        Mnemonic::Test => by_size!(form, test),
        Mnemonic::Andn => by_size!(form, andn),
        _ => None,
    }
}

/// SDM vol. 2A, AND.
fn and<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = core.update(insn, 0, |a: T| a & b)?;
    core.flags.after_logic(a & b);
    Ok(())
}

/// SDM vol. 2B, OR.
fn or<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = core.update(insn, 0, |a: T| a | b)?;
    core.flags.after_logic(a | b);
    Ok(())
}

/// SDM vol. 2D, XOR.
fn xor<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = core.update(insn, 0, |a: T| a ^ b)?;
    core.flags.after_logic(a ^ b);
    Ok(())
}

/// SDM vol. 2B, NOT.
fn not<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.update(insn, 0, |a: T| !a).map(drop)
}

/// SDM vol. 2B, TEST.
fn test<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let a: T = core.read(insn, 0)?;
    let b: T = core.read(insn, 1)?;
    core.flags.after_logic(a & b);
    Ok(())
}

/// SDM vol. 2A, ANDN. AF and PF are open, and so clear ([`crate::undefined`]).
fn andn<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let a: T = core.read(insn, 1)?;
    let b: T = core.read(insn, 2)?;
    let result = !a & b;
    core.write(insn, 0, result)?;
    let zero = result.to_u64() == 0;
    core.flags.set_status((u64::from(zero) * ZF) | (u64::from(result.sign()) * SF));
    Ok(())
}
