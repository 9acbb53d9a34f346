//! RFLAGS. The six status flags are worked out when somebody asks: an arithmetic instruction leaves its result
//! and its carries behind, and most of them are overwritten before any flag is looked at.

use super::Word;

/// Carry.
pub const CF: u64 = 1 << 0;
/// Always set.
pub const FIXED: u64 = 1 << 1;
/// Parity of the low byte.
pub const PF: u64 = 1 << 2;
/// Carry out of bit 3.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Single step.
pub const TF: u64 = 1 << 8;
/// Interrupts enabled.
pub const IF: u64 = 1 << 9;
/// String instructions go downward.
pub const DF: u64 = 1 << 10;
/// Signed overflow.
pub const OF: u64 = 1 << 11;
/// I/O privilege level, 2 bits.
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Resume: no instruction breakpoint for one instruction.
pub const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check, and supervisor access to user pages under SMAP.
pub const AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const VIP: u64 = 1 << 20;
/// CPUID exists.
pub const ID: u64 = 1 << 21;
/// The six that arithmetic sets.
pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
/// Bits that exist (SDM vol. 1, 3.4.3).
pub const DEFINED: u64 = STATUS | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;

/// RFLAGS of one vCPU.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    /// All bits; the status flags in it count only where not `lazy`.
    bits: u64,
    /// Whether the status flags follow from the fields below.
    lazy: bool,
    /// Last result, sign-extended: ZF, SF, PF.
    result: i64,
    /// Carries (borrows) out of each bit, the operand's highest at bit 63: CF and, with the one below, OF.
    carries: u64,
    /// AF at its own place.
    aux: u8,
}

/// Where in [`Flags`] the bits are that are no status flags.
pub(crate) const BITS: usize = std::mem::offset_of!(Flags, bits);

impl Default for Flags {
    fn default() -> Self {
        Flags { bits: FIXED, lazy: false, result: 0, carries: 0, aux: 0 }
    }
}

impl Flags {
    /// RFLAGS as PUSHF and a saved state show it.
    pub fn get(&self) -> u64 {
        if self.lazy { self.bits & !STATUS | self.status() } else { self.bits }
    }

    /// Sets RFLAGS; bits that do not exist stay as the manual has them.
    pub fn set(&mut self, rflags: u64) {
        self.bits = rflags & DEFINED | FIXED;
        self.lazy = false;
    }

    /// The six status flags at their places.
    pub fn status(&self) -> u64 {
        if !self.lazy {
            return self.bits & STATUS;
        }
        let bit = |set: bool, flag: u64| if set { flag } else { 0 };
        bit(self.cf(), CF)
            | bit(self.pf(), PF)
            | u64::from(self.aux) & AF
            | bit(self.zf(), ZF)
            | bit(self.sf(), SF)
            | bit(self.of(), OF)
    }

    /// Sets the six status flags from their places in `status`.
    pub fn set_status(&mut self, status: u64) {
        self.bits = self.bits & !STATUS | status & STATUS;
        self.lazy = false;
    }

    /// Sets those status flags that are in `mask` from their places in `status`.
    pub fn set_some(&mut self, mask: u64, status: u64) {
        let kept = self.status() & !mask;
        self.set_status(kept | status & mask);
    }

    /// Whether all bits of `flag`, which is not a status flag, are set.
    #[inline(always)]
    pub fn has(&self, flag: u64) -> bool {
        self.bits & flag == flag
    }

    /// Sets or clears `flag`, which is not a status flag.
    pub fn put(&mut self, flag: u64, on: bool) {
        self.bits = if on { self.bits | flag } else { self.bits & !flag };
    }

    /// I/O privilege level.
    pub fn iopl(&self) -> u8 {
        (self.bits >> 12 & 3) as u8
    }

    /// Carry.
    #[inline(always)]
    pub fn cf(&self) -> bool {
        if self.lazy { self.carries >> 63 != 0 } else { self.bits & CF != 0 }
    }

    /// Zero.
    #[inline(always)]
    pub fn zf(&self) -> bool {
        if self.lazy { self.result == 0 } else { self.bits & ZF != 0 }
    }

    /// Sign.
    #[inline(always)]
    pub fn sf(&self) -> bool {
        if self.lazy { self.result < 0 } else { self.bits & SF != 0 }
    }

    /// Overflow.
    #[inline(always)]
    pub fn of(&self) -> bool {
        if self.lazy { (self.carries ^ self.carries << 1) >> 63 != 0 } else { self.bits & OF != 0 }
    }

    /// Parity of the low byte of the result.
    pub fn pf(&self) -> bool {
        if self.lazy { (self.result as u8).count_ones().is_multiple_of(2) } else { self.bits & PF != 0 }
    }

    /// Carry out of bit 3.
    pub fn af(&self) -> bool {
        if self.lazy { u64::from(self.aux) & AF != 0 } else { self.bits & AF != 0 }
    }

    /// After `a + b (+ carry) = result`.
    #[inline(always)]
    pub fn after_add<T: Word>(&mut self, a: T, b: T, result: T) {
        let carries = (a & b) | ((a | b) & !result);
        self.after(result, carries, (a ^ b ^ result).to_u64() as u8);
    }

    /// After `a - b (- borrow) = result`.
    #[inline(always)]
    pub fn after_sub<T: Word>(&mut self, a: T, b: T, result: T) {
        let borrows = (!a & b) | ((!a | b) & result);
        self.after(result, borrows, (a ^ b ^ result).to_u64() as u8);
    }

    /// After AND, OR, XOR, TEST: no carry, no overflow.
    #[inline(always)]
    pub fn after_logic<T: Word>(&mut self, result: T) {
        self.after(result, T::from_u64(0), 0);
    }

    /// After a shift: CF and OF as told, no carry out of bit 3.
    #[inline(always)]
    pub fn after_shift<T: Word>(&mut self, result: T, carry: bool, overflow: bool) {
        self.result = result.to_i64();
        self.carries = u64::from(carry) << 63 | u64::from(carry != overflow) << 62;
        self.aux = 0;
        self.lazy = true;
    }

    /// After INC and DEC, which leave the carry alone: `overflow` is their own.
    #[inline(always)]
    pub fn after_step<T: Word>(&mut self, before: T, result: T, overflow: bool) {
        let carry = self.cf();
        let below = u64::from(carry != overflow) << 62;
        self.aux = (before ^ result).to_u64() as u8;
        // INC and DEC change bit 4 when, and only when, a carry came out of bit 3.
        self.carries = u64::from(carry) << 63 | below;
        self.result = result.to_i64();
        self.lazy = true;
    }

    #[inline(always)]
    fn after<T: Word>(&mut self, result: T, carries: T, aux: u8) {
        self.result = result.to_i64();
        self.carries = carries.to_u64() << (64 - T::BITS);
        self.aux = aux;
        self.lazy = true;
    }

    /// Whether condition `code` holds (SDM vol. 1, appendix B): the low four bits of Jcc, SETcc, CMOVcc.
    #[inline(always)]
    pub fn condition(&self, code: u8) -> bool {
        let holds = match code >> 1 & 7 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        holds != (code & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(a: u8, b: u8, result: u8, carry: bool, overflow: bool) -> u64 {
        let bit = |on: bool, flag| if on { flag } else { 0 };
        bit(carry, CF)
            | bit(result.count_ones().is_multiple_of(2), PF)
            | bit((a ^ b ^ result) & 0x10 != 0, AF)
            | bit(result == 0, ZF)
            | bit(result >= 0x80, SF)
            | bit(overflow, OF)
    }

    #[test]
    fn bytes_added_and_subtracted_in_every_combination() {
        let mut flags = Flags::default();
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let (sum, carry) = a.overflowing_add(b);
                flags.after_add(a, b, sum);
                let overflow = (a as i8).overflowing_add(b as i8).1;
                assert_eq!(flags.status(), expected(a, b, sum, carry, overflow), "{a} + {b}");
                let (difference, borrow) = a.overflowing_sub(b);
                flags.after_sub(a, b, difference);
                let overflow = (a as i8).overflowing_sub(b as i8).1;
                assert_eq!(flags.status(), expected(a, b, difference, borrow, overflow), "{a} - {b}");
            }
        }
    }

    #[test]
    fn shifts_note_any_carry_and_overflow() {
        for result in 0..=255u8 {
            for (carry, overflow) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut flags = Flags::default();
                flags.after_shift(result, carry, overflow);
                assert_eq!((flags.cf(), flags.of(), flags.af()), (carry, overflow, false));
                let rest = STATUS & !(CF | OF | AF);
                assert_eq!(flags.status() & rest, expected(0, result, result, false, false) & rest);
            }
        }
    }

    #[test]
    fn steps_keep_the_carry() {
        let mut flags = Flags::default();
        for carry in [false, true] {
            for a in 0..=255u8 {
                flags.set_status(if carry { CF } else { 0 });
                let up = a.wrapping_add(1);
                flags.after_step(a, up, a == 0x7f);
                assert_eq!(flags.status(), expected(a, 1, up, carry, a == 0x7f), "inc {a}");
            }
        }
    }

    #[test]
    fn any_combination_can_be_set() {
        let mut flags = Flags::default();
        flags.after_add(1u64, 1, 2);
        flags.set(u64::MAX);
        assert_eq!(flags.get(), DEFINED | FIXED);
        flags.set_some(CF | ZF, 0);
        assert_eq!(flags.status(), STATUS & !(CF | ZF));
        assert!(flags.condition(3) && !flags.condition(2) && flags.has(IF));
    }
}
