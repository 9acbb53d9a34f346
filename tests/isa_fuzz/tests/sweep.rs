//! All encodings of one, two and three opcode bytes against the host's processor.
#![cfg(target_arch = "x86_64")]

use isa_fuzz::Host;
use isa_fuzz::sweep::{self, Extent, Known, Plan};
use soft_engine::probe::Tier;

fn compare(bits: u32, extent: Extent, one_of: usize, tier: Tier) {
    if let Some(why) = Host::is_not_compared() {
        println!("SKIPPED: {why}");
        return;
    }
    if bits == 16 && !Host::has_small_code() {
        println!("SKIPPED: the host's kernel does not let programs have segments of 16-bit code");
        return;
    }
    let known = Known::list().expect("the list can be read");
    let plan = Plan { bits, extent, one_of, tier, known: &known };
    let summary = sweep::run(&plan).expect("both processors run");
    println!("{summary}");
    assert_eq!(summary.diverging, 0);
    assert!(summary.compared > 10_000);
}

#[test]
fn encodings_of_64_bit_mode() {
    compare(64, Extent::Sample, 3, Tier::Interpreter);
}

#[test]
fn encodings_of_64_bit_mode_translated() {
    compare(64, Extent::Sample, 7, Tier::Jit);
}

#[test]
fn encodings_of_compatibility_mode() {
    compare(32, Extent::Sample, 3, Tier::Interpreter);
}

#[test]
fn encodings_of_16_bit_code() {
    compare(16, Extent::Sample, 3, Tier::Interpreter);
}

/// With all prefixes and ModRM bytes; `isa_fuzz --sweep` goes over every one of them.
#[test]
#[ignore = "a larger sample: a minute"]
fn more_encodings_of_64_bit_mode() {
    compare(64, Extent::Whole, 31, Tier::Interpreter);
}

#[test]
#[ignore = "a larger sample: a minute"]
fn more_encodings_of_compatibility_mode() {
    compare(32, Extent::Whole, 31, Tier::Interpreter);
}

#[test]
#[ignore = "a larger sample: a minute"]
fn more_encodings_of_16_bit_code() {
    compare(16, Extent::Whole, 31, Tier::Interpreter);
}
