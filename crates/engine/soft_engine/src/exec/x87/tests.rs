use super::stack::status;
use crate::exec::program::{CODE, DATA, HOLE, execute, page_fault, read, state, with_probe, with_probe_on};
use crate::probe::{Outcome, Probe, Tier, UserState};
use crate::undefined::{C0, C1, C2, C3, CONDITIONS};

const RCX: usize = 1;
const MATH_FAULT: Outcome = Outcome::Exception { vector: 16, error: 0, cr2: 0 };

const FLD1: &[u8] = &[0xd9, 0xe8];
const FLDZ: &[u8] = &[0xd9, 0xee];
const FDIVP: &[u8] = &[0xde, 0xf9];
const FADDP: &[u8] = &[0xde, 0xc1];
const FNSTSW_AX: &[u8] = &[0xdf, 0xe0];
const FNCLEX: &[u8] = &[0xdb, 0xe2];
const FWAIT: &[u8] = &[0x9b];
/// FSTP qword [rcx]
const FSTP: &[u8] = &[0xdd, 0x19];
/// FLD qword [rcx]
const FLD: &[u8] = &[0xdd, 0x01];

/// A new unit with the exceptions of `unmasked` unmasked.
fn unit(unmasked: u16) -> UserState {
    let mut state = state();
    state.fxsave[0..2].copy_from_slice(&(0x37f & !unmasked).to_le_bytes());
    state.gpr[RCX] = DATA;
    state
}

fn run(probe: &mut Probe<'_>, state: &mut UserState, program: &[&[u8]]) -> Outcome {
    for bytes in program {
        state.rip = CODE;
        let outcome = execute(probe, bytes, state);
        if outcome != Outcome::Done {
            return outcome;
        }
    }
    Outcome::Done
}

fn status_word(state: &UserState) -> u16 {
    u16::from_le_bytes([state.fxsave[2], state.fxsave[3]])
}

#[test]
fn a_pending_exception_waits_for_the_next_instruction() {
    const ZERO_DIVIDE: u16 = 4;
    with_probe(|probe| {
        let mut state = unit(ZERO_DIVIDE);
        assert_eq!(run(probe, &mut state, &[FLD1, FLDZ, FDIVP]), Outcome::Done);
        // Neither result nor pop.
        assert_eq!(status_word(&state) & status::TOP, 6 << 11);
        assert_eq!(status_word(&state) & 0xff, ZERO_DIVIDE | status::ERROR_SUMMARY);
        // Where it was, and what: DE F9.
        assert_eq!(state.fxsave[6..16], [0xf9, 6, 0, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(run(probe, &mut state, &[FNSTSW_AX]), Outcome::Done);
        for bytes in [FLD1, FWAIT, FADDP] {
            assert_eq!(run(probe, &mut state, &[bytes]), MATH_FAULT);
        }
        // MMX waits too: PXOR mm0, mm0.
        assert_eq!(run(probe, &mut state, &[&[0x0f, 0xef, 0xc0]]), MATH_FAULT);
        assert_eq!(run(probe, &mut state, &[FNCLEX, FWAIT, FLD1]), Outcome::Done);
    });
}

#[test]
fn masked_stack_faults_answer_the_default() {
    with_probe(|probe| {
        let mut state = unit(0);
        assert_eq!(run(probe, &mut state, &[FADDP]), Outcome::Done);
        assert_eq!(status_word(&state), 1 << 11 | status::STACK_FAULT | 1);
        assert_eq!(state.fxsave[32..42], [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff]);
        let mut state = unit(0);
        assert_eq!(run(probe, &mut state, &[FLD1; 9]), Outcome::Done);
        assert_eq!(status_word(&state), 7 << 11 | status::STACK_FAULT | status::C1 | 1);
    });
}

#[test]
fn a_store_that_faults_changes_nothing() {
    with_probe(|probe| {
        let mut state = unit(0);
        assert_eq!(run(probe, &mut state, &[FLD1]), Outcome::Done);
        let before = state.fxsave;
        state.gpr[RCX] = HOLE - 4;
        assert_eq!(run(probe, &mut state, &[FSTP]), page_fault(HOLE, 6));
        assert_eq!(state.fxsave, before);
        state.gpr[RCX] = DATA;
        assert_eq!(run(probe, &mut state, &[FSTP]), Outcome::Done);
        assert_eq!(read::<8>(probe, DATA), 1f64.to_le_bytes());
        assert_eq!(state.fxsave[4], 0);
    });
}

#[test]
fn an_unmasked_overflow_keeps_memory_as_it_was() {
    /// FSTP dword [rcx]
    const FSTP_SINGLE: &[u8] = &[0xd9, 0x19];
    const OVERFLOW: u16 = 8;
    with_probe(|probe| {
        probe.write(DATA, &f64::MAX.to_le_bytes());
        let mut state = unit(OVERFLOW);
        assert_eq!(run(probe, &mut state, &[FLD, FSTP_SINGLE]), Outcome::Done);
        assert_eq!(read::<8>(probe, DATA), f64::MAX.to_le_bytes());
        assert_eq!(status_word(&state) & (status::TOP | OVERFLOW), 7 << 11 | OVERFLOW);
        assert_eq!(run(probe, &mut state, &[FWAIT]), MATH_FAULT);
    });
}

/// What is undefined is as `undefined.rs` says, in both tiers, whatever the host leaves.
#[test]
fn undefined_conditions_are_as_decided() {
    const UPPER: u16 = C0 | C2 | C3;
    // What stays as it was, and what is set; the others are clear. ST(0) and ST(1) are 1.
    let rows: [(&str, &[u8], u16, u16); 17] = [
        ("fadd", &[0xd8, 0xc1], UPPER, 0),
        ("fld1", FLD1, UPPER, 0),
        ("fxch", &[0xd9, 0xc9], UPPER, 0),
        ("fsqrt", &[0xd9, 0xfa], UPPER, 0),
        ("fist [rcx]", &[0xdb, 0x11], UPPER, 0),
        ("fsin", &[0xd9, 0xfe], C0 | C3, 0),
        ("fcom", &[0xd8, 0xd1], 0, C3),
        ("fxam", &[0xd9, 0xe5], 0, C2),
        ("fcomi", &[0xdb, 0xf1], UPPER, 0),
        ("fcmovnb", &[0xdb, 0xc1], UPPER, 0),
        ("ffree", &[0xdd, 0xc1], UPPER, 0),
        ("fnop", &[0xd9, 0xd0], CONDITIONS, 0),
        ("fnstsw ax", FNSTSW_AX, CONDITIONS, 0),
        ("fnstsw [rcx]", &[0xdd, 0x39], CONDITIONS, 0),
        ("fnstcw [rcx]", &[0xd9, 0x39], CONDITIONS, 0),
        ("fldcw [rcx]", &[0xd9, 0x29], CONDITIONS, 0),
        ("fwait", FWAIT, CONDITIONS, 0),
    ];
    for tier in [Tier::Interpreter, Tier::Jit] {
        with_probe_on(tier, |probe| {
            for (name, bytes, kept, set) in rows {
                for before in [0, CONDITIONS] {
                    probe.write(DATA, &0x37f_u16.to_le_bytes());
                    let mut state = unit(0);
                    assert_eq!(run(probe, &mut state, &[FLD1, FLD1]), Outcome::Done);
                    let word = status_word(&state) & !CONDITIONS | before;
                    state.fxsave[2..4].copy_from_slice(&word.to_le_bytes());
                    assert_eq!(run(probe, &mut state, &[bytes]), Outcome::Done, "{name}");
                    // FSIN of 1 may have been rounded up.
                    let open = if name == "fsin" { C1 } else { 0 };
                    let after = status_word(&state) & CONDITIONS & !open;
                    assert_eq!(after, before & kept | set, "{tier:?}: {name}, {before:#x} before");
                    if bytes == FNSTSW_AX {
                        assert_eq!(state.gpr[0] as u16, word, "{tier:?}");
                    }
                }
            }
        });
    }
}
