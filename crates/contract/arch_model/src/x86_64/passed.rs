//! Time that passes for a machine while it is nothing but a state: the clock by which its guest tells the time goes on, and
//! timers whose time is over by then are due.
//!
//! | the TSC is | time is told by | what goes on |
//! |---|---|---|
//! | invariant (CPUID) | the TSC | TSCs |
//! | not | kvmclock | TSCs and kvmclock |
//!
//! That is how Linux chooses, and its scheduler counts by kvmclock in either case: a process that had the processor when the
//! machine was saved would be charged with all that passed, and not have it again before the others have had as much. So
//! kvmclock goes on only where there is nothing else to tell the time by.

use super::cpuid::CpuidLeaf;
use super::{ClockState, CpuState, LapicState, PlatformState, msr};

/// CPUID leaf and bit of EDX: the TSC has one frequency and never stops (APM vol. 3, E.4.6).
const POWER_MANAGEMENT: u32 = 0x8000_0007;
const INVARIANT_TSC: u32 = 1 << 8;

/// Nobody goes on from a state that is older; a host whose clock was wrong has written it.
const AGE_MAX_NS: u64 = 10 * 366 * 24 * 3600 * 1_000_000_000;
/// Nanoseconds of a tick of 1 kHz.
const KHZ_NS: u128 = 1_000_000;

/// Registers of the local APIC by their offset / 16 (SDM vol. 3, 11.4.1).
const LVT_TIMER: usize = 0x32;
const TIMER_CURRENT: usize = 0x39;
const TIMER_DIVIDE: usize = 0x3e;
/// Timer modes in LVT_TIMER (SDM vol. 3, 11.5.1).
const TIMER_MODE_SHIFT: u32 = 17;
const ONE_SHOT: u32 = 0;
const PERIODIC: u32 = 1;

impl PlatformState {
    /// How long it has been since this was saved, in nanoseconds, if the host's clock shows `now_ns` since 1970. Nothing
    /// where that is not known or cannot be: time does not go back, and a host whose clock was set wrong once has no
    /// say.
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        let age_ns = self.clock.host_realtime_ns.and_then(|saved_ns| now_ns.checked_sub(saved_ns));
        age_ns.filter(|age_ns| *age_ns <= AGE_MAX_NS).unwrap_or(0)
    }

    /// Has the clock go on by so many nanoseconds, if a guest that answers `cpuid` tells the time by it.
    pub fn let_pass(&mut self, passed_ns: u64, cpuid: &[CpuidLeaf]) {
        // An engine without a clock has saved nothing.
        if self.clock == ClockState::default() {
            return;
        }
        let ClockState { guest_ns, host_realtime_ns } = &mut self.clock;
        if !has_invariant_tsc(cpuid) {
            *guest_ns = guest_ns.saturating_add(passed_ns);
        }
        *host_realtime_ns = host_realtime_ns.map(|at_ns| at_ns.saturating_add(passed_ns));
    }
}

fn has_invariant_tsc(cpuid: &[CpuidLeaf]) -> bool {
    cpuid.iter().any(|leaf| leaf.function == POWER_MANAGEMENT && leaf.edx & INVARIANT_TSC != 0)
}

impl CpuState {
    /// Has the TSC and the local APIC's timer go on by so many nanoseconds. A TSC whose frequency is not known stays. A
    /// deadline is one of the TSC's: it is due if it is reached.
    pub fn let_pass(&mut self, passed_ns: u64) {
        if let Some(khz) = self.tsc_khz {
            let ticks = (u128::from(passed_ns) * u128::from(khz) / KHZ_NS) as u64;
            for tsc in self.msrs.iter_mut().filter(|msr| msr.index == msr::TSC) {
                tsc.value = tsc.value.wrapping_add(ticks);
            }
        }
        self.lapic.let_pass(passed_ns);
    }
}

impl LapicState {
    /// A count that would be over by now has one tick left: it is due at once, and once.
    fn let_pass(&mut self, passed_ns: u64) {
        let register = |index: usize| self.registers.get(index).copied().unwrap_or(0);
        let mode = register(LVT_TIMER) >> TIMER_MODE_SHIFT & 3;
        let divide = register(TIMER_DIVIDE);
        if !matches!(mode, ONE_SHOT | PERIODIC) || register(TIMER_CURRENT) == 0 {
            return;
        }
        // A tick is a nanosecond, on both engines, before it is divided: by 2, 4, … 128, or 1 (SDM vol. 3, figure 11-10).
        let shift = ((divide & 3 | divide >> 1 & 4) + 1) & 7;
        let passed = u32::try_from(passed_ns >> shift).unwrap_or(u32::MAX);
        if let Some(current) = self.registers.get_mut(TIMER_CURRENT) {
            *current = current.saturating_sub(passed).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86_64::MsrValue;

    const MONTH_NS: u64 = 30 * 24 * 3600 * 1_000_000_000;
    const NOW_NS: u64 = 1_800_000_000_000_000_000;

    fn saved_at(host_realtime_ns: Option<u64>) -> PlatformState {
        let clock = ClockState { guest_ns: 7, host_realtime_ns };
        PlatformState { clock, ..PlatformState::default() }
    }

    #[test]
    fn age_is_never_negative_nor_absurd() {
        let age = |saved| saved_at(saved).age_ns(NOW_NS);
        assert_eq!(age(Some(NOW_NS - 5)), 5);
        assert_eq!(age(Some(NOW_NS - MONTH_NS)), MONTH_NS);
        for nothing in
            [None, Some(NOW_NS), Some(NOW_NS + 1), Some(u64::MAX), Some(0), Some(NOW_NS - AGE_MAX_NS - 1)]
        {
            assert_eq!(age(nothing), 0, "{nothing:?}");
        }
        assert_eq!(age(Some(NOW_NS - AGE_MAX_NS)), AGE_MAX_NS);
    }

    #[test]
    fn the_clock_goes_on() {
        let mut platform = saved_at(Some(NOW_NS));
        platform.let_pass(MONTH_NS, &[]);
        assert_eq!(
            platform.clock,
            ClockState { guest_ns: 7 + MONTH_NS, host_realtime_ns: Some(NOW_NS + MONTH_NS) }
        );
        assert_eq!(platform.age_ns(NOW_NS + MONTH_NS), 0, "it does not pass twice");
        // Told by the TSC: kvmclock stays.
        let leaf = CpuidLeaf { function: POWER_MANAGEMENT, edx: INVARIANT_TSC, ..CpuidLeaf::default() };
        let mut platform = saved_at(Some(NOW_NS));
        platform.let_pass(MONTH_NS, &[leaf]);
        assert_eq!(platform.clock, ClockState { guest_ns: 7, host_realtime_ns: Some(NOW_NS + MONTH_NS) });
        let mut none = PlatformState::default();
        none.let_pass(MONTH_NS, &[]);
        assert_eq!(none, PlatformState::default());
    }

    #[test]
    fn tscs_go_on_by_their_frequencies_and_deadlines_stay() {
        let msr = |index, value| MsrValue { index, value };
        let state = |tsc_khz| CpuState {
            msrs: vec![msr(msr::TSC_ADJUST, 1), msr(msr::TSC, 100), msr(msr::TSC_DEADLINE, 200)],
            tsc_khz,
            ..CpuState::default()
        };
        for (khz, ticks) in [(1_000_000, MONTH_NS), (2_500_000, MONTH_NS / 2 * 5), (500_000, MONTH_NS / 2)] {
            let mut passed = state(Some(khz));
            passed.let_pass(MONTH_NS);
            let values: Vec<u64> = passed.msrs.iter().map(|msr| msr.value).collect();
            assert_eq!(values, [1, 100 + ticks, 200], "{khz}");
        }
        let mut unknown = state(None);
        unknown.let_pass(MONTH_NS);
        assert_eq!(unknown, state(None));
    }

    #[test]
    fn a_count_goes_on_and_one_that_is_over_is_due_once() {
        let left = |mode: u32, divide: u32, current: u32, passed_ns: u64| {
            let mut registers = vec![0; 64];
            registers[LVT_TIMER] = mode << TIMER_MODE_SHIFT | 0xef;
            (registers[TIMER_CURRENT], registers[TIMER_DIVIDE]) = (current, divide);
            let mut lapic = LapicState { registers };
            lapic.let_pass(passed_ns);
            lapic.registers[TIMER_CURRENT]
        };
        // Divided by 1, 2, 16 and 128.
        for (divide, by) in [(0xb, 1), (0, 2), (3, 16), (0xa, 128)] {
            assert_eq!(left(ONE_SHOT, divide, 1000, 400 * by), 600, "by {by}");
            assert_eq!(left(PERIODIC, divide, 1000, 999 * by), 1, "by {by}");
            assert_eq!(left(ONE_SHOT, divide, 1000, 1000 * by), 1, "by {by}");
            assert_eq!(left(PERIODIC, divide, 1000, MONTH_NS), 1, "by {by}");
            assert_eq!(left(ONE_SHOT, divide, 0, MONTH_NS), 0, "one that stands");
        }
        assert_eq!(left(2, 0xb, 1000, 400), 1000, "a TSC deadline counts nothing");
        CpuState::default().let_pass(1);
    }
}
