//! The function at 00:00.0: present so that operating systems find a bus, otherwise inert.

use device_model::{BarRegion, PciFunction};

use crate::spec::CLASS_HOST_BRIDGE;
use crate::{ConfigSpace, Identity};

/// Red Hat's generic PCI Express host bridge: no driver binds to it and no quirk is known for it
/// (`pci_ids.h` of Linux, `PCI_VENDOR_ID_REDHAT`).
const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0008,
    class: CLASS_HOST_BRIDGE,
    revision: 0,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
};

/// The host bridge.
pub(super) struct HostBridge {
    pub(super) config: ConfigSpace,
}

impl HostBridge {
    pub(super) fn new() -> HostBridge {
        HostBridge { config: ConfigSpace::new(IDENTITY, &[]) }
    }
}

impl PciFunction for HostBridge {
    fn bars(&self) -> Vec<BarRegion> {
        Vec::new()
    }

    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
    }

    fn bar_address(&self, _index: u8) -> Option<u64> {
        None
    }

    fn bar_moved(&mut self, _index: u8, _address: Option<u64>) {}

    fn bar_read(&mut self, _index: u8, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn bar_write(&mut self, _index: u8, _offset: u64, _data: &[u8]) {}
}
