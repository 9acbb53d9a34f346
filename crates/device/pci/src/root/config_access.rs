//! The two ways to configuration space: ports 0xcf8 to 0xcff (3.2.2.3.2) and memory (PCI Express 3.0, 7.2.2).
//!
//! Functions see naturally aligned accesses of 1, 2 or 4 bytes; whatever the guest does is cut into those.

use std::sync::atomic::Ordering;

use device_model::lock;

use super::{PciRoot, Slot};
use crate::spec::{CONFIG_ADDRESS_ENABLE, CONFIG_DATA_PORT, CONFIG_PORTS};

/// A register of a function: what both ways decode to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConfigAddress {
    bus: u8,
    device: u8,
    function: u8,
    register: u16,
}

impl ConfigAddress {
    /// From the offset into the memory window (PCI Express 3.0, table 7-1). `None` behind the last bus.
    fn from_ecam(offset: u64) -> Option<ConfigAddress> {
        Some(ConfigAddress {
            bus: u8::try_from(offset >> 20).ok()?,
            device: (offset >> 15 & 0x1f) as u8,
            function: (offset >> 12 & 7) as u8,
            register: (offset & 0xfff) as u16,
        })
    }

    /// From the address port and the byte of the data port. `None` while the enable bit is off.
    fn from_ports(address: u32, byte: u16) -> Option<ConfigAddress> {
        (address & CONFIG_ADDRESS_ENABLE != 0).then_some(ConfigAddress {
            bus: (address >> 16) as u8,
            device: (address >> 11 & 0x1f) as u8,
            function: (address >> 8 & 7) as u8,
            register: (address & 0xfc) as u16 + byte,
        })
    }

    fn slot(self) -> Option<Slot> {
        (self.bus == 0 && self.function == 0).then_some(Slot(self.device))
    }
}

impl PciRoot {
    /// The guest's read at `offset` of the ECAM window.
    pub fn ecam_read(&self, offset: u64, data: &mut [u8]) {
        for (at, range) in aligned_pieces(offset, data.len()) {
            self.config_read(ConfigAddress::from_ecam(at), &mut data[range]);
        }
    }

    /// The guest's write at `offset` of the ECAM window.
    pub fn ecam_write(&self, offset: u64, data: &[u8]) {
        for (at, range) in aligned_pieces(offset, data.len()) {
            self.config_write(ConfigAddress::from_ecam(at), &data[range]);
        }
    }

    /// The guest's read at `offset` from port 0xcf8. The address port is one of 32 bits: narrower reads of it
    /// find no device.
    pub fn config_port_read(&self, offset: u16, data: &mut [u8]) {
        let address = self.bus.config_address.load(Ordering::SeqCst);
        if offset == 0 && data.len() == 4 {
            data.copy_from_slice(&address.to_le_bytes());
            return;
        }
        for (at, range) in aligned_pieces(u64::from(offset), data.len()) {
            self.config_read(data_port(address, at), &mut data[range]);
        }
    }

    /// The guest's write at `offset` from port 0xcf8.
    pub fn config_port_write(&self, offset: u16, data: &[u8]) {
        if let (0, Ok(bytes)) = (offset, <[u8; 4]>::try_from(data)) {
            self.bus.config_address.store(u32::from_le_bytes(bytes), Ordering::SeqCst);
            return;
        }
        let address = self.bus.config_address.load(Ordering::SeqCst);
        for (at, range) in aligned_pieces(u64::from(offset), data.len()) {
            self.config_write(data_port(address, at), &data[range]);
        }
    }

    fn config_read(&self, address: Option<ConfigAddress>, data: &mut [u8]) {
        let found = address.and_then(|address| Some((address.register, self.function(address.slot()?)?)));
        match found {
            Some((register, attached)) => lock(&attached.function).config_read(register, data),
            None => data.fill(0xff),
        }
    }

    fn config_write(&self, address: Option<ConfigAddress>, data: &[u8]) {
        let found = address.and_then(|address| Some((address.register, self.function(address.slot()?)?)));
        if let Some((register, attached)) = found {
            let mut function = lock(&attached.function);
            function.config_write(register, data);
            self.follow(&attached, &mut *function);
        }
    }
}

/// What the byte at `offset` from the address port is connected to.
fn data_port(address: u32, offset: u64) -> Option<ConfigAddress> {
    let offset =
        u16::try_from(offset).ok().filter(|offset| (CONFIG_DATA_PORT..CONFIG_PORTS).contains(offset))?;
    ConfigAddress::from_ports(address, offset - CONFIG_DATA_PORT)
}

/// Cuts `len` bytes at `offset` into naturally aligned pieces of 1, 2 or 4 bytes: offset and range in the
/// data of each.
fn aligned_pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = len.checked_sub(done).filter(|left| *left > 0)?;
        let at = offset.saturating_add(done as u64);
        let fitting = [4, 2].into_iter().find(|size| *size <= left && at.is_multiple_of(*size as u64));
        let range = done..done + fitting.unwrap_or(1);
        done = range.end;
        Some((at, range))
    })
}
