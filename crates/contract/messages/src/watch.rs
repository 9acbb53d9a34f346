//! Long work, told to whoever waits for it.

use std::fmt;
use std::ops::ControlFlow;

/// Told what is being done, for a person who waits, and asked whether he still does.
pub trait Watch {
    /// A stage begins.
    fn stage(&mut self, what: &str);
    /// So many bytes of it are done, of so many where that is known.
    fn bytes(&mut self, done: u64, all: Option<u64>);
    /// Something that a person should know, and that ends nothing.
    fn note(&mut self, what: &str);
    /// Whether nobody wants it any more. It is asked before each step, and as bytes are done.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Nobody wanted it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("it was cancelled; nothing of it is left but what was downloaded")
    }
}

impl std::error::Error for Cancelled {}

/// Begins a step of long work, unless nobody wants it any more.
///
/// # Errors
/// Nobody does.
pub fn step(watch: &mut dyn Watch, what: &str) -> Result<(), Cancelled> {
    if watch.is_cancelled() {
        return Err(Cancelled);
    }
    watch.stage(what);
    Ok(())
}

/// Told the bytes done and the bytes in all; says whether it is still wanted.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// A [`Watch`] as a [`Progress`].
pub fn progress_of(watch: &mut dyn Watch) -> impl FnMut(u64, u64) -> ControlFlow<()> + '_ {
    move |done, all| {
        watch.bytes(done, Some(all));
        if watch.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// A [`Progress`] for what nobody waits for.
pub fn unwatched(_done: u64, _all: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// For what takes a moment, and nobody waits for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn stage(&mut self, _what: &str) {}
    fn bytes(&mut self, _done: u64, _all: Option<u64>) {}
    fn note(&mut self, _what: &str) {}
}
