use crate::exec::program::{DATA, HOLE, execute, page_fault, read, state, with_probe};
use crate::probe::{Outcome, Probe, UserState};

const RAX: usize = 0;
const RCX: usize = 1;
const GENERAL_PROTECTION: Outcome = Outcome::Exception { vector: 13, error: 0, cr2: 0 };
// … [rcx]
const XSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x21];
const XSAVEOPT64: &[u8] = &[0x48, 0x0f, 0xae, 0x31];
const XSAVEC64: &[u8] = &[0x48, 0x0f, 0xc7, 0x21];
const XRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x29];
const XGETBV: &[u8] = &[0x0f, 0x01, 0xd0];
const COMPACTED: u64 = 1 << 63;

/// Everything in use, all components asked for.
fn full() -> UserState {
    let mut state = empty();
    state.fxsave[160..416].fill(0x11);
    state.ymm_high = [[0x22; 16]; 16];
    state.fxsave[4] = 0x80;
    state.fxsave[32..42].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
    state
}

/// As after reset.
fn empty() -> UserState {
    let mut state = state();
    state.gpr[RCX] = DATA;
    state.gpr[RAX] = 7;
    state.fxsave[..2].copy_from_slice(&0x37fu16.to_le_bytes());
    // MXCSR, and the mask of its bits.
    state.fxsave[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    state.fxsave[28..32].copy_from_slice(&0xffffu32.to_le_bytes());
    state
}

fn word(probe: &Probe<'_>, offset: u64) -> u64 {
    u64::from_le_bytes(read(probe, DATA + offset))
}

fn put(probe: &mut Probe<'_>, offset: u64, value: u64) {
    probe.write(DATA + offset, &value.to_le_bytes());
}

#[test]
fn what_is_saved_comes_back_in_either_format() {
    for save in [XSAVE64, XSAVEOPT64, XSAVEC64] {
        with_probe(|probe| {
            assert_eq!(execute(probe, save, &mut full()), Outcome::Done);
            let mut restored = empty();
            assert_eq!(execute(probe, XRSTOR64, &mut restored), Outcome::Done);
            assert_eq!(restored.fxsave[..416], full().fxsave[..416], "{save:x?}");
            assert_eq!(restored.ymm_high, full().ymm_high, "{save:x?}");
        });
    }
}

#[test]
fn what_is_not_in_use_is_told_and_comes_back_as_after_reset() {
    for (save, layout) in [(XSAVE64, 0), (XSAVEOPT64, 0), (XSAVEC64, COMPACTED | 7)] {
        with_probe(|probe| {
            probe.write(DATA, &[0; 1024]);
            assert_eq!(execute(probe, save, &mut empty()), Outcome::Done);
            assert_eq!((word(probe, 512), word(probe, 520)), (0, layout), "{save:x?}");
            let mut restored = full();
            assert_eq!(execute(probe, XRSTOR64, &mut restored), Outcome::Done);
            assert_eq!(restored.fxsave[..416], empty().fxsave[..416], "{save:x?}");
            assert_eq!(restored.ymm_high, empty().ymm_high, "{save:x?}");
        });
    }
}

#[test]
fn components_that_are_not_asked_for_are_left_alone() {
    with_probe(|probe| {
        probe.write(DATA, &[0xa5; 1024]);
        put(probe, 512, 0);
        put(probe, 520, 0);
        let mut saved = full();
        saved.gpr[RAX] = 4;
        assert_eq!(execute(probe, XSAVE64, &mut saved), Outcome::Done);
        assert_eq!(word(probe, 512), 4);
        assert_eq!(read::<24>(probe, DATA), [0xa5; 24]);
        assert_eq!(read::<4>(probe, DATA + 24), 0x1f80u32.to_le_bytes());
        assert_eq!(read::<384>(probe, DATA + 32), [0xa5; 384]);
        assert_eq!(read::<256>(probe, DATA + 576), [0x22; 256]);
        put(probe, 528, 0);
        let mut restored = empty();
        restored.gpr[RAX] = 4;
        assert_eq!(execute(probe, XRSTOR64, &mut restored), Outcome::Done);
        assert_eq!(restored.fxsave[..416], empty().fxsave[..416]);
        assert_eq!(restored.ymm_high, full().ymm_high);
    });
}

/// SDM vol. 1, 13.8.1 and 13.8.2.
#[test]
fn headers_that_make_no_sense_are_refused() {
    let cases: [(&str, u64, u64, u64, Outcome); 9] = [
        ("plain", 512, 7, 0, Outcome::Done),
        ("a component that is not enabled", 512, 8, 0, GENERAL_PROTECTION),
        ("XCOMP_BV in the standard format", 520, 1, 7, GENERAL_PROTECTION),
        ("byte 16", 528, 1, 7, GENERAL_PROTECTION),
        ("byte 24 in the standard format", 536, 1, 7, Outcome::Done),
        ("present, but not in the compacted area", 520, COMPACTED | 3, 7, GENERAL_PROTECTION),
        ("compacted, a component that is not enabled", 520, COMPACTED | 15, 7, GENERAL_PROTECTION),
        ("compacted", 520, COMPACTED | 7, 7, Outcome::Done),
        ("MXCSR", 24, 0x1_1f80, 7, GENERAL_PROTECTION),
    ];
    for (name, at, value, present, expected) in cases {
        with_probe(|probe| {
            probe.write(DATA, &[0; 1024]);
            put(probe, 24, 0x1f80);
            put(probe, 512, present);
            put(probe, at, value);
            let mut restored = full();
            assert_eq!(execute(probe, XRSTOR64, &mut restored), expected, "{name}");
            if expected != Outcome::Done {
                assert!(restored == full(), "{name}");
            }
        });
    }
    // In the compacted format the whole reserved field counts.
    with_probe(|probe| {
        probe.write(DATA, &[0; 1024]);
        put(probe, 520, COMPACTED | 7);
        put(probe, 568, 1);
        assert_eq!(execute(probe, XRSTOR64, &mut full()), GENERAL_PROTECTION);
    });
}

#[test]
fn areas_are_aligned_and_there() {
    with_probe(|probe| {
        for code in [XSAVE64, XSAVEOPT64, XSAVEC64, XRSTOR64] {
            let mut state = full();
            state.gpr[RCX] = DATA + 16;
            assert_eq!(execute(probe, code, &mut state), GENERAL_PROTECTION, "{code:x?}");
            state.gpr[RCX] = HOLE - 512;
            let error = if code == XRSTOR64 { 4 } else { 6 };
            assert_eq!(execute(probe, code, &mut state), page_fault(HOLE, error), "{code:x?}");
        }
    });
}

#[test]
fn xgetbv_tells_what_is_enabled_and_in_use() {
    with_probe(|probe| {
        let mut told = |register: u64, mut state: UserState| {
            state.gpr[RCX] = register;
            let outcome = execute(probe, XGETBV, &mut state);
            (outcome, state.gpr[RAX])
        };
        assert_eq!(told(0, empty()), (Outcome::Done, 7));
        assert_eq!(told(1, empty()), (Outcome::Done, 0));
        assert_eq!(told(1, full()), (Outcome::Done, 7));
        assert_eq!(told(2, full()).0, GENERAL_PROTECTION);
    });
}
