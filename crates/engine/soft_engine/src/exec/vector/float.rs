//! What floating-point instructions of SSE have in common: elements of vectors, the environment of an instruction, and
//! exceptions (SDM vol. 1, 11.5).

use super::access::{self, Encoding};
use super::lanes::{Wide, Xmm, half, join_halves};
use crate::cpu::mode::cr4;
use crate::cpu::{Core, Exception, Exec, vector};
use crate::decode::insn::Insn;
use crate::softfloat::{Env, F32, F64, Format};

/// A floating-point element of a vector.
pub trait Element: Format {
    /// Elements in 128 bits.
    const COUNT: usize;
    /// Element `index`.
    fn get(value: &Xmm, index: usize) -> Self;
    /// Replaces element `index`.
    fn set(value: &mut Xmm, index: usize, element: Self);
    /// An element whose bits are all ones or all zeros.
    fn mask(condition: bool) -> Self;
    /// Operand `index` of a scalar instruction: the lowest element of a register, or memory.
    fn source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<Self>;
}

impl Element for F32 {
    const COUNT: usize = 4;

    #[inline(always)]
    fn get(value: &Xmm, index: usize) -> Self {
        F32(half(value[index >> 1 & 1], index & 1 != 0))
    }

    #[inline(always)]
    fn set(value: &mut Xmm, index: usize, element: Self) {
        let piece = &mut value[index >> 1 & 1];
        *piece = if index & 1 == 0 {
            join_halves(element.0, half(*piece, true))
        } else {
            join_halves(half(*piece, false), element.0)
        };
    }

    #[inline(always)]
    fn mask(condition: bool) -> Self {
        F32(if condition { !0 } else { 0 })
    }

    #[inline(always)]
    fn source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<Self> {
        Ok(F32(access::lowest_source(core, insn, index)?))
    }
}

impl Element for F64 {
    const COUNT: usize = 2;

    #[inline(always)]
    fn get(value: &Xmm, index: usize) -> Self {
        F64(value[index & 1])
    }

    #[inline(always)]
    fn set(value: &mut Xmm, index: usize, element: Self) {
        value[index & 1] = element.0;
    }

    #[inline(always)]
    fn mask(condition: bool) -> Self {
        F64(if condition { !0 } else { 0 })
    }

    #[inline(always)]
    fn source(core: &mut Core<'_>, insn: &Insn, index: usize) -> Exec<Self> {
        Ok(F64(access::low_source(core, insn, index)?))
    }
}

/// A vector of what `element` gives for each index.
#[inline(always)]
pub fn from_elements<F: Element>(mut element: impl FnMut(usize) -> F) -> Xmm {
    let mut value = [0; 2];
    for index in 0..F::COUNT {
        F::set(&mut value, index, element(index));
    }
    value
}

/// The environment that MXCSR describes now.
#[inline(always)]
pub fn environment(core: &Core<'_>) -> Env {
    Env::from_mxcsr(core.mxcsr)
}

/// Sets the flags of the instruction in MXCSR; raises #XM, or #UD where the system does not expect it, if an unmasked
/// one is among them. Call it before anything is written.
#[inline(always)]
pub fn settle(core: &mut Core<'_>, env: &Env) -> Exec {
    let reported = env.reported();
    core.mxcsr |= u32::from(reported);
    if reported & env.unmasked == 0 { Ok(()) } else { refuse(core) }
}

/// destination = operation(first source, second source) on each 128 bits, in one environment.
#[inline(always)]
pub fn packed<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, Xmm, Xmm) -> Xmm,
) -> Exec {
    E::check(core)?;
    let second = E::source(core, insn, E::SECOND)?;
    let first = E::get(core, insn.ops[E::FIRST].register);
    finish::<E>(core, insn, |env| {
        E::V::from_lanes(|index| operation(env, first.lane(index), second.lane(index)))
    })
}

/// destination = operation(source) on each 128 bits, in one environment.
#[inline(always)]
pub fn packed_unary<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, Xmm) -> Xmm,
) -> Exec {
    E::check(core)?;
    let source = E::source(core, insn, 1)?;
    finish::<E>(core, insn, |env| E::V::from_lanes(|index| operation(env, source.lane(index))))
}

/// Sets the destination, if the exceptions of `operation` do not prevent it.
#[inline(always)]
pub fn finish<E: Encoding>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl FnOnce(&mut Env) -> E::V,
) -> Exec {
    let mut env = environment(core);
    let value = operation(&mut env);
    settle(core, &env)?;
    E::set(core, insn.ops[0].register, value);
    Ok(())
}

/// The lowest element of destination = operation(first source's, second source); the others are the first source's.
#[inline(always)]
pub fn scalar<E: Encoding<V = Xmm>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl FnOnce(&mut Env, F, F) -> F,
) -> Exec {
    E::check(core)?;
    let second = F::source(core, insn, E::SECOND)?;
    finish_scalar::<E, F>(core, insn, |env, first| operation(env, F::get(&first, 0), second))
}

/// As [`scalar`], for a source that is there already; `operation` is told the first one.
#[inline(always)]
pub fn finish_scalar<E: Encoding<V = Xmm>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl FnOnce(&mut Env, Xmm) -> F,
) -> Exec {
    let mut value = E::get(core, insn.ops[E::FIRST].register);
    finish::<E>(core, insn, |env| {
        let result = operation(env, value);
        F::set(&mut value, 0, result);
        value
    })
}

#[cold]
#[inline(never)]
fn refuse(core: &mut Core<'_>) -> Exec {
    if core.cr4 & cr4::OSXMMEXCPT == 0 {
        return core.undefined();
    }
    core.raise(Exception::plain(vector::XM))
}
