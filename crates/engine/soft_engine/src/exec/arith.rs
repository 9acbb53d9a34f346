//! Integer addition and subtraction.

use iced_x86::Mnemonic;

use super::{Form, by_size};
use crate::cpu::flags::{CF, OF};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Add => by_size!(form, add),
        Mnemonic::Adc => by_size!(form, adc),
        Mnemonic::Sub => by_size!(form, sub),
        Mnemonic::Sbb => by_size!(form, sbb),
        Mnemonic::Cmp => by_size!(form, cmp),
        Mnemonic::Inc => by_size!(form, inc),
        Mnemonic::Dec => by_size!(form, dec),
        Mnemonic::Neg => by_size!(form, neg),
        Mnemonic::Adcx => by_size!(form, adcx),
        Mnemonic::Adox => by_size!(form, adox),
        _ => None,
    }
}

/// SDM vol. 2A, ADD.
fn add<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = core.update(insn, 0, |a: T| a.add(b))?;
    core.flags.after_add(a, b, a.add(b));
    Ok(())
}

/// SDM vol. 2A, ADC.
fn adc<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let carry = T::from_u64(core.flags.cf().into());
    let b: T = core.read(insn, 1)?;
    let a: T = core.update(insn, 0, |a: T| a.add(b).add(carry))?;
    core.flags.after_add(a, b, a.add(b).add(carry));
    Ok(())
}

/// SDM vol. 2B, SUB.
fn sub<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = core.update(insn, 0, |a: T| a.sub(b))?;
    core.flags.after_sub(a, b, a.sub(b));
    Ok(())
}

/// SDM vol. 2B, SBB.
fn sbb<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let borrow = T::from_u64(core.flags.cf().into());
    let b: T = core.read(insn, 1)?;
    let a: T = core.update(insn, 0, |a: T| a.sub(b).sub(borrow))?;
    core.flags.after_sub(a, b, a.sub(b).sub(borrow));
    Ok(())
}

/// SDM vol. 2A, CMP.
fn cmp<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let a: T = core.read(insn, 0)?;
    let b: T = core.read(insn, 1)?;
    core.flags.after_sub(a, b, a.sub(b));
    Ok(())
}

/// SDM vol. 2A, INC.
fn inc<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let one = T::from_u64(1);
    let old: T = core.update(insn, 0, |old: T| old.add(one))?;
    let result = old.add(one);
    core.flags.after_step(old, result, result == lowest());
    Ok(())
}

/// SDM vol. 2A, DEC.
fn dec<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let one = T::from_u64(1);
    let old: T = core.update(insn, 0, |old: T| old.sub(one))?;
    core.flags.after_step(old, old.sub(one), old == lowest());
    Ok(())
}

/// The lowest signed integer of the size.
fn lowest<T: Word>() -> T {
    T::from_u64(1 << (T::BITS - 1))
}

/// SDM vol. 2B, NEG.
fn neg<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let zero = T::from_u64(0);
    let old: T = core.update(insn, 0, |old: T| zero.sub(old))?;
    core.flags.after_sub(zero, old, zero.sub(old));
    Ok(())
}

/// SDM vol. 2A, ADCX.
fn adcx<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let carry = core.flags.cf();
    add_with(core, insn, carry, CF, T::from_u64)
}

/// SDM vol. 2A, ADOX.
fn adox<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let carry = core.flags.of();
    add_with(core, insn, carry, OF, T::from_u64)
}

/// Adds with a carry that comes from, and goes to, one flag; the others stay.
fn add_with<T: Word>(core: &mut Core<'_>, insn: &Insn, carry: bool, flag: u64, word: fn(u64) -> T) -> Exec {
    let b: T = core.read(insn, 1)?;
    let a: T = core.read(insn, 0)?;
    let sum = u128::from(a.to_u64()) + u128::from(b.to_u64()) + u128::from(carry);
    core.write(insn, 0, word(sum as u64))?;
    core.flags.set_some(flag, if sum >> T::BITS != 0 { flag } else { 0 });
    Ok(())
}
