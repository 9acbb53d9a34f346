//! EMMS (SDM vol. 2A; vol. 1, 9.6.2).

use iced_x86::Mnemonic;

use super::access;
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Emms => Some(emms),
        _ => None,
    }
}

fn emms(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    access::check_mmx(core)?;
    access::enter_mmx(core);
    core.fpu.valid = 0;
    Ok(())
}
