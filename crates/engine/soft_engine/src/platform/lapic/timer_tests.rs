use super::*;

const DIVIDE_BY_1: u32 = 0b1011;
const ONE_SHOT: u32 = 0;
const PERIODIC: u32 = 1;
const DEADLINE: u32 = 2;

fn timer(mode: u32) -> Timer {
    let mut timer = Timer::default();
    timer.set_mode(mode);
    timer.set_divide(DIVIDE_BY_1, 0);
    timer
}

#[test]
fn one_shot_counts_down_once() {
    let mut timer = timer(ONE_SHOT);
    timer.start(1_000, 50);
    assert_eq!(timer.deadline_ns(), Some(1_050));
    assert_eq!((timer.current(50), timer.current(51), timer.current(1_050)), (1_000, 999, 0));
    assert!(!timer.expire(1_049));
    assert!(timer.expire(1_050));
    assert!(!timer.expire(9_999));
    assert_eq!((timer.current(9_999), timer.initial(), timer.deadline_ns()), (0, 1_000, None));
}

#[test]
fn starting_anew_replaces_the_count_and_zero_stops() {
    let mut timer = timer(ONE_SHOT);
    timer.start(1_000, 0);
    timer.start(500, 100);
    assert_eq!(timer.deadline_ns(), Some(600));
    timer.start(0, 200);
    assert_eq!((timer.deadline_ns(), timer.current(200)), (None, 0));
    assert!(!timer.expire(10_000));
}

#[test]
fn dividers() {
    let codes = [(0b0000, 2), (0b0001, 4), (0b0010, 8), (0b0011, 16), (0b1000, 32), (0b1001, 64)];
    for (code, divisor) in codes.into_iter().chain([(0b1010, 128), (0b1011, 1)]) {
        let mut timer = timer(ONE_SHOT);
        timer.set_divide(code, 0);
        timer.start(u32::MAX, 0);
        assert_eq!(timer.deadline_ns(), Some(u64::from(u32::MAX) * divisor), "{code:#b}");
        assert_eq!(timer.current(10 * divisor), u32::MAX - 10);
    }
}

#[test]
fn a_new_divider_keeps_the_count() {
    let mut timer = timer(ONE_SHOT);
    timer.start(1_000, 0);
    timer.set_divide(0b0000, 400);
    assert_eq!((timer.current(400), timer.deadline_ns()), (600, Some(400 + 1_200)));
}

#[test]
fn periodic_goes_on_in_step() {
    let mut timer = timer(PERIODIC);
    timer.start(1_000_000, 0);
    assert!(timer.expire(1_000_100));
    assert_eq!(timer.deadline_ns(), Some(2_000_000));
    assert!(timer.expire(5_500_000), "several periods count as one");
    assert_eq!((timer.deadline_ns(), timer.current(5_500_000)), (Some(6_000_000), 500_000));
    assert_eq!(timer.current(6_300_000), 700_000, "read before it was looked at");
}

#[test]
fn very_short_periods_are_stretched() {
    let mut timer = timer(PERIODIC);
    timer.start(1, 0);
    assert!(timer.expire(1));
    assert_eq!((timer.deadline_ns(), timer.current(1)), (Some(1 + MIN_PERIOD_NS), 1));
    assert!(!timer.expire(1_000));
}

#[test]
fn one_shot_and_periodic_share_the_count() {
    let mut timer = timer(ONE_SHOT);
    timer.start(1_000_000, 0);
    timer.set_mode(PERIODIC);
    assert!(timer.expire(1_000_000));
    assert_eq!(timer.deadline_ns(), Some(2_000_000));
    timer.set_mode(ONE_SHOT);
    assert!(timer.expire(2_000_000));
    assert_eq!(timer.deadline_ns(), None);
}

#[test]
fn tsc_deadline_fires_once_and_clears_itself() {
    let mut timer = timer(DEADLINE);
    timer.set_tsc_deadline(5_000, 1_000, &Tsc::default().moved(500));
    assert_eq!((timer.tsc_deadline(), timer.deadline_ns()), (5_000, Some(4_500)));
    assert_eq!(timer.current(2_000), 0);
    assert!(!timer.expire(4_499));
    assert!(timer.expire(4_500));
    assert_eq!((timer.tsc_deadline(), timer.deadline_ns()), (0, None));
}

#[test]
fn a_deadline_that_has_passed_is_due_at_once_and_zero_disarms() {
    let mut timer = timer(DEADLINE);
    timer.set_tsc_deadline(5, 1_000, &Tsc::default());
    assert_eq!(timer.deadline_ns(), Some(1_000));
    timer.set_tsc_deadline(0, 1_000, &Tsc::default());
    assert!(!timer.expire(2_000));
    // An offset below zero: the TSC is behind the clock.
    timer.set_tsc_deadline(700, 1_000, &Tsc::default().moved(500u64.wrapping_neg()));
    assert_eq!(timer.deadline_ns(), Some(1_200));
    timer.set_tsc_deadline(u64::MAX, 1_000, &Tsc::default());
    assert_eq!(timer.deadline_ns(), Some(u64::MAX));
}

#[test]
fn each_mode_ignores_the_others_registers() {
    let mut timer = timer(DEADLINE);
    timer.start(1_000, 0);
    assert_eq!((timer.initial(), timer.deadline_ns()), (0, None));
    timer.set_tsc_deadline(9_000, 0, &Tsc::default());
    timer.set_mode(ONE_SHOT);
    assert_eq!((timer.tsc_deadline(), timer.deadline_ns()), (0, None));
    timer.set_tsc_deadline(9_000, 0, &Tsc::default());
    assert_eq!(timer.deadline_ns(), None);
    timer.start(1_000, 0);
    timer.set_mode(DEADLINE);
    assert_eq!((timer.initial(), timer.deadline_ns()), (0, None));
    timer.set_mode(3);
    timer.start(1_000, 0);
    timer.set_tsc_deadline(9_000, 0, &Tsc::default());
    assert_eq!((timer.deadline_ns(), timer.divide()), (None, DIVIDE_BY_1));
}

#[test]
fn restoring_goes_on_counting() {
    let restored = |mode, initial, current| Timer::restore(mode, initial, current, DIVIDE_BY_1, 1_000);
    assert_eq!(restored(ONE_SHOT, 500_000, 300_000).deadline_ns(), Some(301_000));
    assert_eq!(restored(ONE_SHOT, 500_000, 0).deadline_ns(), None);
    let mut periodic = restored(PERIODIC, 500_000, 300_000);
    assert!(periodic.expire(301_000));
    assert_eq!(periodic.deadline_ns(), Some(801_000));
    assert_eq!(restored(PERIODIC, 500_000, 0).deadline_ns(), Some(501_000));
    assert_eq!(restored(PERIODIC, 0, 0).deadline_ns(), None);
    assert_eq!(restored(DEADLINE, 500_000, 300_000).deadline_ns(), None);
}

#[test]
fn the_end_of_time_does_no_harm() {
    let mut timer = timer(PERIODIC);
    timer.start(u32::MAX, u64::MAX - 5);
    assert!(timer.expire(u64::MAX));
    assert_eq!(timer.deadline_ns(), Some(u64::MAX));
    assert!(timer.expire(u64::MAX));
}
