//! Transcendental functions (SDM vol. 1, 8.3.7 to 8.3.10).

use iced_x86::Mnemonic;

use super::arith::{combine, replace_and_push, replace_top};
use super::number::Number;
use super::stack::{begin, status};
use crate::cpu::{Core, Exec, Fpu};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Class, Env, F80, Format};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::F2xm1 => |core, insn| replace_top(core, insn, softfloat::exponential_minus_one),
        Mnemonic::Fyl2x => |core, insn| combine_and_pop(core, insn, softfloat::logarithm),
        Mnemonic::Fyl2xp1 => |core, insn| combine_and_pop(core, insn, softfloat::logarithm_plus_one),
        Mnemonic::Fpatan => |core, insn| combine_and_pop(core, insn, softfloat::arctangent),
        Mnemonic::Fsin => |core, insn| in_range(core, insn, softfloat::sine),
        Mnemonic::Fcos => |core, insn| in_range(core, insn, softfloat::cosine),
        Mnemonic::Fsincos => |core, insn| in_range_and_push(core, insn, softfloat::sine_cosine),
        Mnemonic::Fptan => |core, insn| in_range_and_push(core, insn, softfloat::tangent),
        _ => return None,
    };
    Some(handler)
}

/// ST(1) = `operation`(ST(0), ST(1)), then a pop.
#[inline(always)]
fn combine_and_pop(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(&mut Env, F80, F80) -> F80) -> Exec {
    let sources = [core.fpu.st(0), core.fpu.st(1)];
    combine(core, insn, 1, sources.map(|source| source.map(Number::of)), true, operation)
}

/// C2 tells that the operand was out of range and is unchanged.
fn in_range(core: &mut Core<'_>, insn: &Insn, operation: fn(&mut Env, F80) -> Option<F80>) -> Exec {
    begin(core)?;
    note_range(&mut core.fpu, false);
    replace_top(core, insn, |env, x| operation(env, x).unwrap_or(x))
}

fn in_range_and_push(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: fn(&mut Env, F80) -> Option<(F80, F80)>,
) -> Exec {
    begin(core)?;
    note_range(&mut core.fpu, true);
    replace_and_push(core, insn, operation)
}

/// Operands are in range below 2⁶³; a push without room is a stack fault whatever the operand.
fn note_range(fpu: &mut Fpu, pushes: bool) {
    let is_outside = fpu.st(0).is_some_and(|x| {
        let number = x.unpack();
        number.class == Class::Normal && number.exponent >= 63 && (!pushes || fpu.is_empty(7))
    });
    fpu.set_condition(status::C2, if is_outside { status::C2 } else { 0 });
}
