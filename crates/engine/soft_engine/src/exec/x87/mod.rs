//! The x87 unit (SDM vol. 1, ch. 8).
//!
//! ```text
//! begin: #NM, #MF ──► operands (empty: stack underflow) ──► softfloat ──► report: flags, C1
//!                                                                            │ not stopped by an unmasked exception
//!                                                             finish ◄──── result, pop
//! ```
//!
//! An unmasked exception is noted in the status word and raised as #MF by the next instruction that waits; whatever
//! CR0.NE says, because nothing is connected to FERR#.

use super::Form;
use crate::decode::insn::Handler;

mod arith;
mod compare;
mod control;
mod environment;
mod load;
mod number;
mod stack;
mod store;
#[cfg(test)]
mod tests;
mod transcendental;

type Family = fn(&Form<'_>) -> Option<Handler>;

const FAMILIES: &[Family] = &[
    load::handler,
    store::handler,
    arith::handler,
    compare::handler,
    control::handler,
    environment::handler,
    transcendental::handler,
];

/// What executes an x87 instruction.
pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    FAMILIES.iter().find_map(|family| family(form))
}
