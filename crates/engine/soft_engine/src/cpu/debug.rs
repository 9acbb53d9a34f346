//! Debug registers, breakpoints, single step (SDM vol. 3, ch. 18).

use super::mode::cr4;
use super::{Core, Exception, Exec, flags, shadow, vector};

/// DR6 bits that always read as one.
const DR6_FIXED: u64 = 0xffff_0ff0;
/// DR6: breakpoints 0 to 3.
pub const BREAKPOINTS: u64 = 0xf;
/// DR6: an access to a debug register while DR7.GD is set.
const BD: u64 = 1 << 13;
/// DR6: a switch to a task whose TSS asks for a trap.
pub const BT: u64 = 1 << 15;
/// DR6: single step.
pub const BS: u64 = 1 << 14;
/// DR7: bit 10 always reads as one.
const DR7_FIXED: u64 = 1 << 10;
/// DR7: general detect.
const GD: u64 = 1 << 13;
/// DR7: L0 to L3 and LE, which task switches clear (SDM vol. 3, 18.2.4).
const LOCAL: u64 = 0x155;

/// Kinds of breakpoints in DR7 (SDM vol. 3, 18.2.4).
mod kind {
    pub(super) const EXECUTE: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    /// With CR4.DE.
    pub(super) const PORT: u64 = 2;
    pub(super) const READ_WRITE: u64 = 3;
}

/// What the instruction being looked at alone says about the traps behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aftermath {
    /// It entered a handler or cleared TF on its way into the system: no single step.
    no_step: bool,
    /// IRET: RF as it popped it counts for the next instruction (SDM vol. 3, 18.3.1.1).
    resume: bool,
}

/// What holds when an instruction begins that is looked at alone, and ends with it.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// TF: a trap follows.
    pub stepping: bool,
    shadow: u8,
}

impl Core<'_> {
    /// An instruction begins that is looked at alone. Whatever instructions before it left that nobody has looked at
    /// is forgotten, but for what MOV SS handed on.
    pub fn begin_alone(&mut self) -> Before {
        self.aftermath = Aftermath::default();
        self.debug_trap = std::mem::take(&mut self.cpu.held_traps);
        Before { stepping: self.flags.has(flags::TF), shadow: self.shadow }
    }

    /// That instruction has come to its end: RF and the shadow end with it, and the traps are due. It `repeats` if it is
    /// a string instruction in the middle of its repetition, where RF is set (SDM vol. 3, 18.3.1.1).
    pub fn end_alone(&mut self, before: Before, repeats: bool) -> Exec {
        self.cpu.rip = self.next_rip();
        let Aftermath { no_step, resume } = std::mem::take(&mut self.aftermath);
        // In a shadow alone, the rest may be done where nobody looks at single instructions.
        let repeats = repeats && self.is_stepping();
        self.cpu.flags.put(flags::RF, resume || repeats);
        let traps = std::mem::take(&mut self.debug_trap);
        if self.shadow == before.shadow {
            self.cpu.shadow = 0;
            self.attention = true;
        }
        if self.shadow & shadow::MOV_SS != 0 {
            // Data breakpoints wait for the next instruction; its own single step is lost (SDM vol. 3, 6.8.3).
            self.cpu.held_traps = traps;
            return Ok(());
        }
        let bits = traps | if before.stepping && !no_step { BS } else { 0 };
        if bits == 0 {
            return Ok(());
        }
        self.raise(Exception { payload: bits, trap: true, ..Exception::plain(vector::DB) })
    }

    /// The instruction is over, and a debug trap with `bits` in DR6 comes before the one that it leads to, whether it
    /// is looked at alone or not.
    pub(crate) fn trap_behind<T>(&mut self, bits: u64) -> Exec<T> {
        self.cpu.rip = self.next_rip();
        let bits = bits | std::mem::take(&mut self.debug_trap);
        self.raise(Exception { payload: bits, trap: true, ..Exception::plain(vector::DB) })
    }

    /// A task switch ends the breakpoints that are the task's own.
    pub(super) fn clear_local_breakpoints(&mut self) {
        self.cpu.debug.dr7 &= !LOCAL;
        self.update_view();
    }

    /// TF as it was before this instruction does not count.
    pub(crate) fn cancel_single_step(&mut self) {
        self.aftermath.no_step = true;
    }

    /// RFLAGS were popped with RF: it holds breakpoints on the next instruction off. Without breakpoints it would
    /// only stay on, as nothing looks at single instructions then.
    pub(crate) fn take_resume_flag(&mut self) {
        let counts = self.debug.dr7 & 0xff != 0;
        self.aftermath.resume = counts && self.flags.has(flags::RF);
        if !counts {
            self.cpu.flags.put(flags::RF, false);
        }
    }

    /// MOV from a debug register. DR4 and DR5 are DR6 and DR7 unless CR4.DE says that they do not exist.
    pub fn read_debug_register(&mut self, number: u8) -> Exec<u64> {
        let number = self.check_debug_access(number)?;
        Ok(match number {
            0..=3 => self.debug.addresses[usize::from(number)],
            6 => self.debug.dr6,
            _ => self.debug.dr7,
        })
    }

    /// MOV to a debug register.
    pub fn write_debug_register(&mut self, number: u8, value: u64) -> Exec {
        let number = self.check_debug_access(number)?;
        if number >= 6 && value >> 32 != 0 {
            return self.general_protection(0);
        }
        match number {
            0..=3 => self.cpu.debug.addresses[usize::from(number)] = value,
            6 => self.cpu.debug.dr6 = value & 0xe00f | DR6_FIXED,
            _ => self.cpu.debug.dr7 = value & 0xffff_2bff | DR7_FIXED,
        }
        self.update_view();
        self.attention = true;
        Ok(())
    }

    fn check_debug_access(&mut self, number: u8) -> Exec<u8> {
        let aliased = matches!(number, 4 | 5);
        if number > 7 || (aliased && self.cr4 & cr4::DE != 0) {
            return self.undefined();
        }
        self.require_cpl0()?;
        if self.debug.dr7 & GD != 0 {
            return self.raise(Exception { payload: BD, ..Exception::plain(vector::DB) });
        }
        Ok(if aliased { number + 2 } else { number })
    }

    /// #DB is being delivered: DR6 says why, and DR7.GD is cleared.
    pub(super) fn note_debug_exception(&mut self, bits: u64) {
        let sticky = self.debug.dr6 & (BD | BS) & !bits;
        self.cpu.debug.dr6 = DR6_FIXED | self.debug.dr6 & 0xe000 & !sticky | sticky | bits;
        self.cpu.debug.dr7 &= !GD;
    }

    /// Whether each instruction has to be looked at alone: single step, or breakpoints on instructions.
    #[inline(always)]
    pub fn is_stepping(&self) -> bool {
        self.flags.has(flags::TF) || self.debug.dr7 & 0xff != 0
    }

    /// Whether a breakpoint on data is enabled.
    pub fn has_data_breakpoints(&self) -> bool {
        let is_data = |n| self.is_enabled(n) && matches!(self.kind(n), kind::WRITE | kind::READ_WRITE);
        self.debug.dr7 & 0xff != 0 && (0..4).any(is_data)
    }

    /// Raises #DB if a breakpoint is at the instruction about to be executed.
    pub fn check_instruction_breakpoints(&mut self, address: u64) -> Exec {
        let is_held_off = self.flags.has(flags::RF) || self.shadow & shadow::MOV_SS != 0;
        if self.debug.dr7 & 0xff == 0 || is_held_off {
            return Ok(());
        }
        let hit = |n: &usize| {
            self.is_enabled(*n) && self.kind(*n) == kind::EXECUTE && self.debug.addresses[*n] == address
        };
        let bits = (0..4usize).filter(hit).fold(0, |bits, n| bits | 1 << n);
        if bits == 0 {
            return Ok(());
        }
        self.raise(Exception { payload: bits, ..Exception::plain(vector::DB) })
    }

    /// Forgets the traps of an instruction that does not come to its end.
    pub(super) fn drop_debug_traps(&mut self) {
        self.debug_trap = 0;
        self.aftermath = Aftermath::default();
    }

    /// Notes breakpoints that an access of `size` bytes at `address` hits; the trap comes after the instruction.
    pub(crate) fn note_data_breakpoints(&mut self, address: u64, size: usize, write: bool) {
        self.note_breakpoints(address, size, |kind| match kind {
            kind::WRITE => write,
            kind::READ_WRITE => true,
            _ => false,
        });
    }

    /// Notes breakpoints that an access to `size` ports from `port` on hits.
    pub(crate) fn note_port_breakpoints(&mut self, port: u16, size: usize) {
        if self.debug.dr7 & 0xff != 0 && self.cr4 & cr4::DE != 0 {
            self.note_breakpoints(port.into(), size, |kind| kind == kind::PORT);
        }
    }

    fn note_breakpoints(&mut self, address: u64, size: usize, is_meant: impl Fn(u64) -> bool) {
        for n in 0..4 {
            let len = [1, 2, 8, 4][(self.debug.dr7 >> (18 + 4 * n) & 3) as usize];
            let start = self.debug.addresses[n] & !(len - 1);
            // One begins inside the other.
            let overlap = address.wrapping_sub(start) < len || start.wrapping_sub(address) < size as u64;
            if self.is_enabled(n) && is_meant(self.kind(n)) && overlap {
                self.debug_trap |= 1 << n;
            }
        }
    }

    fn is_enabled(&self, n: usize) -> bool {
        self.debug.dr7 >> (2 * n) & 3 != 0
    }

    fn kind(&self, n: usize) -> u64 {
        self.debug.dr7 >> (16 + 4 * n) & 3
    }
}
