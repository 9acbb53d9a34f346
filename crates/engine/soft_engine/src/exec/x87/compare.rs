//! Comparisons (SDM vol. 2A, FCOM, FCOMI, FICOM, FTST, FUCOM, FXAM).

use iced_x86::Mnemonic;

use super::number::{InMemory, Number};
use super::stack::{StackFault, begin, finish, status};
use crate::cpu::{Core, Exec, Fpu};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::exec::vector::float_compare::relation_flags;
use crate::softfloat::{self, Class, F32, F64, F80, Format, Relation};

/// How a comparison treats quiet NaNs and the stack.
#[derive(Clone, Copy)]
struct Manner {
    /// Quiet NaNs are not invalid.
    quiet: bool,
    /// Registers to pop.
    pops: u8,
}

const ORDERED: Manner = Manner { quiet: false, pops: 0 };
const UNORDERED: Manner = Manner { quiet: true, pops: 0 };

impl Manner {
    const fn popping(self, pops: u8) -> Manner {
        Manner { pops, ..self }
    }
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Fcom => match form.size {
            4 => |core, insn| with_memory::<F32>(core, insn, ORDERED),
            8 => |core, insn| with_memory::<F64>(core, insn, ORDERED),
            _ => |core, insn| with_register(core, insn, ORDERED),
        },
        Mnemonic::Fcomp => match form.size {
            4 => |core, insn| with_memory::<F32>(core, insn, ORDERED.popping(1)),
            8 => |core, insn| with_memory::<F64>(core, insn, ORDERED.popping(1)),
            _ => |core, insn| with_register(core, insn, ORDERED.popping(1)),
        },
        Mnemonic::Ficom => match form.size {
            2 => |core, insn| with_memory::<i16>(core, insn, ORDERED),
            _ => |core, insn| with_memory::<i32>(core, insn, ORDERED),
        },
        Mnemonic::Ficomp => match form.size {
            2 => |core, insn| with_memory::<i16>(core, insn, ORDERED.popping(1)),
            _ => |core, insn| with_memory::<i32>(core, insn, ORDERED.popping(1)),
        },
        Mnemonic::Fucom => |core, insn| with_register(core, insn, UNORDERED),
        Mnemonic::Fucomp => |core, insn| with_register(core, insn, UNORDERED.popping(1)),
        Mnemonic::Fcompp => |core, insn| with_next(core, insn, ORDERED.popping(2)),
        Mnemonic::Fucompp => |core, insn| with_next(core, insn, UNORDERED.popping(2)),
        Mnemonic::Fcomi => |core, insn| to_flags(core, insn, ORDERED),
        Mnemonic::Fcomip => |core, insn| to_flags(core, insn, ORDERED.popping(1)),
        Mnemonic::Fucomi => |core, insn| to_flags(core, insn, UNORDERED),
        Mnemonic::Fucomip => |core, insn| to_flags(core, insn, UNORDERED.popping(1)),
        Mnemonic::Ftst => with_zero,
        Mnemonic::Fxam => examine,
        _ => return None,
    };
    Some(handler)
}

fn with_memory<M: InMemory>(core: &mut Core<'_>, insn: &Insn, manner: Manner) -> Exec {
    begin(core)?;
    let source = M::load(core, insn)?;
    to_codes(core, insn, Some(source), manner)
}

fn with_register(core: &mut Core<'_>, insn: &Insn, manner: Manner) -> Exec {
    begin(core)?;
    let source = core.fpu.st(insn.ops[1].register).map(Number::of);
    to_codes(core, insn, source, manner)
}

fn with_next(core: &mut Core<'_>, insn: &Insn, manner: Manner) -> Exec {
    begin(core)?;
    let source = core.fpu.st(1).map(Number::of);
    to_codes(core, insn, source, manner)
}

fn with_zero(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    to_codes(core, insn, Some(Number::of(F80::zero(false))), ORDERED)
}

/// The relation goes to C3, C2, C0.
fn to_codes(core: &mut Core<'_>, insn: &Insn, source: Option<Number>, manner: Manner) -> Exec {
    let codes = match compare(&mut core.fpu, source, manner) {
        Relation::Greater => 0,
        Relation::Less => status::C0,
        Relation::Equal => status::C3,
        Relation::Unordered => status::C0 | status::C2 | status::C3,
    };
    core.fpu.set_condition(status::C0 | status::C2 | status::C3, codes);
    finish(core, insn)
}

/// The relation goes to ZF, PF, CF. C1 is clear, whatever happens.
fn to_flags(core: &mut Core<'_>, insn: &Insn, manner: Manner) -> Exec {
    begin(core)?;
    let source = core.fpu.st(insn.ops[1].register).map(Number::of);
    let relation = compare(&mut core.fpu, source, manner);
    core.flags.set_status(relation_flags(relation));
    finish(core, insn)
}

/// ST(0) in relation to `source`, told even if an unmasked exception prevents the pops.
fn compare(fpu: &mut Fpu, source: Option<Number>, manner: Manner) -> Relation {
    let (relation, completes) = if let (Some(a), Some(b)) = (fpu.st(0), source) {
        let mut env = fpu.environment();
        let relation = softfloat::compare(&mut env, a, b.value, manner.quiet);
        b.note_denormal(&mut env, a);
        (relation, fpu.report(&env))
    } else {
        (Relation::Unordered, fpu.stack_fault(StackFault::Underflow).is_some())
    };
    for _ in 0..if completes { manner.pops } else { 0 } {
        fpu.pop();
    }
    relation
}

/// SDM vol. 2A, FXAM: sign to C1, class to C3, C2, C0.
fn examine(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    let negative = fpu.registers[fpu.physical(0)].sign_exponent & 0x8000 != 0;
    let class = match fpu.st(0).map(|x| x.unpack().class) {
        None => status::C3 | status::C0,
        Some(Class::Unsupported) => 0,
        Some(Class::QuietNan | Class::SignalingNan) => status::C0,
        Some(Class::Normal) => status::C2,
        Some(Class::Infinity) => status::C2 | status::C0,
        Some(Class::Zero) => status::C3,
        Some(Class::Denormal) => status::C3 | status::C2,
    };
    let sign = if negative { status::C1 } else { 0 };
    fpu.set_condition(status::C0 | status::C1 | status::C2 | status::C3, class | sign);
    finish(core, insn)
}
