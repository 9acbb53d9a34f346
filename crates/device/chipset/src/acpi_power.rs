//! Power-off and reset of a hardware-reduced ACPI machine: sleep control and status registers
//! (ACPI 6.4, 4.8.3.7) and the reset register (4.8.3.6). The FADT points at them.

use std::sync::Arc;

use device_model::{Device, PortIo, PowerRequest, PowerSink, Saved, Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::ports::{read_bytes, write_bytes};

/// Port of the sleep control register, from the block's first (ACPI 6.4, 4.8.3.7.1).
pub const SLEEP_CONTROL_OFFSET: u16 = 0;
/// Port of the sleep status register (ACPI 6.4, 4.8.3.7.2).
pub const SLEEP_STATUS_OFFSET: u16 = 1;
/// Port of the reset register (ACPI 6.4, 4.8.3.6).
pub const RESET_OFFSET: u16 = 2;
/// What resets the machine when written to the reset register (ACPI 6.4, 5.2.9, RESET_VALUE).
pub const RESET_VALUE: u8 = 1;
/// Sleep type that `\_S5` names: soft off (ACPI 6.4, 7.4.2.6).
pub const SLEEP_TYPE_S5: u8 = 5;

/// Sleep control: SLP_EN, reads as zero (ACPI 6.4, table 4.20).
const SLEEP_ENABLE: u8 = 1 << 5;
/// Sleep control: SLP_TYP (ACPI 6.4, table 4.20).
const SLEEP_TYPE_SHIFT: u32 = 2;
const SLEEP_TYPE_MASK: u8 = 7 << SLEEP_TYPE_SHIFT;

/// The ACPI power block. Three ports.
pub struct AcpiPower {
    /// SLP_TYP as last written, in place.
    control: u8,
    power: Arc<dyn PowerSink>,
}

/// Saved state of an [`AcpiPower`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcpiPowerState {
    control: u8,
}

impl AcpiPower {
    /// A power block that asks `power`.
    pub fn new(power: Arc<dyn PowerSink>) -> AcpiPower {
        AcpiPower { control: 0, power }
    }

    /// The machine knows one sleeping state, S5; it never wakes, so the status register stays zero.
    fn read(&self, register: u16) -> u8 {
        match register {
            SLEEP_CONTROL_OFFSET => self.control,
            SLEEP_STATUS_OFFSET | RESET_OFFSET => 0,
            _ => 0xff,
        }
    }

    fn write(&mut self, register: u16, value: u8) {
        match register {
            SLEEP_CONTROL_OFFSET => {
                self.control = value & SLEEP_TYPE_MASK;
                if value & SLEEP_ENABLE != 0 {
                    self.sleep(self.control >> SLEEP_TYPE_SHIFT);
                }
            }
            RESET_OFFSET if value == RESET_VALUE => self.power.request(PowerRequest::Reset),
            _ => {}
        }
    }

    fn sleep(&self, sleep_type: u8) {
        if sleep_type == SLEEP_TYPE_S5 {
            self.power.request(PowerRequest::Shutdown);
        } else {
            debug!(device = "acpi-power", sleep_type, "guest asked for a sleeping state that is not offered");
        }
    }
}

impl PortIo for AcpiPower {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        read_bytes(offset, data, |register| self.read(register));
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        write_bytes(offset, data, |register, value| self.write(register, value));
    }
}

impl Device for AcpiPower {
    fn id(&self) -> &str {
        "acpi-power"
    }

    fn reset(&mut self) {
        self.control = 0;
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for AcpiPower {
    const VERSION: u32 = 1;
    type State = AcpiPowerState;

    fn save(&self) -> Saved<AcpiPowerState> {
        let AcpiPower { control, power: _ } = self;
        Saved::State(AcpiPowerState { control: *control })
    }

    fn restore(&mut self, state: AcpiPowerState) -> Result<(), SnapshotError> {
        if state.control & !SLEEP_TYPE_MASK != 0 {
            return Err(SnapshotError::Invalid("the sleep control register has bits that do not exist"));
        }
        self.control = state.control;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::AnySnapshot;
    use device_model::fake::FakePower;

    #[test]
    fn only_s5_with_enable_shuts_down_and_only_the_value_resets() {
        let power = Arc::new(FakePower::default());
        let mut block = AcpiPower::new(power.clone());
        let cases: [(u16, u8, &[PowerRequest]); 8] = [
            (SLEEP_CONTROL_OFFSET, 5 << 2, &[]),
            (SLEEP_CONTROL_OFFSET, 5 << 2 | 0x20, &[PowerRequest::Shutdown]),
            (SLEEP_CONTROL_OFFSET, 3 << 2 | 0x20, &[]),
            (SLEEP_CONTROL_OFFSET, 0xff, &[]),
            (SLEEP_STATUS_OFFSET, 0xff, &[]),
            (RESET_OFFSET, 0, &[]),
            (RESET_OFFSET, RESET_VALUE, &[PowerRequest::Reset]),
            (3, 1, &[]),
        ];
        for (offset, value, requests) in cases {
            block.port_write(offset, &[value]);
            assert_eq!(power.take(), requests, "{offset} {value:#x}");
        }
    }

    #[test]
    fn sleep_type_reads_back_and_is_saved() {
        let mut block = AcpiPower::new(Arc::new(FakePower::default()));
        block.port_write(SLEEP_CONTROL_OFFSET, &[0xff]);
        let mut data = [0; 4];
        block.port_read(SLEEP_CONTROL_OFFSET, &mut data);
        assert_eq!(data, [0x1c, 0, 0, 0xff]);
        device_harness::golden::check(
            concat!(env!("CARGO_MANIFEST_DIR"), "/states/acpi-power-v1.bin"),
            &block.save_bytes().unwrap().unwrap(),
        );
        let Saved::State(state) = block.save() else { panic!("the block has state") };
        let mut other = AcpiPower::new(Arc::new(FakePower::default()));
        other.restore(state).unwrap();
        assert_eq!(other.control, 0x1c);
        assert!(other.restore(AcpiPowerState { control: 0x20 }).is_err());
        other.reset();
        assert_eq!(other.control, 0);
        crate::ports::tests::hammer(&mut other, |_, _| {});
    }
}
