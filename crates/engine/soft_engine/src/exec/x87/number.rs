//! Numbers in memory as operands (SDM vol. 1, 4.2 and 8.3).

use crate::cpu::{Core, Exec};
use crate::decode::insn::Insn;
use crate::softfloat::{self, Class, Env, F32, F64, F80, Format, flag};

/// A number from memory, as wide as a register. Signaling NaNs are still such.
#[derive(Clone, Copy)]
pub struct Number {
    /// The value.
    pub value: F80,
    /// It was a denormal in the format in memory.
    pub denormal: bool,
}

impl Number {
    /// A register's value.
    pub fn of(value: F80) -> Number {
        Number { value, denormal: false }
    }

    /// Raises DE in `env`, after an operation on this and `other`, where it could not see that this was denormal.
    pub fn note_denormal(self, env: &mut Env, other: F80) {
        let other = other.unpack().class;
        let is_number = !matches!(other, Class::QuietNan | Class::SignalingNan | Class::Unsupported);
        if self.denormal && is_number && env.raised & (flag::INVALID | flag::DIVIDE_BY_ZERO) == 0 {
            env.raised |= flag::DENORMAL;
        }
    }
}

/// A format of numbers in memory.
pub trait InMemory {
    /// Whether loading is a conversion.
    const CONVERTED: bool = true;

    /// Loads the memory operand.
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Number>;
}

impl InMemory for F32 {
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Number> {
        Ok(widen(F32(core.read(insn, 0)?)))
    }
}

impl InMemory for F64 {
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Number> {
        Ok(widen(F64(core.read(insn, 0)?)))
    }
}

impl InMemory for i16 {
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Number> {
        Ok(integer((core.read::<u16>(insn, 0)? as i16).into()))
    }
}

impl InMemory for i32 {
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Number> {
        Ok(integer((core.read::<u32>(insn, 0)? as i32).into()))
    }
}

impl InMemory for i64 {
    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Number> {
        Ok(integer(core.read::<u64>(insn, 0)? as i64))
    }
}

impl InMemory for F80 {
    const CONVERTED: bool = false;

    fn load(core: &mut Core<'_>, insn: &Insn) -> Exec<Number> {
        Ok(Number::of(F80::from_bytes(load_ten(core, insn)?)))
    }
}

/// Loads ten bytes.
pub fn load_ten(core: &mut Core<'_>, insn: &Insn) -> Exec<[u8; 10]> {
    let offset = core.effective_address(insn);
    core.check_wide_alignment(insn.segment, offset, 8)?;
    core.load_bytes(insn.segment.into(), offset)
}

/// Stores ten bytes.
pub fn store_ten(core: &mut Core<'_>, insn: &Insn, bytes: [u8; 10]) -> Exec {
    let offset = core.effective_address(insn);
    core.check_wide_alignment(insn.segment, offset, 8)?;
    core.store_slice(insn.segment.into(), offset, &bytes)
}

fn integer(value: i64) -> Number {
    Number::of(softfloat::from_i64(&mut Env::DEFAULT.clone(), value))
}

/// The exact value: every number of the narrower formats is a normal one of x87's.
fn widen<F: Format>(number: F) -> Number {
    let unpacked = number.unpack();
    let value = match unpacked.class {
        Class::Zero => F80::zero(unpacked.sign),
        Class::Infinity => F80::infinity(unpacked.sign),
        Class::QuietNan | Class::SignalingNan | Class::Unsupported => {
            F80::assemble(unpacked.sign, F80::BIASED_EXPONENT_TOP, unpacked.significand)
        }
        Class::Normal | Class::Denormal => {
            F80::assemble(unpacked.sign, (unpacked.exponent + F80::EXPONENT_MAX) as u32, unpacked.significand)
        }
    };
    Number { value, denormal: unpacked.class == Class::Denormal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_keeps_signaling_nans_and_notes_denormals() {
        let nan = widen(F32(0xff80_0001)).value;
        assert_eq!(nan, F80 { sign_exponent: 0xffff, significand: 0x8000_0100_0000_0000 });
        let smallest = widen(F64(1));
        assert!(smallest.denormal);
        assert_eq!(smallest.value, F80 { sign_exponent: 16383 - 1074, significand: 1 << 63 });
        assert_eq!(widen(F32(0x3f80_0000)).value, F80::ONE);
    }
}
