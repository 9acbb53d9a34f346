//! String instructions (SDM vol. 1, 7.3.9).
//!
//! A repeated instruction does a bounded number of elements and then goes back to itself, so that interrupts are taken
//! in between; at every element's end, registers are those of an instruction about to do the rest. MOVS and STOS
//! that go upward through RAM do a page at a time.

mod bulk;

use iced_x86::Code;

use super::{Form, wrap};
use crate::cpu::flags::DF;
use crate::cpu::{Core, Exec, Word, gpr, seg};
use crate::decode::insn::{Handler, Insn, prefix};

/// Elements of a repeated instruction that are done in one go, but for a page at a time.
const BATCH: u64 = 256;

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.insn.code() {
        Code::Movsb_m8_m8 => movs::<u8>,
        Code::Movsw_m16_m16 => movs::<u16>,
        Code::Movsd_m32_m32 => movs::<u32>,
        Code::Movsq_m64_m64 => movs::<u64>,
        Code::Stosb_m8_AL => stos::<u8>,
        Code::Stosw_m16_AX => stos::<u16>,
        Code::Stosd_m32_EAX => stos::<u32>,
        Code::Stosq_m64_RAX => stos::<u64>,
        Code::Lodsb_AL_m8 => lods::<u8>,
        Code::Lodsw_AX_m16 => lods::<u16>,
        Code::Lodsd_EAX_m32 => lods::<u32>,
        Code::Lodsq_RAX_m64 => lods::<u64>,
        Code::Scasb_AL_m8 => scas::<u8>,
        Code::Scasw_AX_m16 => scas::<u16>,
        Code::Scasd_EAX_m32 => scas::<u32>,
        Code::Scasq_RAX_m64 => scas::<u64>,
        Code::Cmpsb_m8_m8 => cmps::<u8>,
        Code::Cmpsw_m16_m16 => cmps::<u16>,
        Code::Cmpsd_m32_m32 => cmps::<u32>,
        Code::Cmpsq_m64_m64 => cmps::<u64>,
        Code::Insb_m8_DX => ins::<u8>,
        Code::Insw_m16_DX => ins::<u16>,
        Code::Insd_m32_DX => ins::<u32>,
        Code::Outsb_DX_m8 => outs::<u8>,
        Code::Outsw_DX_m16 => outs::<u16>,
        Code::Outsd_DX_m32 => outs::<u32>,
        _ => return None,
    };
    Some(handler)
}

/// What one step of a string instruction did.
struct Step {
    elements: u64,
    /// The condition of REPE or REPNE ends the repetition.
    ends: bool,
}

/// One element, after which the repetition goes on.
const ONE: Step = Step { elements: 1, ends: false };

/// SDM vol. 2B, MOVS.
fn movs<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    repeat(core, insn, |core, insn, left| {
        if left > 1
            && let Some(elements) = bulk::movs::<T>(core, insn, left)
        {
            return Ok(Step { elements, ends: false });
        }
        let value: T = core.load(insn.segment.into(), pointer(core, insn, gpr::RSI))?;
        core.store(seg::ES, pointer(core, insn, gpr::RDI), value)?;
        advance::<T>(core, insn, gpr::RSI);
        advance::<T>(core, insn, gpr::RDI);
        Ok(ONE)
    })
}

/// SDM vol. 2B, STOS.
fn stos<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    repeat(core, insn, |core, insn, left| {
        if left > 1
            && let Some(elements) = bulk::stos::<T>(core, insn, left)
        {
            return Ok(Step { elements, ends: false });
        }
        let value: T = core.get_reg(gpr::RAX);
        core.store(seg::ES, pointer(core, insn, gpr::RDI), value)?;
        advance::<T>(core, insn, gpr::RDI);
        Ok(ONE)
    })
}

/// SDM vol. 2A, LODS.
fn lods<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    repeat(core, insn, |core, insn, _| {
        let value: T = core.load(insn.segment.into(), pointer(core, insn, gpr::RSI))?;
        core.set_reg(gpr::RAX, value);
        advance::<T>(core, insn, gpr::RSI);
        Ok(ONE)
    })
}

/// SDM vol. 2B, SCAS.
fn scas<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    repeat(core, insn, |core, insn, _| {
        let b: T = core.load(seg::ES, pointer(core, insn, gpr::RDI))?;
        let a: T = core.get_reg(gpr::RAX);
        core.flags.after_sub(a, b, a.sub(b));
        advance::<T>(core, insn, gpr::RDI);
        Ok(Step { elements: 1, ends: (a == b) == ends_at_equal(insn) })
    })
}

/// SDM vol. 2A, CMPS. Where both sides fault, the fault is that of DS:rSI.
fn cmps<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    repeat(core, insn, |core, insn, _| {
        let a: T = core.load(insn.segment.into(), pointer(core, insn, gpr::RSI))?;
        let b: T = core.load(seg::ES, pointer(core, insn, gpr::RDI))?;
        core.flags.after_sub(a, b, a.sub(b));
        advance::<T>(core, insn, gpr::RSI);
        advance::<T>(core, insn, gpr::RDI);
        Ok(Step { elements: 1, ends: (a == b) == ends_at_equal(insn) })
    })
}

/// SDM vol. 2A, INS: the port is read when nothing can fail any more.
fn ins<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    repeat(core, insn, |core, insn, _| {
        let port: u16 = core.get_reg(gpr::RDX);
        core.check_port(port, T::BYTES)?;
        let offset = pointer(core, insn, gpr::RDI);
        core.probe_write(seg::ES, offset, T::BYTES as u32)?;
        let value = core.port_read(port, T::BYTES);
        core.store(seg::ES, offset, T::from_u64(value.into()))?;
        advance::<T>(core, insn, gpr::RDI);
        Ok(ONE)
    })
}

/// SDM vol. 2B, OUTS.
fn outs<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    repeat(core, insn, |core, insn, _| {
        let port: u16 = core.get_reg(gpr::RDX);
        core.check_port(port, T::BYTES)?;
        let value: T = core.load(insn.segment.into(), pointer(core, insn, gpr::RSI))?;
        core.port_write(port, T::BYTES, value.to_u64() as u32);
        advance::<T>(core, insn, gpr::RSI);
        Ok(ONE)
    })
}

/// Does one element, or with a REP prefix those that the counter says, up to a batch. `step` is told how many are
/// left, and leaves everything as it was when it raises.
#[inline(always)]
fn repeat(core: &mut Core<'_>, insn: &Insn, step: impl Fn(&mut Core<'_>, &Insn, u64) -> Exec<Step>) -> Exec {
    if !is_repeated(insn) {
        return step(core, insn, 1).map(drop);
    }
    let stepping = core.is_stepping();
    let mut done = 0;
    loop {
        let left = wrap(insn.address_size, core.reg(gpr::RCX));
        if left == 0 {
            return Ok(());
        }
        let step = step(core, insn, if stepping { 1 } else { left })?;
        core.set_reg_sized(gpr::RCX, insn.address_size, left - step.elements);
        if step.ends || left == step.elements {
            return Ok(());
        }
        done += step.elements;
        if done >= BATCH || stepping || core.attention {
            let again = core.rip;
            core.set_next_rip(again);
            return Ok(());
        }
    }
}

/// REPNE repeats as REP does, where there is no condition.
fn is_repeated(insn: &Insn) -> bool {
    insn.prefixes & (prefix::REP | prefix::REPNE) != 0
}

/// REPNE goes on while elements differ, REPE while they are equal.
fn ends_at_equal(insn: &Insn) -> bool {
    insn.prefixes & prefix::REPNE != 0
}

/// A string pointer, an offset in its segment.
#[inline(always)]
fn pointer(core: &Core<'_>, insn: &Insn, register: usize) -> u64 {
    wrap(insn.address_size, core.reg(register))
}

/// Moves a string pointer to the next element.
#[inline(always)]
fn advance<T: Word>(core: &mut Core<'_>, insn: &Insn, register: usize) {
    let size = T::BYTES as u64;
    let step = if core.flags.has(DF) { size.wrapping_neg() } else { size };
    advance_by(core, insn, register, step);
}

#[inline(always)]
fn advance_by(core: &mut Core<'_>, insn: &Insn, register: usize, step: u64) {
    let moved = core.reg(register).wrapping_add(step);
    core.set_reg_sized(register, insn.address_size, moved);
}

#[cfg(test)]
mod tests;
