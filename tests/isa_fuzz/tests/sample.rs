//! A fast sample of all forms that the engine executes.
#![cfg(target_arch = "x86_64")]

use isa_fuzz::run::Sides;
use isa_fuzz::{Host, blocks, run};
use soft_engine::probe::Tier;

fn sample(sides: Sides) {
    if sides != Sides::Tiers
        && let Some(why) = Host::is_not_compared()
    {
        println!("SKIPPED: {why}");
        return;
    }
    let plan = run::Plan { wanted: Box::new(|_| true), cases: 60, seed: 1, sides, workers: 2 };
    let summary = run::run(&plan, |_, _| {}).expect("both processors run");
    println!("{summary}");
    assert_eq!(summary.divergence_count(), 0);
    assert!(summary.tallies.len() > 1000);
}

#[test]
fn the_interpreter_does_what_the_host_does() {
    sample(Sides::Host(Tier::Interpreter));
}

#[test]
fn translated_instructions_do_what_the_host_does() {
    sample(Sides::Host(Tier::Jit));
}

/// In every bit, and with what manuals leave open as the engine defines it, whatever the host makes of that.
#[test]
fn the_tiers_do_the_same() {
    sample(Sides::Tiers);
}

#[test]
fn blocks_come_to_the_same() {
    let plan = blocks::Plan { blocks: 2000, seed: 1, host: Host::is_not_compared().is_none() };
    let summary = blocks::run(&plan, |_, _| {}).expect("both tiers and the host run");
    println!("{summary}");
    assert_eq!(summary.diverging, 0);
    assert!(summary.completed > 800 && summary.interrupts > 50);
}
