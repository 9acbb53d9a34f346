//! What the six modes make of a count: counting element and output as functions of the pulses since the count
//! was loaded (8254 data sheet, "Mode Definitions", figures 15 to 20). Nothing ticks.

use serde::{Deserialize, Serialize};

/// A counter's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mode {
    /// 0: OUT goes high at the end of the count.
    TerminalCount,
    /// 1: OUT is low for the count after GATE rises.
    OneShot,
    /// 2: OUT is low for one pulse in each count.
    RateGenerator,
    /// 3: OUT is high for one half of each count and low for the other.
    SquareWave,
    /// 4: OUT is low for one pulse at the end of the count.
    SoftwareStrobe,
    /// 5: like 4, started by GATE.
    HardwareStrobe,
}

impl Mode {
    /// The mode of a control word's three bits.
    pub(super) fn from_bits(bits: u8) -> Mode {
        match bits {
            0 => Mode::TerminalCount,
            1 => Mode::OneShot,
            2 | 6 => Mode::RateGenerator,
            3 | 7 => Mode::SquareWave,
            4 => Mode::SoftwareStrobe,
            _ => Mode::HardwareStrobe,
        }
    }

    /// Its bits as the status shows them.
    pub(super) fn bits(self) -> u8 {
        match self {
            Mode::TerminalCount => 0,
            Mode::OneShot => 1,
            Mode::RateGenerator => 2,
            Mode::SquareWave => 3,
            Mode::SoftwareStrobe => 4,
            Mode::HardwareStrobe => 5,
        }
    }

    /// Begins anew at the end of each count.
    pub(super) fn is_periodic(self) -> bool {
        matches!(self, Mode::RateGenerator | Mode::SquareWave)
    }

    /// Starts when GATE rises, not when the count is written.
    pub(super) fn waits_for_gate(self) -> bool {
        matches!(self, Mode::OneShot | Mode::HardwareStrobe)
    }

    /// OUT before the first count: only mode 0 begins low.
    pub(super) fn idle_out(self) -> bool {
        self != Mode::TerminalCount
    }

    /// OUT, `elapsed` pulses after the count `n` was loaded.
    pub(super) fn out(self, n: u64, elapsed: u64) -> bool {
        match self {
            Mode::TerminalCount | Mode::OneShot => elapsed >= n,
            Mode::RateGenerator => elapsed % n != n - 1,
            Mode::SquareWave => elapsed % n < n.div_ceil(2),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != n,
        }
    }

    /// The counting element, `elapsed` pulses after the count `n` was loaded; it wraps at `modulus`.
    pub(super) fn count(self, n: u64, elapsed: u64, modulus: u64) -> u64 {
        match self {
            Mode::RateGenerator => n - elapsed % n,
            Mode::SquareWave => {
                // Counts down by two in each half; an odd count is loaded less one.
                let (phase, high) = (elapsed % n, n.div_ceil(2));
                let into_half = if phase < high { phase } else { phase - high };
                (n & !1).saturating_sub(2 * into_half)
            }
            _ => (n + modulus - elapsed % modulus) % modulus,
        }
    }

    /// Rising edges of OUT in the first `elapsed` pulses after the count `n` was loaded.
    pub(super) fn rises(self, n: u64, elapsed: u64) -> u64 {
        match self {
            Mode::RateGenerator | Mode::SquareWave => elapsed / n,
            _ => u64::from(elapsed >= self.first_rise(n)),
        }
    }

    /// Pulses from the load to the first rising edge of OUT.
    pub(super) fn first_rise(self, n: u64) -> u64 {
        match self {
            Mode::SoftwareStrobe | Mode::HardwareStrobe => n + 1,
            _ => n,
        }
    }
}
