//! What every engine has to do alike: cases of system semantics, each a little guest with the outcome that the manual
//! gives, and the means to run them on any [`Engine`](vcpu_model::Engine).
//!
//! ```text
//! cases (tables) ─► Guest (registers, RAM image) ─► run (a VM of its own) ─► Outcome ─► Expect::differences
//! ```
//!
//! A guest ends by an event: every vector leads to a stub that writes to the debug port. The stub's address is the
//! vector; the frame below it is the error code and the place; CR2, registers and memory are read from the vCPU and
//! from RAM. Code that comes to its end executes INT [`layout::DONE`].
//!
//! May depend on `contract` crates only; the tests name engines.

pub mod cases;
pub mod features;
pub mod guest;
pub mod known;
pub mod layout;
pub mod litmus;
pub mod modes;
pub mod outcome;
pub mod round_trip;
pub mod run;
pub mod smp;
pub mod suite;
pub mod tables;
