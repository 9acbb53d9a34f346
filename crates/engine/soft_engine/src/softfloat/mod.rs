//! Floating point with the results and flags of the processor, in integers.
//!
//! Values are bit patterns ([`F16`], [`F32`], [`F64`], [`F80`]); an operation takes the environment
//! ([`Env`]: rounding, masks, modes), gives the masked response and collects the exception flags of the
//! instruction in [`Env::raised`]. Whether an unmasked flag becomes #XM or #MF is for the instruction to say.
//!
//! ```text
//! bits → unpack → NaNs, unsupported → invalid cases → denormal operands → exact value → round → bits
//! ```
//!
//! Every operation goes this way: operands are taken apart (`format`), NaNs answered (`nan`), the exact or
//! sticky value computed (`Real`), and one function (`rounding`) makes a result and its flags of it. The host's
//! arithmetic is used only where `fast` shows that it gives the same bits and flags.

mod arithmetic;
mod compare;
mod convert;
mod env;
mod extended;
mod fast;
mod format;
mod fused;
mod integral;
mod nan;
mod real;
mod rounding;
#[cfg(test)]
mod tests;
mod x87;

use real::Real;

pub use arithmetic::{add, div, mul, sqrt, sub};
pub use compare::{Relation, compare, max, min};
pub use convert::{convert, from_i64, to_i16, to_i32, to_i64};
pub use env::{Env, Precision, Rounding, flag};
pub use extended::F80;
pub use format::{Class, F16, F32, F64, Format, Unpacked};
pub use fused::{Negate, fused_multiply_add};
pub use integral::round_to_integral;
pub use x87::{
    Extracted, Remainder, RemainderKind, arctangent, bcd_load, bcd_store, cosine, exponential_minus_one,
    extract, logarithm, logarithm_plus_one, remainder, scale, sine, sine_cosine, tangent,
};
