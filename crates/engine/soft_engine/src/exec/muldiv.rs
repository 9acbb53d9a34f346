//! Multiplication and division.
//!
//! Flags that manuals leave open are clear ([`crate::undefined`]): all but CF and OF after a multiplication, all six after
//! a division.

use iced_x86::Mnemonic;

use super::{Form, by_size, check_vex};
use crate::cpu::flags::{CF, OF};
use crate::cpu::{Core, Exception, Exec, Word, gpr, vector};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match (form.mnemonic, form.insn.op_count()) {
        (Mnemonic::Mul, _) => by_size!(form, mul),
        (Mnemonic::Imul, 1) => by_size!(form, imul_wide),
        (Mnemonic::Imul, 2) => by_size!(form, imul_two),
        (Mnemonic::Imul, _) => by_size!(form, imul_three),
        (Mnemonic::Mulx, _) => by_size!(form, mulx),
        (Mnemonic::Div, _) => by_size!(form, div),
        (Mnemonic::Idiv, _) => by_size!(form, idiv),
        _ => None,
    }
}

/// SDM vol. 2B, MUL.
fn mul<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 0)?;
    let (low, high) = product(core.get_reg(gpr::RAX), b);
    set_pair(core, low, high);
    after_multiplication(core, high.to_u64() != 0);
    Ok(())
}

/// SDM vol. 2A, IMUL.
fn imul_wide<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 0)?;
    let (low, high) = signed_product(core.get_reg(gpr::RAX), b);
    set_pair(core, low, high);
    after_multiplication(core, high.to_i64() != low.to_i64() >> 63);
    Ok(())
}

fn imul_two<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = core.read(insn, 0)?;
    imul_into(core, insn, a, b)
}

fn imul_three<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let a: T = core.read(insn, 1)?;
    imul_into(core, insn, a, T::from_u64(insn.imm))
}

#[inline(always)]
fn imul_into<T: Word>(core: &mut Core<'_>, insn: &Insn, a: T, b: T) -> Exec {
    let (low, high) = signed_product(a, b);
    core.write(insn, 0, low)?;
    after_multiplication(core, high.to_i64() != low.to_i64() >> 63);
    Ok(())
}

/// SDM vol. 2B, MULX. The high half stays where both destinations are one register.
fn mulx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    check_vex(core)?;
    let b: T = core.read(insn, 2)?;
    let (low, high) = product(core.get_reg(gpr::RDX), b);
    core.write(insn, 1, low)?;
    core.write(insn, 0, high)
}

/// SDM vol. 2A, DIV.
fn div<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let divisor: T = core.read(insn, 0)?;
    let (low, high): (T, T) = pair(core);
    match divided(low, high, divisor) {
        Some((quotient, remainder)) => finish_division(core, quotient, remainder),
        None => core.raise(Exception::plain(vector::DE)),
    }
}

/// SDM vol. 2A, IDIV.
fn idiv<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let divisor: T = core.read(insn, 0)?;
    let (low, high): (T, T) = pair(core);
    match divided_signed(low, high, divisor) {
        Some((quotient, remainder)) => finish_division(core, quotient, remainder),
        None => core.raise(Exception::plain(vector::DE)),
    }
}

fn finish_division<T: Word>(core: &mut Core<'_>, quotient: T, remainder: T) -> Exec {
    set_pair(core, quotient, remainder);
    core.flags.set_status(0);
    Ok(())
}

#[inline(always)]
fn product<T: Word>(a: T, b: T) -> (T, T) {
    if T::BITS < 64 {
        let product = a.to_u64() * b.to_u64();
        return (T::from_u64(product), T::from_u64(product >> T::BITS));
    }
    let product = u128::from(a.to_u64()) * u128::from(b.to_u64());
    (T::from_u64(product as u64), T::from_u64((product >> 64) as u64))
}

#[inline(always)]
fn signed_product<T: Word>(a: T, b: T) -> (T, T) {
    if T::BITS < 64 {
        let product = (a.to_i64() * b.to_i64()) as u64;
        return (T::from_u64(product), T::from_u64(product >> T::BITS));
    }
    let product = i128::from(a.to_i64()) * i128::from(b.to_i64());
    (T::from_u64(product as u64), T::from_u64((product >> 64) as u64))
}

/// Quotient and remainder; `None` if the quotient does not fit.
#[inline(always)]
fn divided<T: Word>(low: T, high: T, divisor: T) -> Option<(T, T)> {
    if high >= divisor {
        // This includes a divisor of zero.
        return None;
    }
    if T::BITS < 64 || high.to_u64() == 0 {
        let dividend = high.to_u64().unbounded_shl(T::BITS) | low.to_u64();
        let divisor = divisor.to_u64();
        return Some((T::from_u64(dividend / divisor), T::from_u64(dividend % divisor)));
    }
    let dividend = u128::from(high.to_u64()) << 64 | u128::from(low.to_u64());
    let divisor = u128::from(divisor.to_u64());
    Some((T::from_u64((dividend / divisor) as u64), T::from_u64((dividend % divisor) as u64)))
}

/// Quotient, rounded toward zero, and remainder; `None` if the quotient does not fit.
#[inline(always)]
fn divided_signed<T: Word>(low: T, high: T, divisor: T) -> Option<(T, T)> {
    let divisor = divisor.to_i64();
    let (quotient, remainder) = if T::BITS < 64 || high.to_i64() == low.to_i64() >> 63 {
        let dividend = (high.to_i64() as u64).unbounded_shl(T::BITS) | low.to_u64();
        let dividend = dividend as i64;
        (dividend.checked_div(divisor)?, dividend.wrapping_rem(divisor))
    } else {
        let dividend = i128::from(high.to_i64()) << 64 | i128::from(low.to_u64());
        let divisor = i128::from(divisor);
        (dividend.checked_div(divisor)?.try_into().ok()?, dividend.wrapping_rem(divisor) as i64)
    };
    let fitting = T::from_u64(quotient as u64);
    (fitting.to_i64() == quotient).then_some((fitting, T::from_u64(remainder as u64)))
}

/// Low and high half: AX, DX:AX, EDX:EAX, RDX:RAX.
#[inline(always)]
fn pair<T: Word>(core: &Core<'_>) -> (T, T) {
    let low: T = core.get_reg(gpr::RAX);
    let high = if T::BITS == 8 { T::from_u64(core.reg(gpr::RAX) >> 8) } else { core.get_reg(gpr::RDX) };
    (low, high)
}

#[inline(always)]
fn set_pair<T: Word>(core: &mut Core<'_>, low: T, high: T) {
    if T::BITS == 8 {
        core.set_reg(gpr::RAX, (high.to_u64() << 8 | low.to_u64()) as u16);
    } else {
        core.set_reg(gpr::RAX, low);
        core.set_reg(gpr::RDX, high);
    }
}

#[inline(always)]
fn after_multiplication(core: &mut Core<'_>, wide: bool) {
    core.flags.set_status(if wide { CF | OF } else { 0 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_divided_by_every_byte() {
        for dividend in (0..=u16::MAX).step_by(13) {
            for divisor in 0..=u8::MAX {
                let (low, high) = (dividend as u8, (dividend >> 8) as u8);
                let fitting = dividend
                    .checked_div(divisor.into())
                    .and_then(|quotient| u8::try_from(quotient).ok())
                    .map(|quotient| (quotient, (dividend % u16::from(divisor)) as u8));
                assert_eq!(divided(low, high, divisor), fitting, "{dividend} / {divisor}");
                let (signed, by) = (i32::from(dividend as i16), i32::from(divisor as i8));
                let fitting = signed
                    .checked_div(by)
                    .and_then(|quotient| i8::try_from(quotient).ok())
                    .map(|quotient| (quotient as u8, (signed % by) as u8));
                assert_eq!(divided_signed(low, high, divisor), fitting, "{signed} / {by}");
            }
        }
    }

    #[test]
    fn wide_dividends() {
        let top = 1u64 << 63;
        assert_eq!(divided(0, 1, 2u64), Some((top, 0)));
        assert_eq!(divided(0, 2, 2u64), None);
        assert_eq!(divided(5, 0, 0u64), None);
        assert_eq!(divided(u64::MAX, u64::MAX - 1, u64::MAX), Some((u64::MAX, u64::MAX - 1)));
        // The lowest integers by -1, of 64 and of 128 bits.
        assert_eq!(divided_signed(top, u64::MAX, u64::MAX), None);
        assert_eq!(divided_signed(0, top, u64::MAX), None);
        assert_eq!(divided_signed(0, u64::MAX, 2), Some((top, 0)));
        assert_eq!(divided_signed(top, 0, u64::MAX), Some((top, 0)));
        assert_eq!(divided_signed(0, 1u32 << 31, u32::MAX), None);
        assert_eq!(divided_signed(-7i32 as u32, u32::MAX, 2), Some((-3i32 as u32, -1i32 as u32)));
    }

    #[test]
    fn products_of_every_size() {
        assert_eq!(product(0xffu8, 0xff), (0x01, 0xfe));
        assert_eq!(product(u32::MAX, u32::MAX), (1, u32::MAX - 1));
        assert_eq!(product(u64::MAX, u64::MAX), (1, u64::MAX - 1));
        assert_eq!(signed_product(0x80u8, 0x80), (0, 0x40));
        assert_eq!(signed_product(u64::MAX, 2), (u64::MAX - 1, u64::MAX));
        assert_eq!(signed_product(1u32 << 31, 1 << 31), (0, 1 << 30));
    }
}
