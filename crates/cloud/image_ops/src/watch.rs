//! How far an action is, in the words of those who do its parts.

use std::ops::ControlFlow;

use messages::{Watch, step};

/// Told while another process is at the same thing.
pub(crate) const WAITING: &str = "another process is at this; waiting for it";

/// A [`Watch`] as a builder wants to be told of stages.
pub(crate) fn stages_of(watch: &mut dyn Watch) -> impl FnMut(&str) -> ControlFlow<()> + '_ {
    move |what| if step(watch, what).is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// A [`Watch`] as those want to be told of bytes who come to their end in any case.
pub(crate) fn bytes_of(watch: &mut dyn Watch) -> impl FnMut(u64, u64) + '_ {
    move |done, all| watch.bytes(done, Some(all))
}
