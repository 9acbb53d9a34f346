//! The process of one VM, and how it is started.
//!
//! ```text
//! yagura run ─────────────────────────────────────────────────────────────────────► Order ─► run ─► engine ─► vm_runtime
//! another program ─ Order ─► hand_over ── exec: descriptor of the order ──► obey ────┘
//! ```
//!
//! It is no part of programs that do more, as each VM pays for the pages and the relocations of its executable (ADR 6).

mod engine;
mod kept;
pub mod logging;
pub mod meminfo;
mod name;
mod order;
mod run;
mod say;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use messages::in_words;

pub use name::runs_already;
pub use order::{EngineChoice, Order, Translation, beside, hand_over, ordered, start};
pub use run::run;
pub use say::say;

/// Exit status where something is wrong with the host or with what was given.
pub const FAILED: u8 = 1;

/// Takes the order at `path`, where [`ordered`] found it, and runs its VM until that ends.
pub fn obey(path: &Path) -> ExitCode {
    let answer = order::receive(path).and_then(|order| {
        logging::start(order.log.parse().context("the level of the log")?)?;
        run::run(order)
    });
    match answer {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(&in_words(&*error));
            ExitCode::from(FAILED)
        }
    }
}
