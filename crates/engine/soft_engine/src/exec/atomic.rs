//! Exchanges that depend on, or add to, what is in memory.

use iced_x86::Mnemonic;

use super::{Form, by_size};
use crate::cpu::flags::ZF;
use crate::cpu::{Core, Exec, Word, gpr};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Xadd => by_size!(form, xadd),
        Mnemonic::Cmpxchg => by_size!(form, cmpxchg),
        Mnemonic::Cmpxchg8b => Some(cmpxchg8b),
        Mnemonic::Cmpxchg16b => Some(cmpxchg16b),
        _ => None,
    }
}

/// SDM vol. 2D, XADD. Where both operands are one register, the sum stays.
fn xadd<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = if insn.ops[0].is_memory() {
        let a = core.update(insn, 0, |a: T| a.add(b))?;
        core.write(insn, 1, a)?;
        a
    } else {
        let a: T = core.read(insn, 0)?;
        core.write(insn, 1, a)?;
        core.write(insn, 0, a.add(b))?;
        a
    };
    core.flags.after_add(a, b, a.add(b));
    Ok(())
}

/// SDM vol. 2A, CMPXCHG. Memory is always written; a register that does not match is left alone, its upper half too.
fn cmpxchg<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let new: T = core.read(insn, 1)?;
    let expected: T = core.get_reg(gpr::RAX);
    let found: T = if insn.ops[0].is_memory() {
        core.update(insn, 0, |found| if found == expected { new } else { found })?
    } else {
        core.read(insn, 0)?
    };
    if found != expected {
        core.set_reg(gpr::RAX, found);
    } else if !insn.ops[0].is_memory() {
        core.write(insn, 0, new)?;
    }
    core.flags.after_sub(expected, found, expected.sub(found));
    Ok(())
}

/// SDM vol. 2A, CMPXCHG8B/CMPXCHG16B. Only ZF changes.
fn cmpxchg8b(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let expected = joined(core.get_reg(gpr::RAX), core.get_reg(gpr::RDX));
    let new = joined(core.get_reg(gpr::RBX), core.get_reg(gpr::RCX));
    let found: u64 = core.update(insn, 0, |found| if found == expected { new } else { found })?;
    if found != expected {
        core.set_reg(gpr::RAX, found as u32);
        core.set_reg(gpr::RDX, (found >> 32) as u32);
    }
    note_match(core, found == expected);
    Ok(())
}

fn cmpxchg16b(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let expected = [core.reg(gpr::RAX), core.reg(gpr::RDX)];
    let new = [core.reg(gpr::RBX), core.reg(gpr::RCX)];
    let offset = core.effective_address(insn);
    let found = core.exchange_16(insn.segment.into(), offset, expected, new)?;
    if found != expected {
        core.set_reg(gpr::RAX, found[0]);
        core.set_reg(gpr::RDX, found[1]);
    }
    note_match(core, found == expected);
    Ok(())
}

fn joined(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn note_match(core: &mut Core<'_>, matched: bool) {
    core.flags.set_some(ZF, if matched { ZF } else { 0 });
}
