//! The host processor's floating point, for comparison with the soft engine's.
//!
//! [`sse`] and [`x87`] execute one instruction with a given MXCSR or control word and tell its result and flags;
//! [`cases`] makes operands: all pairs of boundary values, and random ones that are often near each other.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

pub mod cases;
pub mod sse;
pub mod x87;
