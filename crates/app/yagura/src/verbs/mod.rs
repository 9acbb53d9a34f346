//! `yagura pause`, `resume`, `stop`, `reset`, `resize`, `attach`, `detach`, `info`, `list`: VMs that run, found by their names.
//!
//! ```text
//! name ─► RunFolder ─► VmClient ─► the VM's process ─► done, or a Failure ─► one line, an exit status
//! ```

pub mod arguments;
mod failure;
mod hotplug;
pub mod hotplug_arguments;
mod info;
mod list;
mod resize;
mod running;
pub mod snapshot;
mod stop;

use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;

use vm_control::Verb;
use vm_spec::VmName;

pub use failure::status_of_error;
pub use hotplug::{attach, detach};
pub use info::info;
pub use list::list;
pub use resize::resize;
pub use running::Running;
pub use stop::stop;

use failure::Failed;

/// Asks each VM for the same; the exit status.
pub fn ask(verb: Verb, names: &[VmName]) -> u8 {
    let running = Running::here();
    each(names, |name| running.client(name).ask(verb).map_err(|error| running.failed(name, &error)))
}

/// VMs that are asked at a time: each takes some descriptors, of which there may be few.
const AT_ONCE: usize = 32;

/// Does something with each VM, several at a time, and tells of failures in the order of the names; the exit status.
fn each(names: &[VmName], act: impl Fn(&VmName) -> Result<(), Failed> + Sync) -> u8 {
    let mut status = 0;
    for failed in several(names, act).filter_map(Result::err) {
        let told = failed.tell();
        status = if status == 0 { told } else { status };
    }
    status
}

/// The answers for names, in their order: for several at a time, and the next when those are taken.
fn several<'n, T: Send + 'n>(
    names: &'n [VmName],
    act: impl Fn(&VmName) -> T + Sync + 'n,
) -> impl Iterator<Item = T> + 'n {
    names.chunks(AT_ONCE).flat_map(move |names| at_once(names, &act))
}

/// The answers for a few names, in their order.
fn at_once<T: Send>(names: &[VmName], act: &(impl Fn(&VmName) -> T + Sync)) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || act(name))).collect();
        let outcomes = threads.into_iter().map(ScopedJoinHandle::join);
        outcomes.map(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Whether a VM of this name runs. It is not disturbed by the question.
pub fn runs(name: &VmName) -> bool {
    Running::here().client(name).is_listening().unwrap_or(false)
}
