//! Instructions on single flags.

use iced_x86::Mnemonic;

use super::Form;
use crate::cpu::flags::{CF, DF};
use crate::cpu::{Core, Exec, gpr};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Clc => clc,
        Mnemonic::Stc => stc,
        Mnemonic::Cmc => cmc,
        Mnemonic::Cld => cld,
        Mnemonic::Std => std,
        Mnemonic::Salc => salc,
        _ => return None,
    };
    Some(handler)
}

/// SDM vol. 2A, CLC.
fn clc(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.flags.set_some(CF, 0);
    Ok(())
}

/// SDM vol. 2B, STC.
fn stc(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.flags.set_some(CF, CF);
    Ok(())
}

/// SDM vol. 2A, CMC.
fn cmc(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let status = core.flags.status();
    core.flags.set_status(status ^ CF);
    Ok(())
}

/// SDM vol. 2A, CLD.
fn cld(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.flags.put(DF, false);
    Ok(())
}

/// SDM vol. 2B, STD.
fn std(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    core.flags.put(DF, true);
    Ok(())
}

/// SALC (SDM vol. 2D, table A-2, has no name for D6; APM vol. 3, table A-1): AL is all ones if CF is set, else zero. Not in
/// 64-bit mode.
fn salc(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let al: u8 = if core.flags.cf() { 0xff } else { 0 };
    core.set_reg(gpr::RAX, al);
    Ok(())
}
