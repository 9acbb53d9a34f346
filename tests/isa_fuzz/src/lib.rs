//! Differential fuzzing of the soft engine: single instructions, in user mode, against the host's processor.
//!
//! ```text
//!  forms ─► generate ─► case ─┬─► host (a forked child) ─► record ─┐
//!                             └─► engine (its probe) ────► record ─┴─► compare ─► report
//! ```
//!
//! Only for x86-64 hosts with Linux; on others there is nothing in here.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

pub mod blocks;
mod case;
mod compare;
mod engine;
pub mod forms;
mod generate;
mod host;
mod host_cpuid;
pub mod known;
mod layout;
mod random;
mod report;
pub mod run;
pub mod sweep;
mod tolerance;

pub use host::Host;
