use crate::cpu::flags::DF;
use crate::cpu::gpr::{RAX, RCX, RDI, RSI};
use crate::exec::program::{CODE, DATA, HOLE, execute, page_fault, read, state, with_probe};
use crate::probe::{Outcome, Probe, UserState};

const REP_MOVSB: &[u8] = &[0xf3, 0xa4];
const REP_MOVSQ: &[u8] = &[0xf3, 0x48, 0xa5];
const REP_STOSD: &[u8] = &[0xf3, 0xab];
const REPE_CMPSB: &[u8] = &[0xf3, 0xa6];
const REPNE_SCASB: &[u8] = &[0xf2, 0xae];

/// A write by a program to a page that is not there.
const WRITE: u32 = 6;

fn string(source: u64, target: u64, count: u64) -> UserState {
    let mut state = state();
    (state.gpr[RSI], state.gpr[RDI], state.gpr[RCX]) = (source, target, count);
    state
}

fn fill_counting(probe: &mut Probe<'_>) {
    let page: Vec<u8> = (0..0x1000u32).map(|index| (index * 7 + index / 256) as u8).collect();
    probe.write(DATA, &page);
    probe.write(DATA + 0x1000, &page);
}

/// The bytes of both pages of data.
fn all(probe: &Probe<'_>) -> Vec<u8> {
    [read::<0x1000>(probe, DATA), read::<0x1000>(probe, DATA + 0x1000)].concat()
}

#[test]
fn copies_that_overlap_repeat_what_they_wrote() {
    with_probe(|probe| {
        for ahead in 0..40 {
            for (len, insn, size) in [(300, REP_MOVSB, 1), (320, REP_MOVSQ, 8)] {
                fill_counting(probe);
                let mut expected = all(probe);
                let element = |memory: &mut Vec<u8>, at: usize| {
                    let bytes = memory[at..at + size].to_vec();
                    memory[at + ahead..at + ahead + size].copy_from_slice(&bytes);
                };
                (0..len).step_by(size).for_each(|at| element(&mut expected, 16 + at));
                let mut state = string(DATA + 16, DATA + 16 + ahead as u64, (len / size) as u64);
                assert_eq!(execute(probe, insn, &mut state), Outcome::Done);
                assert_eq!(all(probe), expected, "{ahead} bytes ahead, elements of {size}");
                let end = DATA + 16 + len as u64;
                assert_eq!([state.gpr[RSI], state.gpr[RDI], state.gpr[RCX]], [end, end + ahead as u64, 0]);
            }
        }
    });
}

#[test]
fn copies_cross_pages_in_both_directions() {
    with_probe(|probe| {
        fill_counting(probe);
        let before = all(probe);
        // 0xffb is where neither side is aligned and both sides cross with elements over the edge.
        let mut up = string(DATA + 3, DATA + 0xffb, 0x100);
        assert_eq!(execute(probe, REP_MOVSQ, &mut up), Outcome::Done);
        assert_eq!(all(probe)[0xffb..0xffb + 0x800], before[3..3 + 0x800]);
        assert_eq!(up.rip, CODE + 3);

        fill_counting(probe);
        let mut down = UserState { rflags: 2 | DF, ..string(DATA + 0x17f0, DATA + 0x18f0, 0x100) };
        assert_eq!(execute(probe, REP_MOVSQ, &mut down), Outcome::Done);
        // Downward, the source is read before it is overwritten.
        assert_eq!(all(probe)[0x10f8..0x18f8], before[0xff8..0x17f8]);
        assert_eq!([down.gpr[RSI], down.gpr[RDI]], [DATA + 0xff0, DATA + 0x10f0]);
    });
}

#[test]
fn a_fault_leaves_what_is_still_to_be_done() {
    with_probe(|probe| {
        fill_counting(probe);
        let mut copy = string(DATA, HOLE - 20, 100);
        assert_eq!(execute(probe, REP_MOVSQ, &mut copy), page_fault(HOLE, WRITE));
        assert_eq!([copy.gpr[RSI], copy.gpr[RDI], copy.gpr[RCX]], [DATA + 16, HOLE - 4, 98]);
        assert_eq!(copy.rip, CODE);

        let mut fill = string(0, HOLE - 10, 100);
        fill.gpr[RAX] = 0x1122_3344;
        assert_eq!(execute(probe, REP_STOSD, &mut fill), page_fault(HOLE, WRITE));
        assert_eq!([fill.gpr[RDI], fill.gpr[RCX]], [HOLE - 2, 98]);
        assert_eq!(read::<8>(probe, HOLE - 10), [0x44, 0x33, 0x22, 0x11, 0x44, 0x33, 0x22, 0x11]);
    });
}

#[test]
fn comparisons_stop_where_their_condition_does() {
    with_probe(|probe| {
        probe.write(DATA, b"the same until here");
        probe.write(DATA + 0x100, b"the same until HERE");
        let mut state = string(DATA, DATA + 0x100, 19);
        assert_eq!(execute(probe, REPE_CMPSB, &mut state), Outcome::Done);
        assert_eq!([state.gpr[RSI], state.gpr[RCX]], [DATA + 16, 3]);
        let mut state = string(0, DATA, 19);
        state.gpr[RAX] = b'm'.into();
        assert_eq!(execute(probe, REPNE_SCASB, &mut state), Outcome::Done);
        assert_eq!([state.gpr[RDI], state.gpr[RCX]], [DATA + 7, 12]);
    });
}

#[test]
fn a_count_of_zero_touches_nothing() {
    with_probe(|probe| {
        // With 32-bit addresses the upper half of the counter does not count, and stays.
        let mut state = string(HOLE, HOLE, 0x1_0000_0000);
        let before = state.gpr;
        assert_eq!(execute(probe, &[0x67, 0xf3, 0xa4], &mut state), Outcome::Done);
        assert_eq!(state.gpr, before);
        // One that counts clears it.
        let mut state = string(DATA, DATA, 0x1_0000_0002);
        assert_eq!(execute(probe, &[0x67, 0xf3, 0xa4], &mut state), Outcome::Done);
        assert_eq!([state.gpr[RSI], state.gpr[RCX]], [DATA + 2, 0]);
    });
}
