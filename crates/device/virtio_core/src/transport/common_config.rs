//! The common configuration structure (4.1.4.3): registers in, registers out.

use device_model::{read_register, write_register};

use super::VirtioPci;
use super::spec::{
    COMMON_SIZE, CONFIG_GENERATION, CONFIG_VECTOR, DEVICE_FEATURE, DEVICE_FEATURE_SELECT, DEVICE_STATUS,
    DRIVER_FEATURE, DRIVER_FEATURE_SELECT, NO_VECTOR, NUM_QUEUES, QUEUE_AVAILABLE, QUEUE_DESCRIPTORS,
    QUEUE_ENABLE, QUEUE_NOTIFY_OFFSET, QUEUE_SELECT, QUEUE_SIZE, QUEUE_USED, QUEUE_VECTOR,
};

impl VirtioPci {
    /// Reads at any offset and width.
    pub(super) fn read_common(&self, offset: u64, data: &mut [u8]) {
        read_register(&self.common_registers(), offset as usize, data);
    }

    /// Writes one register at its width (4.1.3.1); other writes are dropped.
    pub(super) fn write_common(&mut self, offset: u64, data: &[u8]) {
        let mut bytes = [0; 8];
        write_register(&mut bytes, 0, data);
        let value = u64::from_le_bytes(bytes);
        match (offset, data.len()) {
            (DEVICE_FEATURE_SELECT, 4) => self.negotiation.device_feature_select = value as u32,
            (DRIVER_FEATURE_SELECT, 4) => self.negotiation.driver_feature_select = value as u32,
            (DRIVER_FEATURE, 4) => self.negotiation.write_driver_feature(value as u32),
            (CONFIG_VECTOR, 2) => self.interrupts.set_config_vector(value as u16),
            (DEVICE_STATUS, 1) => self.write_status(value as u8),
            (QUEUE_SELECT, 2) => self.negotiation.queue_select = value as u16,
            (QUEUE_SIZE.., len) => self.write_queue(offset, len, value),
            _ => {}
        }
    }

    fn write_queue(&mut self, register: u64, len: usize, value: u64) {
        let index = usize::from(self.negotiation.queue_select);
        let Some(slot) = self.queues.get_mut(index) else { return };
        if (register, len) == (QUEUE_VECTOR, 2) {
            self.interrupts.set_queue_vector(index, value as u16);
        } else {
            slot.write(register, len, value);
            // A queue may be enabled while the others run already.
            self.start_queues();
        }
    }

    /// All registers as they read now. Those of a queue that does not exist are zero, and it has no vector.
    fn common_registers(&self) -> [u8; COMMON_SIZE] {
        let mut registers = [0; COMMON_SIZE];
        let mut put = |offset: u64, bytes: &[u8]| write_register(&mut registers, offset as usize, bytes);
        let negotiation = &self.negotiation;
        put(DEVICE_FEATURE_SELECT, &negotiation.device_feature_select.to_le_bytes());
        put(DEVICE_FEATURE, &negotiation.device_feature(self.offered()).to_le_bytes());
        put(DRIVER_FEATURE_SELECT, &negotiation.driver_feature_select.to_le_bytes());
        put(DRIVER_FEATURE, &negotiation.driver_feature().to_le_bytes());
        put(CONFIG_VECTOR, &self.interrupts.config_vector().to_le_bytes());
        put(NUM_QUEUES, &(self.queues.len() as u16).to_le_bytes());
        put(DEVICE_STATUS, &[negotiation.status() | self.interrupts.status()]);
        put(CONFIG_GENERATION, &[self.interrupts.generation()]);
        put(QUEUE_SELECT, &negotiation.queue_select.to_le_bytes());
        put(QUEUE_VECTOR, &NO_VECTOR.to_le_bytes());
        let index = usize::from(negotiation.queue_select);
        if let Some(setup) = self.queues.get(index).map(super::QueueSlot::setup) {
            put(QUEUE_SIZE, &setup.size.to_le_bytes());
            put(QUEUE_VECTOR, &self.interrupts.queue_vector(index).to_le_bytes());
            put(QUEUE_ENABLE, &u16::from(setup.enabled).to_le_bytes());
            put(QUEUE_NOTIFY_OFFSET, &negotiation.queue_select.to_le_bytes());
            put(QUEUE_DESCRIPTORS, &setup.descriptors.to_le_bytes());
            put(QUEUE_AVAILABLE, &setup.available.to_le_bytes());
            put(QUEUE_USED, &setup.used.to_le_bytes());
        }
        registers
    }
}
