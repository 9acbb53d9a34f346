//! Control of the unit itself (SDM vol. 2A, FINIT, FCLEX, FLDCW, FSTCW, FSTSW, FFREE, FINCSTP, FNOP; vol. 2B, WAIT).

use iced_x86::Mnemonic;

use super::stack::{begin, begin_control, finish, raise_pending, status};
use crate::cpu::mode::cr0;
use crate::cpu::{Core, Exception, Exec, Fpu, vector};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;

/// Bits of the control word that can be set; bit 6 always is.
const CONTROL_DEFINED: u16 = 0x1f3f;
const CONTROL_FIXED: u16 = 0x40;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Fninit => initialize,
        Mnemonic::Fnclex => clear_exceptions,
        Mnemonic::Fldcw => load_control,
        Mnemonic::Fnstcw => store_control,
        Mnemonic::Fnstsw => store_status,
        Mnemonic::Wait => wait,
        Mnemonic::Ffree => |core, insn| free(core, insn, false),
        Mnemonic::Ffreep => |core, insn| free(core, insn, true),
        Mnemonic::Fincstp => |core, insn| turn(core, insn, 1),
        Mnemonic::Fdecstp => |core, insn| turn(core, insn, 7),
        Mnemonic::Fnop => nothing,
        // 8087 and 80287 only; since then they do nothing.
        Mnemonic::Fneni | Mnemonic::Fndisi | Mnemonic::Fnsetpm => |core, _| begin_control(core),
        _ => return None,
    };
    Some(handler)
}

impl Fpu {
    /// Sets the control word; ES and B follow.
    pub(in crate::exec) fn set_control(&mut self, control: u16) {
        self.control = control & CONTROL_DEFINED | CONTROL_FIXED;
        self.summarize();
    }

    /// As FINIT leaves it: the registers' contents stay, but they are empty.
    pub(super) fn initialize(&mut self) {
        *self = Fpu { registers: self.registers, ..Fpu::default() };
    }
}

fn initialize(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    begin_control(core)?;
    core.fpu.initialize();
    Ok(())
}

fn clear_exceptions(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    begin_control(core)?;
    core.fpu.set_condition(status::FLAGS | status::STACK_FAULT | status::ERROR_SUMMARY | status::BUSY, 0);
    Ok(())
}

fn load_control(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let control: u16 = core.read(insn, 0)?;
    core.fpu.set_control(control);
    Ok(())
}

fn store_control(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin_control(core)?;
    let control = core.fpu.control;
    core.write(insn, 0, control)
}

/// To memory or AX.
fn store_status(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin_control(core)?;
    let status = core.fpu.status;
    core.write(insn, 0, status)
}

/// SDM vol. 3, table 2-3: TS counts only together with MP.
fn wait(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    if core.cr0 & (cr0::MP | cr0::TS) == cr0::MP | cr0::TS {
        return core.raise(Exception::plain(vector::NM));
    }
    raise_pending(core)
}

fn free(core: &mut Core<'_>, insn: &Insn, pops: bool) -> Exec {
    begin(core)?;
    core.fpu.free(insn.ops[0].register);
    core.fpu.set_condition(status::C1, 0);
    if pops {
        core.fpu.pop();
    }
    finish(core, insn)
}

fn turn(core: &mut Core<'_>, insn: &Insn, by: u16) -> Exec {
    begin(core)?;
    core.fpu.turn(by);
    core.fpu.set_condition(status::C1, 0);
    finish(core, insn)
}

fn nothing(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    finish(core, insn)
}
