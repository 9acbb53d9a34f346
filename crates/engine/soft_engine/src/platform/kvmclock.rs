//! kvmclock's structures in guest memory (Linux, `Documentation/virt/kvm/x86/msr.rst`).
//!
//! The guest takes `version` before and after the other fields and reads again if it changed or is odd.

use super::tsc::ToNanos;

/// `struct pvclock_vcpu_time_info`: how a vCPU's guest gets from its TSC to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeInfo {
    /// Even, and different from the one before.
    pub(crate) version: u32,
    /// This vCPU's TSC at some moment.
    pub(crate) tsc: u64,
    /// What its ticks are.
    pub(crate) to_nanos: ToNanos,
    /// kvmclock at the same moment, in nanoseconds.
    pub(crate) kvmclock_ns: u64,
    /// All vCPUs' TSCs are the same, so any of them may be used with this structure.
    pub(crate) stable: bool,
    /// The guest stood still. It clears this when it has told its watchdogs.
    pub(crate) stopped: bool,
}

/// `struct pvclock_wall_clock`: when kvmclock showed zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WallClock {
    /// Even, and different from the one before.
    pub(crate) version: u32,
    /// Time since 1970 at which kvmclock showed zero, in nanoseconds.
    pub(crate) start_ns: u64,
}

/// PVCLOCK_TSC_STABLE_BIT.
const TSC_STABLE: u8 = 1 << 0;
/// PVCLOCK_GUEST_STOPPED.
const GUEST_STOPPED: u8 = 1 << 1;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl TimeInfo {
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let TimeInfo { version, tsc, to_nanos, kvmclock_ns, stable, stopped } = self;
        let ToNanos { shift, multiplier } = to_nanos;
        let mut bytes = [0; 32];
        bytes[0..4].copy_from_slice(&version.to_le_bytes());
        bytes[8..16].copy_from_slice(&tsc.to_le_bytes());
        bytes[16..24].copy_from_slice(&kvmclock_ns.to_le_bytes());
        bytes[24..28].copy_from_slice(&multiplier.to_le_bytes());
        bytes[28] = shift.to_le_bytes()[0];
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        bytes[29] = flag(stable, TSC_STABLE) | flag(stopped, GUEST_STOPPED);
        bytes
    }
}

impl WallClock {
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let WallClock { version, start_ns } = self;
        let mut bytes = [0; 12];
        bytes[0..4].copy_from_slice(&version.to_le_bytes());
        bytes[4..8].copy_from_slice(&((start_ns / NANOS_PER_SECOND) as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&((start_ns % NANOS_PER_SECOND) as u32).to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Tsc;

    /// What a guest computes from the structure when its TSC shows `tsc`.
    fn guest_reads(bytes: &[u8; 32], tsc: u64) -> u64 {
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let multiplier = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
        let ticks = (tsc - field(8)) << bytes[28];
        field(16) + ((u128::from(ticks) * u128::from(multiplier)) >> 32) as u64
    }

    #[test]
    fn a_guest_reads_nanoseconds() {
        let to_nanos = Tsc::default().to_nanos();
        let info =
            TimeInfo { version: 2, tsc: 1_000, to_nanos, kvmclock_ns: 77_000, stable: true, stopped: false };
        let bytes = info.to_bytes();
        assert_eq!(bytes[0..8], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(guest_reads(&bytes, 1_000), 77_000);
        assert_eq!(guest_reads(&bytes, 1_001), 77_001);
        assert_eq!(guest_reads(&bytes, 3_600_000_001_000), 3_600_000_077_000);
        assert_eq!(bytes[29..], [1, 0, 0]);
        assert_eq!(TimeInfo { stable: false, ..info }.to_bytes()[29], 0);
        assert_eq!(TimeInfo { stopped: true, ..info }.to_bytes()[29], 3);
    }

    #[test]
    fn wall_clock_is_split_into_seconds_and_nanoseconds() {
        let bytes = WallClock { version: 4, start_ns: 1_700_000_000_000_000_123 }.to_bytes();
        assert_eq!(bytes[0..4], 4u32.to_le_bytes());
        assert_eq!(bytes[4..8], 1_700_000_000u32.to_le_bytes());
        assert_eq!(bytes[8..12], 123u32.to_le_bytes());
    }
}
