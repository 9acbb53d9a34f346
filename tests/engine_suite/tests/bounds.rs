//! What the software engine keeps of a guest's code has bounds (docs/bounds.md), however much code a guest makes.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::time::Duration;

use engine_suite::smp::{Code, SHARED, SmpGuest};
use soft_engine::SoftEngine;
use vcpu_model::CodeFigure;

/// Longer than a guest here takes.
const PATIENCE: Duration = Duration::from_secs(150);
/// The bounds, of one vCPU. Decoded instructions are counted before a block, which has 32 at most, is added.
const BOUNDS: [(CodeFigure, u64); 6] = [
    (CodeFigure::DecodedInstructions, 256 << 10),
    (CodeFigure::ColdPlaces, 224 << 10),
    (CodeFigure::TranslatedUnits, 256 << 10),
    (CodeFigure::TranslatedBytes, 64 << 20),
    (CodeFigure::Sites, (1 << 20) + 64),
    (CodeFigure::Edges, (1 << 20) + 64),
];

/// Fills `bytes` of RAM with RET and calls each byte, `times` times one after the other.
fn returns(bytes: u32, times: u32) -> SmpGuest {
    let mut code = Code::default();
    // mov edi, SHARED; mov ecx, bytes; mov al, 0c3h; rep stosb
    code.bytes(&[0xbf]).word(SHARED as u32).bytes(&[0xb9]).word(bytes).bytes(&[0xb0, 0xc3, 0xf3, 0xaa]);
    // mov ebx, SHARED
    code.bytes(&[0xbb]).word(SHARED as u32);
    let place = code.here();
    // mov ecx, times
    code.bytes(&[0xb9]).word(times);
    let again = code.here();
    // call rbx; dec ecx; jnz again
    code.bytes(&[0xff, 0xd3, 0xff, 0xc9]).jump_back(&[0x0f, 0x85], again);
    // inc ebx; cmp ebx, SHARED + bytes; jb place
    code.bytes(&[0xff, 0xc3, 0x81, 0xfb]).word(SHARED as u32 + bytes).jump_back(&[0x0f, 0x82], place);
    SmpGuest::new(&[code.finish()])
}

/// Runs the guest; answers how often the translated code was dropped, and the most places that ran too seldom.
fn check(engine: &SoftEngine, guest: &SmpGuest) -> u64 {
    let ended = guest.run(engine, None, PATIENCE).unwrap();
    assert!(ended.in_time, "{engine:?} is not through");
    for (figure, bound) in BOUNDS {
        let value = ended.counters[0].code(figure);
        assert!(value <= bound, "{}: {value} of {bound}, {engine:?}", figure.name());
    }
    ended.counters[0].code(CodeFigure::CacheDrops)
}

#[test]
fn code_that_runs_once() {
    check(&SoftEngine::default(), &returns(1 << 20, 1));
    check(&SoftEngine::interpreter(), &returns(1 << 20, 1));
}

#[test]
fn more_translated_code_than_is_kept() {
    let drops = check(&SoftEngine::eager(), &returns(300 << 10, 1));
    assert!(drops > 0, "there are more units than bounds");
}

#[test]
fn more_places_that_run_a_few_times_than_are_kept() {
    check(&SoftEngine::default(), &returns(300 << 10, 3));
}
