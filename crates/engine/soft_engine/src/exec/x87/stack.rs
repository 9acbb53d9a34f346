//! The register stack, the status word, and what happens before and after each instruction.

use crate::cpu::mode::cr0;
use crate::cpu::{Core, Exception, Exec, Fpu, X87Register, vector};
use crate::decode::insn::Insn;
use crate::softfloat::{Env, F80, Format, flag};

/// Bits of the status word (SDM vol. 1, 8.1.3).
pub mod status {
    pub use crate::undefined::{C0, C1, C2, C3};

    /// Exception flags.
    pub const FLAGS: u16 = 0x3f;
    pub const STACK_FAULT: u16 = 1 << 6;
    pub const ERROR_SUMMARY: u16 = 1 << 7;
    pub const TOP: u16 = 7 << 11;
    pub const BUSY: u16 = 1 << 15;
}

/// Prefixes that an opcode can have in front (SDM vol. 2A, 2.1.1), REX aside.
const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
/// Bytes that an instruction has at most.
const LONGEST: u64 = 15;

/// Which way the stack ran out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StackFault {
    /// A push onto a register that is not empty.
    Overflow,
    /// An operand that is empty.
    Underflow,
}

impl Fpu {
    /// Number of the register that is ST(`index`).
    pub fn physical(&self, index: u8) -> usize {
        (usize::from(self.status >> 11) + usize::from(index)) & 7
    }

    /// Whether ST(`index`) is empty; index 7 is also what a push would become.
    pub fn is_empty(&self, index: u8) -> bool {
        self.valid >> self.physical(index) & 1 == 0
    }

    /// ST(`index`), if it is not empty.
    pub fn st(&self, index: u8) -> Option<F80> {
        let X87Register { significand, sign_exponent } = self.registers[self.physical(index)];
        if self.is_empty(index) { None } else { Some(F80 { sign_exponent, significand }) }
    }

    /// Sets ST(`index`).
    pub fn set_st(&mut self, index: u8, value: F80) {
        let F80 { sign_exponent, significand } = value;
        let physical = self.physical(index);
        self.registers[physical] = X87Register { significand, sign_exponent };
        self.valid |= 1 << physical;
    }

    /// Pushes, whatever is there.
    pub fn push(&mut self, value: F80) {
        self.turn(7);
        self.set_st(0, value);
    }

    /// Empties ST(0) and makes ST(1) the top.
    pub fn pop(&mut self) {
        self.free(0);
        self.turn(1);
    }

    /// Marks ST(`index`) as empty.
    pub fn free(&mut self, index: u8) {
        self.valid &= !(1 << self.physical(index));
    }

    /// Adds `by` to TOP.
    pub fn turn(&mut self, by: u16) {
        let top = (self.status & status::TOP).wrapping_add(by << 11) & status::TOP;
        self.status = self.status & !status::TOP | top;
    }

    /// The environment that the control word describes.
    pub fn environment(&self) -> Env {
        Env::from_control_word(self.control)
    }

    /// Sets flags and C1 as an operation left them; answers whether its result is to be delivered, which an unmasked
    /// exception found in the operands prevents (SDM vol. 1, 8.5).
    pub fn report(&mut self, env: &Env) -> bool {
        let reported = env.reported();
        let delivered = reported & env.unmasked & flag::BEFORE_COMPUTATION == 0;
        self.set_condition(status::C1, if env.rounded_up && delivered { status::C1 } else { 0 });
        self.status |= u16::from(reported);
        self.summarize();
        delivered
    }

    /// Notes that the stack ran out; answers the default result, if the exception is masked (SDM vol. 1, 8.5.1.1).
    pub fn stack_fault(&mut self, fault: StackFault) -> Option<F80> {
        let direction = if fault == StackFault::Overflow { status::C1 } else { 0 };
        self.set_condition(status::C1, direction);
        self.status |= u16::from(flag::INVALID) | status::STACK_FAULT;
        self.summarize();
        if self.is_masked(flag::INVALID) { Some(F80::indefinite()) } else { None }
    }

    /// Whether all exceptions of `flags` are masked.
    pub fn is_masked(&self, flags: u8) -> bool {
        !self.control & u16::from(flags) == 0
    }

    /// Sets the condition codes in `mask` to those in `codes`.
    pub fn set_condition(&mut self, mask: u16, codes: u16) {
        self.status = self.status & !mask | codes;
    }

    /// Makes ES and B follow from flags and masks.
    pub fn summarize(&mut self) {
        let waits = self.status & !self.control & status::FLAGS != 0;
        self.set_condition(
            status::ERROR_SUMMARY | status::BUSY,
            if waits { status::ERROR_SUMMARY | status::BUSY } else { 0 },
        );
    }
}

/// Raises #NM if the unit cannot be used now.
pub fn begin_control(core: &mut Core<'_>) -> Exec {
    if core.cr0 & (cr0::EM | cr0::TS) == 0 { Ok(()) } else { core.raise(Exception::plain(vector::NM)) }
}

/// Raises #NM if the unit cannot be used now, and #MF if an exception waits.
#[inline(always)]
pub fn begin(core: &mut Core<'_>) -> Exec {
    begin_control(core)?;
    raise_pending(core)
}

/// Raises #MF if an exception waits.
#[inline(always)]
pub fn raise_pending(core: &mut Core<'_>) -> Exec {
    if core.fpu.status & status::ERROR_SUMMARY == 0 {
        Ok(())
    } else {
        core.raise(Exception::plain(vector::MF))
    }
}

/// Ends an instruction that is no control instruction: notes where it stands and its operand; if it left an unmasked
/// exception behind its opcode too (SDM vol. 1, 8.1.8 and 8.1.9). Nothing can be raised after this.
#[inline(always)]
pub fn finish(core: &mut Core<'_>, insn: &Insn) -> Exec {
    core.fpu.instruction = core.rip;
    if insn.ops[0].is_memory() {
        core.fpu.data = core.effective_address(insn);
    }
    if core.fpu.status & status::ERROR_SUMMARY != 0 {
        core.fpu.opcode = read_opcode(core);
    }
    Ok(())
}

/// Eleven bits of opcode: three of the first byte, and the second one. Zero if the code can no longer be read.
#[cold]
#[inline(never)]
fn read_opcode(core: &mut Core<'_>) -> u16 {
    let start = core.rip;
    let mut first = None;
    for offset in 0..LONGEST {
        let Some(byte) = code_byte(core, start.wrapping_add(offset)) else { return 0 };
        match first {
            Some(first) => return u16::from(first & 7) << 8 | u16::from(byte),
            None if byte & 0xf8 == 0xd8 => first = Some(byte),
            None if PREFIXES.contains(&byte) || byte & 0xf0 == 0x40 => {}
            None => return 0,
        }
    }
    0
}

/// The byte at `rip` of the code segment, if it is in RAM.
fn code_byte(core: &mut Core<'_>, rip: u64) -> Option<u8> {
    let base = if core.mode == crate::cpu::Mode::Long { 0 } else { core.segments[crate::cpu::seg::CS].base };
    let linear = base.wrapping_add(rip) & core.mode.rip_mask();
    match core.code_address(linear) {
        Ok(gpa) => Some(core.space.slots.frame(gpa)?.load((gpa % guest_memory::PAGE_SIZE) as usize)),
        Err(_) => {
            core.fault = None;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_pops_turn_the_stack() {
        let mut fpu = Fpu::default();
        fpu.push(F80::ONE);
        assert_eq!((fpu.status >> 11, fpu.valid), (7, 0x80));
        assert_eq!(fpu.st(0), Some(F80::ONE));
        assert_eq!(fpu.st(1), None);
        fpu.pop();
        assert_eq!((fpu.status, fpu.valid), (0, 0));
    }

    #[test]
    fn unmasked_stack_faults_have_no_result() {
        let mut fpu = Fpu::default();
        assert_eq!(fpu.stack_fault(StackFault::Overflow), Some(F80::indefinite()));
        assert_eq!(fpu.status, status::STACK_FAULT | status::C1 | 1);
        fpu.control = 0x37e;
        assert_eq!(fpu.stack_fault(StackFault::Underflow), None);
        assert_eq!(fpu.status, status::STACK_FAULT | status::ERROR_SUMMARY | status::BUSY | 1);
    }
}
