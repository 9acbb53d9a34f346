//! Device status and features (2.1, 2.2, 3.1.1): decides, and leaves the acting to the transport.

use serde::{Deserialize, Serialize};

use super::spec::{STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK, STATUS_FAILED, STATUS_FEATURES_OK};
use crate::VIRTIO_F_VERSION_1;

/// Bits that a driver can set.
const DRIVER_BITS: u8 =
    STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK | STATUS_FAILED;

/// How far the driver has got. Also its own saved form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Negotiation {
    status: u8,
    driver_features: u64,
    /// Register `device_feature_select`.
    pub(super) device_feature_select: u32,
    /// Register `driver_feature_select`.
    pub(super) driver_feature_select: u32,
    /// Register `queue_select`.
    pub(super) queue_select: u16,
}

/// What a write to the status register asks of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// Forget the driver.
    Reset,
    /// Start the queues.
    Start,
}

impl Negotiation {
    /// The driver's write. Bits that are set stay set until a reset (2.1.1); `FEATURES_OK` is refused where the
    /// features cannot be (2.2.2), `DRIVER_OK` where features were not agreed on.
    pub(super) fn write_status(&mut self, value: u8, offered: u64) -> Step {
        if value == 0 {
            return Step::Reset;
        }
        let mut added = value & DRIVER_BITS & !self.status;
        if added & STATUS_FEATURES_OK != 0 && !acceptable(self.driver_features, offered) {
            added &= !STATUS_FEATURES_OK;
        }
        self.status |= added & !STATUS_DRIVER_OK;
        if added & STATUS_DRIVER_OK != 0 && self.is_features_ok() {
            self.status |= STATUS_DRIVER_OK;
            return Step::Start;
        }
        Step::Stay
    }

    /// The status register, without `DEVICE_NEEDS_RESET`.
    pub(super) fn status(&self) -> u8 {
        self.status
    }

    /// Whether queues are to run.
    pub(super) fn is_driver_ok(&self) -> bool {
        self.status & STATUS_DRIVER_OK != 0
    }

    fn is_features_ok(&self) -> bool {
        self.status & STATUS_FEATURES_OK != 0
    }

    /// What the driver accepted; final once `FEATURES_OK` is set.
    pub(super) fn driver_features(&self) -> u64 {
        self.driver_features
    }

    /// 32 of the `offered` bits, as selected.
    pub(super) fn device_feature(&self, offered: u64) -> u32 {
        half(offered, self.device_feature_select)
    }

    /// 32 of the accepted bits, as selected.
    pub(super) fn driver_feature(&self) -> u32 {
        half(self.driver_features, self.driver_feature_select)
    }

    /// The driver's write to the accepted bits: dropped once they are agreed on, and for bits above 63.
    pub(super) fn write_driver_feature(&mut self, value: u32) {
        let shift = match self.driver_feature_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        if !self.is_features_ok() {
            let kept = self.driver_features & !(0xffff_ffff << shift);
            self.driver_features = kept | u64::from(value) << shift;
        }
    }

    /// Whether a driver can have got here, for state from a file.
    pub(super) fn is_reachable(&self, offered: u64) -> bool {
        let features_ok = !self.is_features_ok() || acceptable(self.driver_features, offered);
        let driver_ok = !self.is_driver_ok() || self.is_features_ok();
        self.status & !DRIVER_BITS == 0 && features_ok && driver_ok
    }
}

/// Only bits that were offered, and the modern interface (6.1).
fn acceptable(accepted: u64, offered: u64) -> bool {
    accepted & !offered == 0 && accepted & VIRTIO_F_VERSION_1 != 0
}

fn half(bits: u64, select: u32) -> u32 {
    match select {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: u64 = VIRTIO_F_VERSION_1 | 0b110;
    const FOUND: u8 = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
    const AGREED: u8 = FOUND | STATUS_FEATURES_OK;

    fn accepted(features: u64) -> Negotiation {
        let mut negotiation = Negotiation::default();
        for select in 0..3 {
            negotiation.driver_feature_select = select;
            negotiation.write_driver_feature(half(features, select));
        }
        negotiation
    }

    #[test]
    fn status_follows_the_driver() {
        use Step::{Reset, Start, Stay};
        // (accepted features, values written, status afterwards, last step)
        let cases: [(u64, &[u8], u8, Step); 11] = [
            (OFFERED, &[1, FOUND], FOUND, Stay),
            (OFFERED, &[FOUND, AGREED], AGREED, Stay),
            (VIRTIO_F_VERSION_1, &[AGREED], AGREED, Stay),
            (0b110, &[AGREED], FOUND, Stay),
            (OFFERED | 1, &[AGREED], FOUND, Stay),
            (OFFERED, &[AGREED, AGREED | STATUS_DRIVER_OK], 0xf, Start),
            (OFFERED, &[0xf], 0xf, Start),
            (OFFERED, &[0xf, 0xf], 0xf, Stay),
            (OFFERED, &[FOUND | STATUS_DRIVER_OK], FOUND, Stay),
            (OFFERED, &[0xff, 1], 0x8f, Stay),
            (OFFERED, &[AGREED, 0], AGREED, Reset),
        ];
        for (features, writes, status, last) in cases {
            let mut negotiation = accepted(features);
            let steps: Vec<Step> =
                writes.iter().map(|value| negotiation.write_status(*value, OFFERED)).collect();
            assert_eq!(
                (negotiation.status(), steps.last()),
                (status, Some(&last)),
                "{features:#x} {writes:?}"
            );
            assert!(negotiation.is_reachable(OFFERED));
        }
    }

    #[test]
    fn features_are_final_once_agreed() {
        let mut negotiation = accepted(OFFERED);
        negotiation.write_status(AGREED, OFFERED);
        negotiation.driver_feature_select = 0;
        negotiation.write_driver_feature(0);
        assert_eq!(negotiation.driver_features(), OFFERED);
        assert_eq!(negotiation.driver_feature(), 0b110);
        negotiation.driver_feature_select = u32::MAX;
        assert_eq!(negotiation.driver_feature(), 0);
    }

    #[test]
    fn unreachable_states_are_told_apart() {
        let state =
            |status, driver_features| Negotiation { status, driver_features, ..Negotiation::default() };
        assert!(state(FOUND, 1).is_reachable(OFFERED));
        for negotiation in [state(0x40, 0), state(AGREED, OFFERED | 1), state(4, OFFERED), state(AGREED, 0)] {
            assert!(!negotiation.is_reachable(OFFERED), "{negotiation:?}");
        }
    }
}
