//! Litmus tests: small races of two to four vCPUs on a few words of memory, and outcomes that x86's order of memory
//! accesses (SDM vol. 3, 9.2) allows or forbids.
//!
//! ```text
//! SHAPES (what each vCPU does) × FENCES ─► code ─► SmpGuest: batches of races ─► how often the outcome was seen
//! ```
//!
//! Each race of a batch has words of its own, so that the vCPUs run through a batch without waiting for each other; the
//! first counts in the guest how many came out in the way that the test is about.

mod code;
mod fences;
mod shapes;

use std::time::Duration;

use arch_model::x86_64::CpuModel;
use guest_memory::{Bytes, GuestAddress};
use vcpu_model::Engine;

pub use fences::{FENCES, Fence, NO_FENCE, Strength};
pub use shapes::{SHAPES, Shape, Step, Term};

/// How many races came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Races.
    pub races: u64,
    /// Those with the outcome that the shape is about.
    pub seen: u64,
}

/// Lets `shape` race `races` times with `fence` in its places, or as often as `time` lasts.
///
/// # Errors
/// What the engine could not do, or that the guest did not get on at all.
pub fn run(
    engine: &impl Engine,
    shape: &Shape,
    fence: &Fence,
    races: u64,
    time: Duration,
) -> Result<Tally, String> {
    let batches = races.div_ceil(code::BATCH).max(1);
    let model = fence.needs_v3.then_some(CpuModel::V3);
    let ended = code::guest(shape, fence, batches as u32).run(engine, model, time)?;
    let word = |at| ended.memory.slots().read_obj::<u64>(GuestAddress(at)).map_err(|error| error.to_string());
    let tally = Tally { races: word(code::DONE_BATCHES)? * code::BATCH, seen: word(code::SEEN)? };
    if tally.races == 0 || ended.in_time && tally.races != batches * code::BATCH {
        return Err(format!("{} with {}: {tally:?} of {batches} batches", shape.name, fence.name));
    }
    Ok(tally)
}
