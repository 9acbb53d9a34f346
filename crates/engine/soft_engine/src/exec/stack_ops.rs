//! PUSH, POP, and stack frames.

use iced_x86::{Code, Mnemonic, OpKind};

use super::Form;
use crate::cpu::flags::{AC, DF, ID, IF, IOPL, NT, RF, STATUS, TF, VM};
use crate::cpu::{Core, Exec, Mode, Word, gpr, seg};
use crate::decode::insn::{Handler, Insn};

/// Picks the instance of a handler for a number of bytes on the stack: 2, 4 or 8.
macro_rules! by_stack_size {
    ($size:expr, $handler:ident) => {
        match $size {
            2 => Some($handler::<2> as Handler),
            4 => Some($handler::<4> as Handler),
            8 => Some($handler::<8> as Handler),
            _ => None,
        }
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let step = form.insn.stack_pointer_increment().unsigned_abs();
    match form.mnemonic {
        Mnemonic::Push => match operand(form) {
            OperandClass::General => by_stack_size!(step, push_register),
            OperandClass::Memory => by_stack_size!(step, push_memory),
            OperandClass::Immediate => by_stack_size!(step, push_immediate),
            OperandClass::Segment => None,
        },
        Mnemonic::Pop => match operand(form) {
            OperandClass::General => by_stack_size!(step, pop_register),
            OperandClass::Memory => by_stack_size!(step, pop_memory),
            _ => None,
        },
        Mnemonic::Pushf => Some(pushf::<2>),
        Mnemonic::Pushfd => Some(pushf::<4>),
        Mnemonic::Pushfq => Some(pushf::<8>),
        Mnemonic::Popf => Some(popf::<2>),
        Mnemonic::Popfd => Some(popf::<4>),
        Mnemonic::Popfq => Some(popf::<8>),
        Mnemonic::Pusha => Some(pusha::<2>),
        Mnemonic::Pushad => Some(pusha::<4>),
        Mnemonic::Popa => Some(popa::<2>),
        Mnemonic::Popad => Some(popa::<4>),
        Mnemonic::Enter => by_stack_size!(frame_size(form), enter),
        Mnemonic::Leave => by_stack_size!(frame_size(form), leave),
        _ => None,
    }
}

enum OperandClass {
    General,
    Segment,
    Memory,
    Immediate,
}

fn operand(form: &Form<'_>) -> OperandClass {
    match form.insn.op0_kind() {
        OpKind::Register if form.insn.op0_register().is_gpr() => OperandClass::General,
        OpKind::Register => OperandClass::Segment,
        OpKind::Memory => OperandClass::Memory,
        _ => OperandClass::Immediate,
    }
}

/// Operand size of ENTER and LEAVE, which have no operand that tells.
fn frame_size(form: &Form<'_>) -> u8 {
    match form.insn.code() {
        Code::Enterw_imm16_imm8 | Code::Leavew => 2,
        Code::Enterd_imm16_imm8 | Code::Leaved => 4,
        _ => 8,
    }
}

/// SDM vol. 2B, PUSH. PUSH RSP pushes the value from before.
fn push_register<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value = core.reg(insn.ops[0].register.into());
    core.push_sized(SIZE, value)
}

fn push_immediate<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.push_sized(SIZE, insn.imm)
}

fn push_memory<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let offset = core.effective_address(insn);
    let value = core.load_sized(insn.segment.into(), offset, SIZE)?;
    core.push_sized(SIZE, value)
}

/// SDM vol. 2B, POP. POP RSP ends with the value that was popped.
fn pop_register<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let value = core.pop_sized(SIZE)?;
    core.set_reg_sized(insn.ops[0].register.into(), SIZE, value);
    Ok(())
}

/// An address that RSP is part of is made with RSP as it is after the POP.
fn pop_memory<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let before = core.reg(gpr::RSP);
    let value = core.pop_sized(SIZE)?;
    let offset = core.effective_address(insn);
    let stored = core.store_sized(insn.segment.into(), offset, SIZE, value);
    if stored.is_err() {
        core.set_reg(gpr::RSP, before);
    }
    stored
}

/// SDM vol. 2B, PUSHF: VM and RF are pushed as zero.
fn pushf<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    check_virtual_86(core)?;
    let image = core.flags.get() & !(VM | RF);
    core.push_sized(SIZE, image)
}

/// SDM vol. 2B, POPF, table 4-20: who may change which flag.
fn popf<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    check_virtual_86(core)?;
    let image = core.pop_sized(SIZE)?;
    let mut changed = STATUS | TF | DF | NT | AC | ID;
    if core.cpl <= core.flags.iopl() {
        changed |= IF;
    }
    if core.cpl == 0 {
        changed |= IF | IOPL;
    }
    if SIZE == 2 {
        changed &= 0xffff;
    }
    let kept = core.flags.get() & !changed & !RF;
    core.flags.set(kept | image & changed);
    core.update_view();
    core.recheck_interrupts();
    Ok(())
}

/// Virtual-8086 mode without VME: flags are the monitor's business unless IOPL is 3 (SDM vol. 3, 21.2.7).
fn check_virtual_86(core: &mut Core<'_>) -> Exec {
    if core.mode == Mode::Virtual86 && core.flags.iopl() < 3 { core.general_protection(0) } else { Ok(()) }
}

/// SDM vol. 2B, PUSHA: all of it can be written, or nothing is.
fn pusha<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let offset = |core: &Core<'_>, index: usize| core.stack_offset(-(i64::from(SIZE) * (index as i64 + 1)));
    for index in 0..8 {
        core.probe_write(seg::SS, offset(core, index), SIZE.into())?;
    }
    for index in 0..8 {
        let value = core.reg(index);
        core.store_sized(seg::SS, offset(core, index), SIZE, value)?;
    }
    core.set_stack_pointer(offset(core, 7));
    Ok(())
}

/// SDM vol. 2B, POPA: the image of RSP is skipped.
fn popa<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let mut values = [0; 8];
    for (index, value) in values.iter_mut().enumerate() {
        *value = core.peek(SIZE, (7 - index as i64) * i64::from(SIZE))?;
    }
    core.set_stack_pointer(core.stack_offset(8 * i64::from(SIZE)));
    for (index, value) in values.into_iter().enumerate().filter(|(index, _)| *index != gpr::RSP) {
        core.set_reg_sized(index, SIZE, value);
    }
    Ok(())
}

/// SDM vol. 2A, ENTER. RSP and RBP change when all is written, the place that RSP will point at is writable and
/// aligned as far as that is checked, and nothing can fail any more.
fn enter<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let (size, locals) = (i64::from(SIZE), i64::from(insn.imm as u16));
    let level = (insn.imm >> 32 & 31) as i64;
    let (outer, mask) = (core.reg(gpr::RBP), core.stack_mask());
    let mut depth = -size;
    core.store_sized(seg::SS, core.stack_offset(depth), SIZE, outer)?;
    let frame = core.reg(gpr::RSP) & !mask | core.stack_offset(depth);
    for index in 1..level {
        let display = outer.wrapping_sub((index * size) as u64) & mask;
        let pointer = core.load_sized(seg::SS, display, SIZE)?;
        depth -= size;
        core.store_sized(seg::SS, core.stack_offset(depth), SIZE, pointer)?;
    }
    if level > 0 {
        depth -= size;
        core.store_sized(seg::SS, core.stack_offset(depth), SIZE, frame)?;
    }
    let top = core.stack_offset(depth - locals);
    match SIZE {
        2 => core.check_push::<u16>(top)?,
        4 => core.check_push::<u32>(top)?,
        _ => core.check_push::<u64>(top)?,
    }
    core.set_stack_pointer(top);
    core.set_reg_sized(gpr::RBP, SIZE, frame);
    Ok(())
}

impl Core<'_> {
    /// Raises what a store to the stack at `offset` would raise, and changes nothing: unlike
    /// [`probe_write`](Core::probe_write) it checks alignment too.
    pub(super) fn check_push<T: Word>(&mut self, offset: u64) -> Exec {
        self.modify(seg::SS, offset, true, |word: T| word).map(drop)
    }
}

/// SDM vol. 2A, LEAVE.
fn leave<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let frame = core.reg(gpr::RBP) & core.stack_mask();
    let outer = core.load_sized(seg::SS, frame, SIZE)?;
    core.set_stack_pointer(frame.wrapping_add(SIZE.into()));
    core.set_reg_sized(gpr::RBP, SIZE, outer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::gpr::{RBP, RSP};
    use crate::exec::program::{CODE, DATA, READ_ONLY, execute, page_fault, read, state, with_probe};
    use crate::probe::Outcome;

    const TOP: u64 = DATA + 0x1000;

    #[test]
    fn frames_copy_the_display_of_the_outer_ones() {
        with_probe(|probe| {
            let outer = DATA + 0x100;
            probe.write(outer - 8, &0xaaaa_u64.to_le_bytes());
            probe.write(outer - 16, &0xbbbb_u64.to_le_bytes());
            let mut state = state();
            (state.gpr[RSP], state.gpr[RBP]) = (TOP, outer);
            // ENTER 32, 3
            assert_eq!(execute(probe, &[0xc8, 32, 0, 3], &mut state), Outcome::Done);
            assert_eq!((state.gpr[RBP], state.gpr[RSP]), (TOP - 8, TOP - 32 - 32));
            let words: Vec<u64> = read::<32>(probe, TOP - 32)
                .chunks(8)
                .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
                .collect();
            assert_eq!(words, [TOP - 8, 0xbbbb, 0xaaaa, outer]);
            // LEAVE
            state.rip = CODE;
            assert_eq!(execute(probe, &[0xc9], &mut state), Outcome::Done);
            assert_eq!((state.gpr[RBP], state.gpr[RSP]), (outer, TOP));
        });
    }

    #[test]
    fn a_frame_needs_room_for_its_locals() {
        with_probe(|probe| {
            let mut state = state();
            (state.gpr[RSP], state.gpr[RBP]) = (DATA + 16, DATA);
            // ENTER 24, 0: the last local is below the page.
            assert_eq!(execute(probe, &[0xc8, 24, 0, 0], &mut state), page_fault(DATA - 16, 6));
            assert_eq!((state.gpr[RSP], state.gpr[RBP]), (DATA + 16, DATA));
        });
    }

    #[test]
    fn pops_to_memory_use_the_stack_pointer_after() {
        with_probe(|probe| {
            probe.write(DATA, &0x1234_u64.to_le_bytes());
            let mut popped = state();
            popped.gpr[RSP] = DATA;
            // POP qword [rsp + 8]
            assert_eq!(execute(probe, &[0x8f, 0x44, 0x24, 8], &mut popped), Outcome::Done);
            assert_eq!((popped.gpr[RSP], read::<2>(probe, DATA + 16)), (DATA + 8, [0x34, 0x12]));
            // POP qword [rbp]: a fault leaves the stack pointer.
            let mut faulted = state();
            (faulted.gpr[RSP], faulted.gpr[RBP]) = (DATA, READ_ONLY);
            assert_eq!(execute(probe, &[0x8f, 0x45, 0], &mut faulted), page_fault(READ_ONLY, 7));
            assert_eq!(faulted.gpr[RSP], DATA);
        });
    }
}
