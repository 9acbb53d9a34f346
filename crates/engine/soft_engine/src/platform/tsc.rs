//! A vCPU's time-stamp counter, made of the VM's clock.
//!
//! ```text
//! TSC = clock in ns × frequency in kHz / 1,000,000 + offset
//! ```
//!
//! By default a tick is a nanosecond. A vCPU that was saved where the TSC has another frequency keeps that one.

/// Frequency of the guest's APIC timer, and of its TSC unless a state names another: both count nanoseconds.
pub(crate) const TSC_KHZ: u32 = 1_000_000;
/// kHz of a counter of nanoseconds.
const NANOS_KHZ: u64 = 1_000_000;

/// A time-stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tsc {
    khz: u32,
    /// Ticks a nanosecond: the whole part, and the rest in units of 2^-64.
    whole: u64,
    rest: u64,
    offset: u64,
}

/// How kvmclock makes nanoseconds of ticks: `(ticks << shift) * multiplier >> 32`, where a negative shift is one to the
/// right (Linux, `Documentation/virt/kvm/x86/msr.rst`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ToNanos {
    pub(crate) shift: i8,
    pub(crate) multiplier: u32,
}

impl Default for Tsc {
    fn default() -> Tsc {
        Tsc::of(TSC_KHZ)
    }
}

impl Tsc {
    /// A counter of this frequency that shows 0 when the clock does. Zero is no frequency; it counts as 1 kHz.
    fn of(khz: u32) -> Tsc {
        let khz = khz.max(1);
        let (whole, rest) = (u64::from(khz) / NANOS_KHZ, u64::from(khz) % NANOS_KHZ);
        let rest = (u128::from(rest) << 64) / u128::from(NANOS_KHZ);
        Tsc { khz, whole, rest: rest as u64, offset: 0 }
    }

    /// Its frequency.
    pub(crate) fn khz(&self) -> u32 {
        self.khz
    }

    /// What it shows when the clock shows `now_ns`.
    #[inline]
    pub(crate) fn at(&self, now_ns: u64) -> u64 {
        self.ticks(now_ns).wrapping_add(self.offset)
    }

    fn ticks(&self, ns: u64) -> u64 {
        let rest = (u128::from(ns) * u128::from(self.rest)) >> 64;
        ns.wrapping_mul(self.whole).wrapping_add(rest as u64)
    }

    /// Nanoseconds until it shows `value` or more, at `now_ns`; 0 if it does.
    pub(crate) fn nanos_until(&self, value: u64, now_ns: u64) -> u64 {
        let left = u128::from(value.saturating_sub(self.at(now_ns)));
        let ns = (left * u128::from(NANOS_KHZ)).div_ceil(u128::from(self.khz));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// The same, moved by so many ticks.
    pub(crate) fn moved(&self, ticks: u64) -> Tsc {
        Tsc { offset: self.offset.wrapping_add(ticks), ..*self }
    }

    /// The same, showing `value` at `now_ns`.
    pub(crate) fn showing(&self, value: u64, now_ns: u64) -> Tsc {
        Tsc { offset: value.wrapping_sub(self.ticks(now_ns)), ..*self }
    }

    /// With another frequency from `now_ns` on.
    pub(crate) fn with_khz(&self, khz: u32, now_ns: u64) -> Tsc {
        if khz == self.khz { *self } else { Tsc::of(khz).showing(self.at(now_ns), now_ns) }
    }

    /// How CPUID leaf 0x15 tells its frequency: denominator, numerator, crystal in Hz. The crystal is the APIC timer's, of
    /// 1 GHz, as nearly as a ratio allows that guests can calculate with: Linux multiplies crystal (in kHz) and
    /// numerator in 32 bits.
    pub(crate) fn ratio(&self) -> [u32; 3] {
        let khz = u64::from(self.khz);
        let denominator = match self.khz {
            TSC_KHZ => 1,
            0..4_000_000 => 1000,
            _ => 100,
        };
        let numerator = ((khz * denominator + NANOS_KHZ / 2) / NANOS_KHZ).max(1);
        [denominator as u32, numerator as u32, (khz * 1000 * denominator / numerator) as u32]
    }

    /// What kvmclock tells the guest of its frequency.
    pub(crate) fn to_nanos(self) -> ToNanos {
        // 2^32 nanoseconds a tick, brought to 2^31 and more but less than 2^32.
        let mut shift = 0i8;
        let mut scaled = (u128::from(NANOS_KHZ) << 64) / u128::from(self.khz);
        while scaled >= 1 << 64 {
            scaled >>= 1;
            shift += 1;
        }
        while scaled < 1 << 63 {
            scaled <<= 1;
            shift -= 1;
        }
        ToNanos { shift, multiplier: (scaled >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_a_tick_is_a_nanosecond() {
        let tsc = Tsc::default();
        assert_eq!((tsc.at(0), tsc.at(7), tsc.at(u64::MAX)), (0, 7, u64::MAX));
        assert_eq!(tsc.to_nanos(), ToNanos { shift: 1, multiplier: 1 << 31 });
    }

    #[test]
    fn ticks_follow_the_frequency() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        for khz in [1, 24_000, 999_999, 1_000_001, 2_596_120, 5_200_000, u32::MAX] {
            let tsc = Tsc::of(khz);
            let wanted = HOUR_NS / 1_000_000 * u64::from(khz);
            assert!(wanted - tsc.at(HOUR_NS) <= 1, "{khz} kHz: {wanted} and {}", tsc.at(HOUR_NS));
        }
    }

    #[test]
    fn a_new_frequency_goes_on_from_the_same_count() {
        let tsc = Tsc::default().moved(500).with_khz(2_000_000, 1_000);
        assert_eq!((tsc.khz(), tsc.at(1_000), tsc.at(1_010)), (2_000_000, 1_500, 1_520));
        assert_eq!(tsc.showing(7, 2_000).at(2_001), 9);
        assert_eq!(tsc.with_khz(2_000_000, 9_999), tsc);
    }

    #[test]
    fn deadlines_are_not_early() {
        let tsc = Tsc::of(2_596_120);
        for value in [1, 2, 3, 1_000_000, 123_456_789_012] {
            let ns = tsc.nanos_until(value, 0);
            assert!(tsc.at(ns + 1) >= value && tsc.at(ns.saturating_sub(1)) < value, "{value}: {ns}");
        }
        assert_eq!(tsc.nanos_until(tsc.at(5_000), 5_000), 0);
        assert_eq!(Tsc::of(1).nanos_until(u64::MAX, 0), u64::MAX);
    }

    #[test]
    fn a_guest_calculates_the_frequency_in_32_bits() {
        assert_eq!(Tsc::default().ratio(), [1, 1, 1_000_000_000]);
        for khz in [100_000u32, 999_999, 2_596_120, 3_999_999, 4_000_000, 5_800_000] {
            let [denominator, numerator, crystal_hz] = Tsc::of(khz).ratio();
            let product = (crystal_hz / 1000).checked_mul(numerator).expect("it fits into 32 bits");
            assert!((product / denominator).abs_diff(khz) <= 10, "{khz}: {}", product / denominator);
            assert!(crystal_hz.abs_diff(1_000_000_000) < 2_000_000, "{khz}: {crystal_hz}");
        }
    }

    #[test]
    fn kvmclock_gets_nanoseconds_back() {
        for khz in [1_000, 24_000, 2_596_120, 4_300_000] {
            let tsc = Tsc::of(khz);
            let ToNanos { shift, multiplier } = tsc.to_nanos();
            let ticks = tsc.at(10_000_000_000);
            let shifted = if shift < 0 { ticks >> -shift } else { ticks << shift };
            let ns = (u128::from(shifted) * u128::from(multiplier)) >> 32;
            assert!(10_000_000_000u128.abs_diff(ns) < 2_000, "{khz} kHz: {ns}");
        }
    }
}
