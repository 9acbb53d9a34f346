//! Single step through programs in every mode: exactly one #DB an instruction, with BS alone in DR6, TF in the frame and
//! RIP behind the instruction, whatever the handler does between its start and its IRET; by the interpreter, and where
//! the handler's own code is translated.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod handler;
mod program;

use engine_suite::guest::TF;
use engine_suite::layout::DONE;
use engine_suite::modes::{MODES, Mode};
use engine_suite::outcome::{End, Outcome};
use engine_suite::run::run_from;
use handler::{Enter, Leave, SERVICE, records};
use program::Program;
use soft_engine::SoftEngine;

/// DR6.BS.
const BS: u64 = 1 << 14;
/// Programs of each mode.
const SEEDS: std::ops::Range<u64> = 1..3;

fn step(engine: &SoftEngine, mode: Mode, program: &Program, way: (Leave, Enter)) -> Outcome {
    let mut guest = mode.guest(&program.code);
    handler::install(&mut guest, mode, way);
    guest.put(SERVICE, &program.service);
    guest.registers.rflags |= TF;
    if mode == Mode::Virtual86 {
        guest.registers.rflags |= 3 << 12;
    }
    run_from(engine, &guest, |guest, power_on| mode.state(guest, power_on)).unwrap()
}

fn check(mode: Mode, program: &Program, way: (Leave, Enter), outcome: &Outcome, tier: &str) {
    let records = records(outcome);
    let places: Vec<u64> = records.iter().map(|record| record.0).collect();
    let what = format!("{mode:?} {way:?}, {tier}: {:02x?}", program.code);
    assert_eq!(
        outcome.end,
        End::Event(DONE),
        "{what}: {places:x?} {:x?} {:x?}",
        outcome.state.registers,
        outcome.state.system.cr2
    );
    assert_eq!(places, program.steps, "{what}: {places:x?} for {:x?}", program.steps);
    for (place, dr6, rflags) in records {
        assert_eq!((dr6, rflags & TF), (BS, TF), "{what}: at {place:#x}");
    }
}

#[test]
fn each_instruction_is_stepped_once_whatever_the_handler_does() {
    for mode in MODES {
        for seed in SEEDS {
            for way in handler::ways(mode) {
                let start = mode.start(&mode.guest(&[]));
                let program = Program::new(mode, seed, way.1, start);
                for (tier, engine) in
                    [("interpreter", SoftEngine::interpreter()), ("translator", SoftEngine::eager())]
                {
                    check(mode, &program, way, &step(&engine, mode, &program, way), tier);
                }
            }
        }
    }
}
