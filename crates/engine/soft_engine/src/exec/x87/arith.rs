//! Arithmetic (SDM vol. 2A, FADD and following).

use iced_x86::Mnemonic;

use super::number::{InMemory, Number};
use super::stack::{StackFault, begin, finish, status};
use crate::cpu::{Core, Exec, Fpu};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, F80, Format, Remainder, RemainderKind};

/// The handler of one operation for all its sources: `operation(env, destination, source)`.
macro_rules! operation {
    ($form:expr, $operation:expr) => {{
        let handler: Handler = match ($form.insn.op0_register(), $form.size) {
            (iced_x86::Register::None, 4) => |core, insn| with_memory::<F32>(core, insn, $operation),
            (iced_x86::Register::None, _) => |core, insn| with_memory::<F64>(core, insn, $operation),
            _ => |core, insn| with_register(core, insn, false, $operation),
        };
        Some(handler)
    }};
}

/// As [`operation`], for integers in memory.
macro_rules! integer_operation {
    ($form:expr, $operation:expr) => {{
        let handler: Handler = match $form.size {
            2 => |core, insn| with_memory::<i16>(core, insn, $operation),
            _ => |core, insn| with_memory::<i32>(core, insn, $operation),
        };
        Some(handler)
    }};
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Fadd => operation!(form, softfloat::add),
        Mnemonic::Fmul => operation!(form, softfloat::mul),
        Mnemonic::Fsub => operation!(form, softfloat::sub),
        Mnemonic::Fsubr => operation!(form, |env, a, b| softfloat::sub(env, b, a)),
        Mnemonic::Fdiv => operation!(form, softfloat::div),
        Mnemonic::Fdivr => operation!(form, |env, a, b| softfloat::div(env, b, a)),
        Mnemonic::Fiadd => integer_operation!(form, softfloat::add),
        Mnemonic::Fimul => integer_operation!(form, softfloat::mul),
        Mnemonic::Fisub => integer_operation!(form, softfloat::sub),
        Mnemonic::Fisubr => integer_operation!(form, |env, a, b| softfloat::sub(env, b, a)),
        Mnemonic::Fidiv => integer_operation!(form, softfloat::div),
        Mnemonic::Fidivr => integer_operation!(form, |env, a, b| softfloat::div(env, b, a)),
        Mnemonic::Faddp => Some(|core, insn| with_register(core, insn, true, softfloat::add)),
        Mnemonic::Fmulp => Some(|core, insn| with_register(core, insn, true, softfloat::mul)),
        Mnemonic::Fsubp => Some(|core, insn| with_register(core, insn, true, softfloat::sub)),
        Mnemonic::Fsubrp => {
            Some(|core, insn| with_register(core, insn, true, |env, a, b| softfloat::sub(env, b, a)))
        }
        Mnemonic::Fdivp => Some(|core, insn| with_register(core, insn, true, softfloat::div)),
        Mnemonic::Fdivrp => {
            Some(|core, insn| with_register(core, insn, true, |env, a, b| softfloat::div(env, b, a)))
        }
        _ => on_top(form),
    }
}

/// Instructions on ST(0), some with ST(1) as a second operand.
fn on_top(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Fchs => |core, insn| change_sign(core, insn, |sign_exponent| sign_exponent ^ 0x8000),
        Mnemonic::Fabs => |core, insn| change_sign(core, insn, |sign_exponent| sign_exponent & 0x7fff),
        Mnemonic::Fsqrt => |core, insn| replace_top(core, insn, softfloat::sqrt),
        Mnemonic::Frndint => |core, insn| {
            replace_top(core, insn, |env, x| softfloat::round_to_integral(env, x, env.rounding, false))
        },
        Mnemonic::Fscale => |core, insn| {
            let sources = [core.fpu.st(0), core.fpu.st(1)];
            combine(core, insn, 0, sources.map(|source| source.map(Number::of)), false, softfloat::scale)
        },
        Mnemonic::Fprem => |core, insn| take_remainder(core, insn, RemainderKind::Truncated),
        Mnemonic::Fprem1 => |core, insn| take_remainder(core, insn, RemainderKind::Nearest),
        Mnemonic::Fxtract => extract,
        _ => return None,
    };
    Some(handler)
}

/// ST(0) and a number in memory.
#[inline(always)]
fn with_memory<M: InMemory>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, F80, F80) -> F80,
) -> Exec {
    begin(core)?;
    let source = M::load(core, insn)?;
    let sources = [core.fpu.st(0).map(Number::of), Some(source)];
    combine(core, insn, 0, sources, false, operation)
}

/// Two registers; the first one is the destination.
#[inline(always)]
fn with_register(
    core: &mut Core<'_>,
    insn: &Insn,
    pops: bool,
    operation: impl Fn(&mut Env, F80, F80) -> F80,
) -> Exec {
    let [destination, source] = [insn.ops[0].register, insn.ops[1].register];
    let sources = [core.fpu.st(destination), core.fpu.st(source)];
    combine(core, insn, destination, sources.map(|source| source.map(Number::of)), pops, operation)
}

/// Sets register `destination` to the result of `operation`, unless an unmasked exception prevents it.
#[inline(always)]
pub(super) fn combine(
    core: &mut Core<'_>,
    insn: &Insn,
    destination: u8,
    sources: [Option<Number>; 2],
    pops: bool,
    operation: impl Fn(&mut Env, F80, F80) -> F80,
) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    let result = if let [Some(a), Some(b)] = sources {
        let mut env = fpu.environment();
        let value = operation(&mut env, a.value, b.value);
        b.note_denormal(&mut env, a.value);
        fpu.report(&env).then_some(value)
    } else {
        fpu.stack_fault(StackFault::Underflow)
    };
    if let Some(value) = result {
        fpu.set_st(destination, value);
        if pops {
            fpu.pop();
        }
    }
    finish(core, insn)
}

/// Replaces ST(0) by what `operation` makes of it.
#[inline(always)]
pub(super) fn replace_top(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, F80) -> F80,
) -> Exec {
    let top = core.fpu.st(0).map(Number::of);
    combine(core, insn, 0, [top, top], false, |env, x, _| operation(env, x))
}

/// No NaN and no denormal makes a difference to these.
fn change_sign(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(u16) -> u16) -> Exec {
    replace_top(core, insn, |_, x| F80 { sign_exponent: operation(x.sign_exponent), ..x })
}

/// SDM vol. 2A, FPREM: the quotient's low bits go to C0, C3, C1. Where there is no quotient, C0 and C3 stay.
fn take_remainder(core: &mut Core<'_>, insn: &Insn, kind: RemainderKind) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    fpu.set_condition(status::C2, 0);
    let result = if let (Some(a), Some(b)) = (fpu.st(0), fpu.st(1)) {
        let mut env = fpu.environment();
        let remainder = softfloat::remainder(&mut env, kind, a, b);
        let delivered = fpu.report(&env);
        if delivered && !remainder.value.unpack().is_nan() {
            note_quotient(fpu, &remainder);
        }
        delivered.then_some(remainder.value)
    } else {
        fpu.stack_fault(StackFault::Underflow)
    };
    if let Some(value) = result {
        fpu.set_st(0, value);
    }
    finish(core, insn)
}

fn note_quotient(fpu: &mut Fpu, remainder: &Remainder) {
    let bit = |from: u8, code: u16| if remainder.quotient >> from & 1 != 0 { code } else { 0 };
    let codes = bit(2, status::C0) | bit(1, status::C3) | bit(0, status::C1);
    let incomplete = if remainder.incomplete { status::C2 } else { 0 };
    fpu.set_condition(status::C0 | status::C1 | status::C2 | status::C3, codes | incomplete);
}

fn extract(core: &mut Core<'_>, insn: &Insn) -> Exec {
    replace_and_push(core, insn, |env, x| {
        let parts = softfloat::extract(env, x);
        Some((parts.exponent, parts.significand))
    })
}

/// Replaces ST(0) by the first part of the result and pushes the second; leaves it alone if there is none, which C2
/// tells (of those instructions that have a range).
#[inline(always)]
pub(super) fn replace_and_push(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, F80) -> Option<(F80, F80)>,
) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    let result = match fpu.st(0) {
        Some(x) if fpu.is_empty(7) => {
            let mut env = fpu.environment();
            let parts = operation(&mut env, x);
            let delivered = fpu.report(&env);
            parts.filter(|_| delivered)
        }
        top => {
            let fault = if top.is_none() { StackFault::Underflow } else { StackFault::Overflow };
            fpu.stack_fault(fault).map(|default| (default, default))
        }
    };
    if let Some((replaced, pushed)) = result {
        fpu.set_st(0, replaced);
        fpu.push(pushed);
    }
    finish(core, insn)
}
