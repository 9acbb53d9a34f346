//! The timer as a guest programs it.

use super::*;
use crate::platform::Tsc;

const VECTOR: u32 = 0xec;
const PERIODIC: u32 = 1 << 17;
const DEADLINE: u32 = 2 << 17;
const MASKED: u32 = 1 << 16;
const DIVIDE_BY_1: u32 = 0xb;

fn fixture(lvt: u32) -> Fixture {
    let mut f = Fixture::xapic(1);
    f.apics[0].write(at(index::TIMER_DIVIDE), DIVIDE_BY_1);
    f.apics[0].write(at(index::LVT), lvt | VECTOR);
    f.requests();
    f
}

#[test]
fn one_shot_interrupts_once() {
    let mut f = fixture(0);
    f.apics[0].write(at(index::TIMER_INITIAL), 1_000);
    assert_eq!(f.apics[0].deadline_ns(), Some(1_000));
    f.advance(999);
    assert_eq!((f.apics[0].read(at(index::TIMER_CURRENT)), f.apics[0].poll_timer()), (1, false));
    f.advance(1);
    assert!(f.apics[0].poll_timer());
    assert_eq!(f.requests(), [Request::INTERRUPT]);
    assert_eq!(f.interrupts(), [Some(0xec)]);
    f.advance(10_000);
    assert_eq!((f.apics[0].poll_timer(), f.apics[0].deadline_ns()), (false, None));
}

#[test]
fn periodic_interrupts_again() {
    let mut f = fixture(PERIODIC);
    f.apics[0].write(at(index::TIMER_INITIAL), 1_000_000);
    for _ in 0..3 {
        f.advance(1_000_000);
        assert!(f.apics[0].poll_timer());
        assert_eq!(f.interrupts(), [Some(0xec)]);
    }
    f.apics[0].write(at(index::TIMER_INITIAL), 0);
    f.advance(1_000_000);
    assert!(!f.apics[0].poll_timer());
}

#[test]
fn tsc_deadline() {
    let mut f = fixture(DEADLINE);
    f.apics[0].set_tsc_deadline(5_000);
    assert_eq!((f.apics[0].tsc_deadline(), f.apics[0].deadline_ns()), (5_000, Some(5_000)));
    f.advance(5_000);
    assert!(f.apics[0].poll_timer());
    assert_eq!((f.apics[0].tsc_deadline(), f.interrupts()), (0, vec![Some(0xec)]));
    f.apics[0].set_tsc_deadline(1);
    assert!(f.apics[0].poll_timer(), "a deadline in the past");
}

#[test]
fn the_deadline_is_one_of_the_tsc() {
    let mut f = fixture(DEADLINE);
    f.advance(3_000);
    let apic = &mut f.apics[0];
    apic.set_tsc(Tsc::default().moved(1_000));
    apic.set_tsc_deadline(5_000);
    assert_eq!(apic.deadline_ns(), Some(4_000));
    apic.set_tsc(Tsc::default().moved(2_000u64.wrapping_neg()));
    assert_eq!((apic.deadline_ns(), apic.tsc_deadline()), (Some(7_000), 5_000));
    apic.set_tsc(Tsc::default().moved(9_000));
    assert!(apic.poll_timer(), "the TSC was moved past it");
    assert_eq!(f.platform.mailbox(0).tsc(), Tsc::default().moved(9_000));
}

#[test]
fn an_offset_does_not_move_a_count() {
    let mut f = fixture(0);
    f.apics[0].write(at(index::TIMER_INITIAL), 1_000);
    f.apics[0].set_tsc(Tsc::default().moved(1 << 40));
    assert_eq!(f.apics[0].deadline_ns(), Some(1_000));
}

#[test]
fn a_deadline_is_ignored_in_other_modes() {
    let mut f = fixture(0);
    f.apics[0].set_tsc_deadline(5_000);
    assert_eq!((f.apics[0].tsc_deadline(), f.apics[0].deadline_ns()), (0, None));
}

#[test]
fn a_masked_timer_counts_in_silence() {
    let mut f = fixture(MASKED);
    f.apics[0].write(at(index::TIMER_INITIAL), 1_000);
    assert_eq!(f.apics[0].deadline_ns(), None);
    f.advance(400);
    assert_eq!(f.apics[0].read(at(index::TIMER_CURRENT)), 600);
    f.advance(600);
    // Due while masked: unmasking afterwards brings nothing, even if nobody has looked in between.
    f.apics[0].write(at(index::LVT), VECTOR);
    assert!(!f.apics[0].poll_timer());
    assert_eq!(f.interrupts(), [None]);
}

#[test]
fn a_vector_below_sixteen_is_an_error() {
    let mut f = fixture(0);
    let apic = &mut f.apics[0];
    apic.write(at(index::LVT), 3);
    apic.set_tsc(Tsc::default().moved(0));
    apic.write(at(index::TIMER_INITIAL), 1);
    f.advance(1);
    let apic = &mut f.apics[0];
    assert!(apic.poll_timer());
    apic.write(at(index::ESR), 0);
    assert_eq!((apic.read(at(index::ESR)), apic.pending_vector()), (1 << 6, None));
}

#[test]
fn sleep_ends_when_something_is_posted() {
    let f = fixture(0);
    f.platform.mailbox(0).post(Request::KICK);
    f.apics[0].sleep();
    assert_eq!(f.requests(), [Request::KICK]);
}
