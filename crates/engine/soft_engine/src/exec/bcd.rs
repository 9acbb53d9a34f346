//! Decimal adjustment, which 64-bit mode does not have.
//!
//! Flags that manuals leave open are clear ([`crate::undefined`]).

use iced_x86::Mnemonic;

use super::Form;
use crate::cpu::flags::{AF, CF};
use crate::cpu::{Core, Exception, Exec, Flags, gpr, vector};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Daa => daa,
        Mnemonic::Das => das,
        Mnemonic::Aaa => aaa,
        Mnemonic::Aas => aas,
        Mnemonic::Aam => aam,
        Mnemonic::Aad => aad,
        _ => return None,
    };
    Some(handler)
}

/// SDM vol. 2A, DAA.
fn daa(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let al: u8 = core.get_reg(gpr::RAX);
    let result = decimal_after_add(&mut core.flags, al);
    core.set_reg(gpr::RAX, result);
    Ok(())
}

/// SDM vol. 2A, DAS.
fn das(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let al: u8 = core.get_reg(gpr::RAX);
    let result = decimal_after_sub(&mut core.flags, al);
    core.set_reg(gpr::RAX, result);
    Ok(())
}

/// SDM vol. 2A, AAA.
fn aaa(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let ax: u16 = core.get_reg(gpr::RAX);
    let adjust = needs_adjustment(&core.flags, ax as u8);
    let by = if adjust { 0x106 } else { 0 };
    finish_unpacked(core, ax.wrapping_add(by), adjust)
}

/// SDM vol. 2A, AAS.
fn aas(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let ax: u16 = core.get_reg(gpr::RAX);
    let adjust = needs_adjustment(&core.flags, ax as u8);
    let by = if adjust { 0x106 } else { 0 };
    finish_unpacked(core, ax.wrapping_sub(by), adjust)
}

/// SDM vol. 2A, AAM: #DE for base 0.
fn aam(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let (al, base): (u8, u8) = (core.get_reg(gpr::RAX), insn.imm as u8);
    let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else {
        return core.raise(Exception::plain(vector::DE));
    };
    core.set_reg(gpr::RAX, u16::from(high) << 8 | u16::from(low));
    core.flags.after_logic(low);
    Ok(())
}

/// SDM vol. 2A, AAD.
fn aad(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let ax: u16 = core.get_reg(gpr::RAX);
    let tens = ((ax >> 8) as u8).wrapping_mul(insn.imm as u8);
    let result = (ax as u8).wrapping_add(tens);
    core.set_reg(gpr::RAX, u16::from(result));
    core.flags.after_logic(result);
    Ok(())
}

fn finish_unpacked(core: &mut Core<'_>, result: u16, adjusted: bool) -> Exec {
    core.set_reg(gpr::RAX, result & 0xff0f);
    core.flags.set_status(if adjusted { CF | AF } else { 0 });
    Ok(())
}

fn needs_adjustment(flags: &Flags, al: u8) -> bool {
    al & 0xf > 9 || flags.af()
}

fn decimal_after_add(flags: &mut Flags, al: u8) -> u8 {
    let (low, high) = (needs_adjustment(flags, al), al > 0x99 || flags.cf());
    let by = adjustment(low, high);
    let result = al.wrapping_add(by);
    note_adjusted(flags, result, low, high);
    result
}

fn decimal_after_sub(flags: &mut Flags, al: u8) -> u8 {
    let (low, high) = (needs_adjustment(flags, al), al > 0x99 || flags.cf());
    let by = adjustment(low, high);
    let result = al.wrapping_sub(by);
    note_adjusted(flags, result, low, high || (low && al < 6));
    result
}

fn adjustment(low: bool, high: bool) -> u8 {
    (if low { 6 } else { 0 }) | if high { 0x60 } else { 0 }
}

fn note_adjusted(flags: &mut Flags, result: u8, low: bool, high: bool) {
    flags.after_logic(result);
    flags.set_some(CF | AF, (u64::from(high) * CF) | (u64::from(low) * AF));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(value: u32) -> u8 {
        (value / 10 % 10 * 16 + value % 10) as u8
    }

    #[test]
    fn packed_decimals_add_and_subtract() {
        for a in 0..100 {
            for b in 0..100 {
                let mut flags = Flags::default();
                let (x, y) = (packed(a), packed(b));
                flags.after_add(x, y, x.wrapping_add(y));
                assert_eq!(decimal_after_add(&mut flags, x.wrapping_add(y)), packed(a + b), "{a} + {b}");
                assert_eq!(flags.cf(), a + b > 99);
                flags.after_sub(x, y, x.wrapping_sub(y));
                assert_eq!(
                    decimal_after_sub(&mut flags, x.wrapping_sub(y)),
                    packed(100 + a - b),
                    "{a} - {b}"
                );
                assert_eq!(flags.cf(), a < b);
            }
        }
    }

    /// AL, CF and AF before; AL and status flags after.
    #[test]
    fn overflow_is_clear() {
        use crate::cpu::flags::{PF, SF};
        let mut flags = Flags::default();
        flags.set_status(CF);
        assert_eq!(decimal_after_add(&mut flags, 0x1a), 0x80);
        assert_eq!(flags.status(), SF | AF | CF);
        flags.set_status(CF);
        assert_eq!(decimal_after_sub(&mut flags, 0x81), 0x21);
        assert_eq!(flags.status(), PF | CF);
    }
}
