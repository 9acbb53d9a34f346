//! A fast sample of all forms that the engine executes.
#![cfg(target_arch = "x86_64")]

use isa_fuzz::{Host, run};
use soft_engine::probe::Tier;

fn sample(tier: Tier) {
    if !Host::is_usable() {
        println!("SKIPPED: the host's kernel does not let programs write FS's base");
        return;
    }
    let plan = run::Plan { wanted: Box::new(|_| true), cases: 60, seed: 1, tier, workers: 2 };
    let summary = run::run(&plan, |_, _| {}).expect("both processors run");
    println!("{summary}");
    assert_eq!(summary.divergence_count(), 0);
}

#[test]
fn the_interpreter_does_what_the_host_does() {
    sample(Tier::Interpreter);
}

#[test]
fn translated_instructions_do_what_the_host_does() {
    sample(Tier::Jit);
}
