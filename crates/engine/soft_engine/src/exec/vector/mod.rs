//! MMX, SSE to SSE4.2, AES, PCLMULQDQ, SHA, AVX, AVX2, FMA and F16C.
//!
//! ```text
//! handler ──► access: may it run? sources (alignment) ──► lanes: a pure function of values ──► access: destination
//! ```
//!
//! A handler is a pure function on vectors, wrapped by one of `access`'s functions, which alone know where operands
//! are, how wide they are and what is checked, by the instruction's [`access::Encoding`]. Most integer operations are
//! given for 64 bits and serve all registers alike; those that cross 64 bits are given through [`lanes::Vector`], or for
//! 128 bits, each of which YMM registers treat on its own ([`lanes::Wide`]).

use super::Form;
use crate::decode::insn::Handler;

mod access;
mod aes;
mod approximate;
mod carryless;
mod compare;
mod float;
mod float_arith;
pub(super) mod float_compare;
mod float_convert;
mod fused;
mod fxsave;
mod half;
mod int_arith;
mod int_convert;
mod int_logic_shift;
mod lanes;
mod masked;
mod mmx;
mod moves;
mod moves_partial;
mod pack_shuffle;
mod permute;
mod sha;
mod string_compare;
#[cfg(test)]
mod tests;
pub(super) mod xsave;
#[cfg(test)]
mod xsave_tests;

type Family = fn(&Form<'_>) -> Option<Handler>;

const FAMILIES: &[Family] = &[
    moves::handler,
    moves_partial::handler,
    int_logic_shift::handler,
    compare::handler,
    int_arith::handler,
    pack_shuffle::handler,
    int_convert::handler,
    float_arith::handler,
    float_convert::handler,
    approximate::handler,
    float_compare::handler,
    fused::handler,
    half::handler,
    permute::handler,
    masked::handler,
    string_compare::handler,
    aes::handler,
    carryless::handler,
    sha::handler,
    mmx::handler,
    fxsave::handler,
    xsave::handler,
];

/// What executes a vector instruction.
pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    FAMILIES.iter().find_map(|family| family(form))
}
