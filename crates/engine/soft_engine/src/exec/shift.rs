//! Shifts and rotates.
//!
//! Counts are masked to 5 bits, to 6 for 64-bit operands; a count of zero leaves the flags alone, though a 32-bit
//! register's upper half is cleared. Flags that manuals leave open are clear ([`crate::undefined`]): OF where the count is
//! not 1, AF after every shift, CF where SHL or SHR shifts out more than there is.

use iced_x86::Mnemonic;

use super::{Form, by_size, check_vex};
use crate::cpu::flags::{CF, OF};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Shl | Mnemonic::Sal => by_size!(form, shl),
        Mnemonic::Shr => by_size!(form, shr),
        Mnemonic::Sar => by_size!(form, sar),
        Mnemonic::Rol => by_size!(form, rol),
        Mnemonic::Ror => by_size!(form, ror),
        Mnemonic::Rcl => by_size!(form, rcl),
        Mnemonic::Rcr => by_size!(form, rcr),
        Mnemonic::Shld => by_size!(form, shld),
        Mnemonic::Shrd => by_size!(form, shrd),
        Mnemonic::Rorx => by_size!(form, rorx),
        Mnemonic::Shlx => by_size!(form, shlx),
        Mnemonic::Shrx => by_size!(form, shrx),
        Mnemonic::Sarx => by_size!(form, sarx),
        _ => None,
    }
}

/// SDM vol. 2B, SAL/SAR/SHL/SHR.
fn shl<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 1)?);
    let old: T = core.update(insn, 0, |old: T| shifted_left(old, count))?;
    if count != 0 {
        let result = shifted_left(old, count);
        let carry = count < T::BITS && old.to_u64() >> (T::BITS - count) & 1 != 0;
        core.flags.after_shift(result, carry, count == 1 && carry != result.sign());
    }
    Ok(())
}

fn shr<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 1)?);
    let old: T = core.update(insn, 0, |old: T| shifted_right(old, count))?;
    if count != 0 {
        let result = shifted_right(old, count);
        let carry = count < T::BITS && old.to_u64() >> (count - 1) & 1 != 0;
        core.flags.after_shift(result, carry, count == 1 && old.sign());
    }
    Ok(())
}

fn sar<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 1)?);
    let old: T = core.update(insn, 0, |old: T| shifted_arithmetically(old, count))?;
    if count != 0 {
        let carry = old.to_i64() >> (count - 1) & 1 != 0;
        core.flags.after_shift(shifted_arithmetically(old, count), carry, false);
    }
    Ok(())
}

/// SDM vol. 2B, RCL/RCR/ROL/ROR.
fn rol<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 1)?);
    let old: T = core.update(insn, 0, |old: T| rotated_left(old, count))?;
    if count != 0 {
        let result = rotated_left(old, count);
        let carry = result.to_u64() & 1 != 0;
        after_rotate(core, carry, count == 1 && carry != result.sign());
    }
    Ok(())
}

fn ror<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 1)?);
    let old: T = core.update(insn, 0, |old: T| rotated_right(old, count))?;
    if count != 0 {
        let result = rotated_right(old, count);
        after_rotate(core, result.sign(), count == 1 && top_bits_differ(result));
    }
    Ok(())
}

fn rcl<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 1)?);
    let carry = core.flags.cf();
    let old: T = core.update(insn, 0, |old: T| through_carry(old, carry, count).0)?;
    if count != 0 {
        let (result, carry) = through_carry(old, carry, count);
        after_rotate(core, carry, count == 1 && carry != result.sign());
    }
    Ok(())
}

fn rcr<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 1)?);
    let carry = core.flags.cf();
    // To the right by n is to the left by what is missing to a full turn.
    let left = T::BITS + 1 - count % (T::BITS + 1);
    let old: T = core.update(insn, 0, |old: T| through_carry(old, carry, left).0)?;
    if count != 0 {
        let (result, carry) = through_carry(old, carry, left);
        after_rotate(core, carry, count == 1 && top_bits_differ(result));
    }
    Ok(())
}

/// SDM vol. 2B, SHLD. A 16-bit operand shifted by more than 16, which is undefined, is filled up with the source once more.
fn shld<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 2)?);
    let source: T = core.read(insn, 1)?;
    let shift = |old: T| double_left(old, source, count);
    let old: T = core.update(insn, 0, shift)?;
    if count != 0 {
        let carry = old.to_u64() >> (T::BITS.saturating_sub(count)) & 1 != 0;
        let result = shift(old);
        after_double_shift(core, count, result, carry, old.sign() != result.sign());
    }
    Ok(())
}

/// SDM vol. 2B, SHRD.
fn shrd<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let count = count::<T>(core.read(insn, 2)?);
    let source: T = core.read(insn, 1)?;
    let shift = |old: T| double_right(old, source, count);
    let old: T = core.update(insn, 0, shift)?;
    if count != 0 {
        let carry = old.to_u64() >> (count - 1) & 1 != 0;
        let result = shift(old);
        after_double_shift(core, count, result, carry, old.sign() != result.sign());
    }
    Ok(())
}

/// SDM vol. 2B, RORX.
fn rorx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let value: T = core.read(insn, 1)?;
    core.write(insn, 0, rotated_right(value, count::<T>(insn.imm as u8)))
}

/// SDM vol. 2B, SARX/SHLX/SHRX.
fn shlx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    shift_without_flags(core, insn, shifted_left::<T>)
}

fn shrx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    shift_without_flags(core, insn, shifted_right::<T>)
}

fn sarx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    shift_without_flags(core, insn, shifted_arithmetically::<T>)
}

#[inline(always)]
fn shift_without_flags<T: Word>(core: &mut Core<'_>, insn: &Insn, shift: fn(T, u32) -> T) -> Exec {
    let value: T = core.read(insn, 1)?;
    let by: T = core.read(insn, 2)?;
    core.write(insn, 0, shift(value, count::<T>(by.to_u64() as u8)))
}

/// A count as the instruction takes it.
#[inline(always)]
fn count<T: Word>(operand: u8) -> u32 {
    u32::from(operand) & if T::BITS == 64 { 63 } else { 31 }
}

// In all of these the count is below 64, and below 32 where the operand has at most 32 bits.

#[inline(always)]
fn shifted_left<T: Word>(value: T, count: u32) -> T {
    T::from_u64(value.to_u64() << count)
}

#[inline(always)]
fn shifted_right<T: Word>(value: T, count: u32) -> T {
    T::from_u64(value.to_u64() >> count)
}

#[inline(always)]
fn shifted_arithmetically<T: Word>(value: T, count: u32) -> T {
    T::from_u64((value.to_i64() >> count) as u64)
}

#[inline(always)]
fn rotated_left<T: Word>(value: T, count: u32) -> T {
    let (bits, value) = (count % T::BITS, value.to_u64());
    T::from_u64(value << bits | value >> ((T::BITS - bits) & 63) & mask_below(bits))
}

#[inline(always)]
fn rotated_right<T: Word>(value: T, count: u32) -> T {
    rotated_left(value, T::BITS - count % T::BITS)
}

#[inline(always)]
fn mask_below(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Rotates carry and value as one number, `count` places to the left.
#[inline(always)]
fn through_carry<T: Word>(value: T, carry: bool, count: u32) -> (T, bool) {
    let width = T::BITS + 1;
    let count = count % width;
    let whole = u128::from(carry) << T::BITS | u128::from(value.to_u64());
    let turned = whole << count | whole >> (width - count);
    (T::from_u64(turned as u64), turned >> T::BITS & 1 != 0)
}

#[inline(always)]
fn double_left<T: Word>(high: T, low: T, count: u32) -> T {
    let (high, low) = (u128::from(high.to_u64()), u128::from(low.to_u64()));
    let whole = if T::BITS == 16 { high << 32 | low << 16 | low } else { high << T::BITS | low };
    let below = if T::BITS == 16 { 32 } else { T::BITS };
    T::from_u64((whole << count >> below) as u64)
}

#[inline(always)]
fn double_right<T: Word>(low: T, high: T, count: u32) -> T {
    let (high, low) = (u128::from(high.to_u64()), u128::from(low.to_u64()));
    let whole = if T::BITS == 16 { high << 32 | high << 16 | low } else { high << T::BITS | low };
    T::from_u64((whole >> count) as u64)
}

#[inline(always)]
fn top_bits_differ<T: Word>(value: T) -> bool {
    let value = value.to_u64();
    (value >> (T::BITS - 1) ^ value >> (T::BITS - 2)) & 1 != 0
}

/// Flags after SHLD and SHRD: none where the count is greater than the operand; OF is a change of sign by a single step.
#[inline(always)]
fn after_double_shift<T: Word>(core: &mut Core<'_>, count: u32, result: T, carry: bool, turned: bool) {
    if count > T::BITS {
        core.flags.set_status(0);
    } else {
        core.flags.after_shift(result, carry, count == 1 && turned);
    }
}

#[inline(always)]
fn after_rotate(core: &mut Core<'_>, carry: bool, overflow: bool) {
    core.flags.set_some(CF | OF, (u64::from(carry) * CF) | (u64::from(overflow) * OF));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_are_as_the_host_knows_them() {
        for count in 0..64 {
            let (value, byte) = (0x8123_4567_89ab_cdef_u64, 0x93_u8);
            assert_eq!(rotated_left(value, count), value.rotate_left(count));
            assert_eq!(rotated_right(value, count), value.rotate_right(count));
            assert_eq!(rotated_left(byte, count & 31), byte.rotate_left(count));
            assert_eq!(rotated_right(byte, count & 31), byte.rotate_right(count));
        }
    }

    /// One step at a time, as the manual defines it.
    fn rcl_stepwise(mut value: u8, mut carry: bool, count: u32) -> (u8, bool) {
        for _ in 0..count {
            let out = value & 0x80 != 0;
            value = value << 1 | u8::from(carry);
            carry = out;
        }
        (value, carry)
    }

    #[test]
    fn rotates_through_carry_are_single_steps() {
        for value in 0..=255u8 {
            for count in 0..32 {
                for carry in [false, true] {
                    let left = rcl_stepwise(value, carry, count);
                    assert_eq!(through_carry(value, carry, count), left);
                    let right = 9 - count % 9;
                    assert_eq!(through_carry(left.0, left.1, right), (value, carry));
                }
            }
        }
        assert_eq!(through_carry(1u64 << 63, false, 1), (0, true));
        assert_eq!(through_carry(0u64, true, 64), (1 << 63, false));
    }

    #[test]
    fn double_shifts_take_bits_from_the_source() {
        assert_eq!(double_left(0x1234_5678_u32, 0x9abc_def0, 8), 0x3456_789a);
        assert_eq!(double_right(0x1234_5678_u32, 0x9abc_def0, 8), 0xf012_3456);
        assert_eq!(double_left(1u64, u64::MAX, 63), u64::MAX >> 1 | 1 << 63);
        // More than the operand's size.
        assert_eq!(double_left(0x1234_u16, 0xabcd, 20), 0xbcda);
        assert_eq!(double_right(0x1234_u16, 0xabcd, 20), 0xdabc);
    }
}
