//! The process of one VM, and how it is started.
//!
//! ```text
//! yagura run ─ Order ─► hand_over ── exec: descriptor of the order ──► yagura-vmm: main ─► engine ─► vm_runtime
//! ```
//!
//! `yagura-vmm` is an executable of its own, as each VM pays for the pages and the relocations of its executable
//! (ADR 6). Nobody types its name: it lies beside `yagura`, which becomes it.

mod engine;
pub mod logging;
pub mod meminfo;
mod order;
mod run;
mod say;

use std::process::ExitCode;

pub use order::{EngineChoice, Order, Translation, hand_over};
pub use say::say;

/// Exit status where something is wrong with the host or with what was given.
pub const FAILED: u8 = 1;

/// What `yagura-vmm` does: takes the order that its argument leads to, and runs the VM until it ends.
pub fn main() -> ExitCode {
    host_sys::memory::share_one_heap();
    let answer = order::receive().and_then(run::run);
    match answer {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}
