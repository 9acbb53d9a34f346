//! Races of two to four vCPUs, and outcomes that x86's memory order forbids, on the interpreter and the translator.
//!
//! What is allowed has to be seen for the tests to be worth anything, which takes two processors that are free at the same
//! time: it is told, not asserted. The ordinary tests race a few thousand times, the ignored ones ten million times or as
//! long as [`LONG`] lasts.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::time::Duration;

use engine_suite::litmus::{FENCES, Fence, NO_FENCE, SHAPES, Shape, run};
use soft_engine::SoftEngine;

/// Races of an ordinary test, and of a slow fence.
const FEW: u64 = 2 * 2048;
const FEWEST: u64 = 2048;
/// How long an ordinary one and a slow fence are waited for: the vCPUs may have to take turns on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);
/// Races of a long test, and how long one combination may take.
const MANY: u64 = 10_000_000;
const LONG: Duration = Duration::from_millis(2_000);

/// Fences that all shapes are run with; SB and R, where a store comes before a load, are run with all.
const COMMON: &[&str] = &["mfence", "lock add", "xchg dword", "cpuid"];

fn engines() -> [(&'static str, SoftEngine); 2] {
    [("translator", SoftEngine::eager()), ("interpreter", SoftEngine::interpreter())]
}

/// Races, and says what came of it. `Err`: something that is forbidden was seen, or the guest did not run.
fn check(
    engine: &(&str, SoftEngine),
    shape: &Shape,
    fence: &Fence,
    races: u64,
    time: Duration,
) -> Result<(), String> {
    let (tier, engine) = engine;
    if (0..shape.threads.len()).any(|vcpu| fence.code_on(vcpu).is_none()) {
        return Ok(());
    }
    // A slow one stops the other vCPUs each time, and a busy host may keep those waiting.
    let (races, time) = if fence.is_slow { ((races / 100).max(FEWEST), PATIENCE) } else { (races, time) };
    let tally = run(engine, shape, fence, races, time)?;
    let is_allowed = fence.strength < shape.forbidden_by;
    let verdict = if is_allowed { "allowed" } else { "forbidden" };
    println!("{tier} {} {}: seen {} of {}, {verdict}", shape.name, fence.name, tally.seen, tally.races);
    if is_allowed || tally.seen == 0 {
        return Ok(());
    }
    Err(format!("{tier}: {} with {} {} of {} times", shape.name, fence.name, tally.seen, tally.races))
}

fn check_all<'a>(
    engine: &(&str, SoftEngine),
    combinations: impl Iterator<Item = (&'a Shape, &'a Fence)>,
    races: u64,
    time: Duration,
) {
    let failures: Vec<String> =
        combinations.filter_map(|(shape, fence)| check(engine, shape, fence, races, time).err()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

fn shape(name: &str) -> &'static Shape {
    SHAPES.iter().find(|shape| shape.name == name).unwrap()
}

/// `names` with nothing and every fence.
fn with_all_fences(names: &'static [&'static str]) -> impl Iterator<Item = (&'static Shape, &'static Fence)> {
    let fences = || std::iter::once(&NO_FENCE).chain(FENCES);
    names.iter().flat_map(move |name| fences().map(|fence| (shape(name), fence)))
}

/// Shapes of ordinary stores, or of non-temporal ones, with nothing and the common fences; the others with SFENCE, too.
fn all_shapes(non_temporal: bool) -> impl Iterator<Item = (&'static Shape, &'static Fence)> {
    let is_wanted = move |name| COMMON.contains(&name) || non_temporal && name == "sfence";
    let fences = move || FENCES.iter().filter(move |fence| is_wanted(fence.name));
    let shapes = SHAPES.iter().filter(move |shape| shape.is_non_temporal() == non_temporal);
    shapes.flat_map(move |shape| std::iter::once(&NO_FENCE).chain(fences()).map(move |fence| (shape, fence)))
}

#[test]
fn a_few_races_of_all_shapes() {
    for engine in engines() {
        check_all(&engine, all_shapes(false).chain(all_shapes(true)), FEW, PATIENCE);
    }
}

#[test]
fn a_few_races_with_every_fence() {
    for engine in engines() {
        check_all(&engine, with_all_fences(&["SB", "MP by MOVNTI"]), FEW, PATIENCE);
    }
}

#[test]
#[ignore = "two minutes of races"]
fn many_races_of_all_shapes_translated() {
    check_all(&engines()[0], all_shapes(false), MANY, LONG);
}

#[test]
#[ignore = "two minutes of races"]
fn many_races_of_all_shapes_interpreted() {
    check_all(&engines()[1], all_shapes(false), MANY, LONG);
}

#[test]
#[ignore = "two minutes of races"]
fn many_races_with_every_fence_translated() {
    check_all(&engines()[0], with_all_fences(&["SB"]), MANY, LONG);
}

#[test]
#[ignore = "two minutes of races"]
fn many_races_with_every_fence_interpreted() {
    check_all(&engines()[1], with_all_fences(&["SB"]), MANY, LONG);
}

#[test]
#[ignore = "a minute of races"]
fn many_races_of_non_temporal_stores_translated() {
    check_all(&engines()[0], all_shapes(true), MANY, LONG);
}

#[test]
#[ignore = "a minute of races"]
fn many_races_of_non_temporal_stores_interpreted() {
    check_all(&engines()[1], all_shapes(true), MANY, LONG);
}

#[test]
#[ignore = "two minutes of races"]
fn many_non_temporal_stores_that_race_with_every_fence() {
    check_all(&engines()[0], with_all_fences(&["MP by MOVNTI"]), MANY, LONG);
}

#[test]
#[ignore = "two minutes of races"]
fn many_stores_that_race_with_every_fence() {
    check_all(&engines()[0], with_all_fences(&["R"]), MANY, LONG);
}
