//! Addresses to devices. Built once, then read by all vCPU threads without a lock of its own.
//!
//! Lock order: the bus has none; a device's lock is taken for one access and held during nothing else. The
//! PCI root is asked directly, since several vCPUs may be in it at once.

use arch_model::x86_64::layout::PCI_CONFIG_PORT;
use device_model::{Mmio, PortIo, Shared, lock};
use pci::PciRoot;
use vcpu_model::GuestIo;
use vm_spec::blueprint::Range;

/// Ports of the PCI configuration mechanism: address and data, four each.
const PCI_CONFIG_PORTS: u64 = 8;

/// The guest's two address spaces as far as devices answer in them.
pub struct Bus {
    ports: Vec<Window<Shared<dyn PortIo>>>,
    mmio: Vec<Window<Shared<dyn Mmio>>>,
    pci: PciRoot,
    /// PCI configuration space.
    ecam: Range,
}

struct Window<D> {
    start: u64,
    len: u64,
    /// The device's own offset at `start`.
    first_offset: u64,
    device: D,
}

/// Two devices claim one address: a mistake in the machine's wiring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two devices claim addresses {start:#x} to {end:#x}")]
pub struct Overlap {
    start: u64,
    end: u64,
}

impl Bus {
    /// A bus that leads what no other device claims to the PCI root, whose configuration space is at `ecam`.
    pub fn new(pci: PciRoot, ecam: Range) -> Bus {
        Bus { ports: Vec::new(), mmio: Vec::new(), pci, ecam }
    }

    /// Brings the PCI root's routes in line after functions were restored.
    pub(crate) fn follow_pci(&self) {
        self.pci.follow_all();
    }

    /// Gives `count` ports from `first` to `device`.
    pub fn attach_ports(
        &mut self,
        first: u16,
        count: u16,
        device: Shared<dyn PortIo>,
    ) -> Result<(), Overlap> {
        self.attach_more_ports(first, count, 0, device)
    }

    /// Gives `count` ports from `first` to `device`, whose offset there is `first_offset`: for a chip whose ports
    /// are not in one row.
    pub fn attach_more_ports(
        &mut self,
        first: u16,
        count: u16,
        first_offset: u16,
        device: Shared<dyn PortIo>,
    ) -> Result<(), Overlap> {
        let first_offset = first_offset.into();
        insert(&mut self.ports, Window { start: first.into(), len: count.into(), first_offset, device })
    }

    /// Gives `size_bytes` addresses from `start` to `device`.
    pub fn attach_mmio(
        &mut self,
        start: u64,
        size_bytes: u64,
        device: Shared<dyn Mmio>,
    ) -> Result<(), Overlap> {
        insert(&mut self.mmio, Window { start, len: size_bytes, first_offset: 0, device })
    }
}

/// Keeps windows in ascending order and apart.
fn insert<D>(windows: &mut Vec<Window<D>>, new: Window<D>) -> Result<(), Overlap> {
    let at = windows.partition_point(|window| window.start < new.start);
    let end = new.start + new.len;
    let before = at.checked_sub(1).map(|index| &windows[index]);
    let hits_before = before.is_some_and(|window| window.start + window.len > new.start);
    let hits_after = windows.get(at).is_some_and(|window| window.start < end);
    if hits_before || hits_after {
        return Err(Overlap { start: new.start, end: end - 1 });
    }
    windows.insert(at, new);
    Ok(())
}

/// The device whose window holds all of an access, and the offset into it.
fn find<D>(windows: &[Window<D>], address: u64, len: usize) -> Option<(&D, u64)> {
    let at = windows.partition_point(|window| window.start <= address).checked_sub(1)?;
    let window = &windows[at];
    let offset = offset_in(address, len, window.start, window.len)?;
    Some((&window.device, window.first_offset + offset))
}

/// Offset of an access of `len` bytes into a window, if all of it lies inside.
fn offset_in(address: u64, len: usize, start: u64, size_bytes: u64) -> Option<u64> {
    let offset = address.checked_sub(start)?;
    offset.checked_add(len as u64).is_some_and(|end| end <= size_bytes).then_some(offset)
}

fn pci_port(port: u16, len: usize) -> Option<u16> {
    offset_in(port.into(), len, PCI_CONFIG_PORT.into(), PCI_CONFIG_PORTS).map(|offset| offset as u16)
}

impl GuestIo for Bus {
    fn port_read(&self, port: u16, data: &mut [u8]) {
        if let Some((device, offset)) = find(&self.ports, port.into(), data.len()) {
            lock(device).port_read(offset as u16, data);
        } else if let Some(offset) = pci_port(port, data.len()) {
            self.pci.config_port_read(offset, data);
        } else {
            data.fill(0xff);
        }
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        if let Some((device, offset)) = find(&self.ports, port.into(), data.len()) {
            lock(device).port_write(offset as u16, data);
        } else if let Some(offset) = pci_port(port, data.len()) {
            self.pci.config_port_write(offset, data);
        }
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        if let Some((device, offset)) = find(&self.mmio, address, data.len()) {
            lock(device).mmio_read(offset, data);
        } else if let Some(offset) = offset_in(address, data.len(), self.ecam.start, self.ecam.size_bytes) {
            self.pci.ecam_read(offset, data);
        } else {
            self.pci.memory_read(address, data);
        }
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        if let Some((device, offset)) = find(&self.mmio, address, data.len()) {
            lock(device).mmio_write(offset, data);
        } else if let Some(offset) = offset_in(address, data.len(), self.ecam.start, self.ecam.size_bytes) {
            self.pci.ecam_write(offset, data);
        } else {
            self.pci.memory_write(address, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::shared;
    use pci::{Window as PciRange, Windows};

    const ECAM_BASE: u64 = 0xe000_0000;

    fn empty_bus() -> Bus {
        let window = |base| PciRange { base, size_bytes: 0x1000_0000 };
        let windows = Windows { memory32: window(0xc000_0000), memory64: window(0x8_0000_0000) };
        Bus::new(PciRoot::new(windows), Range { start: ECAM_BASE, size_bytes: 0x10_0000 })
    }

    struct Echo(u8, Vec<(u64, Vec<u8>)>);

    impl Mmio for Echo {
        fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(self.0 + offset as u8);
        }

        fn mmio_write(&mut self, offset: u64, data: &[u8]) {
            self.1.push((offset, data.to_vec()));
        }
    }

    impl PortIo for Echo {
        fn port_read(&mut self, offset: u16, data: &mut [u8]) {
            data.fill(self.0 + offset as u8);
        }

        fn port_write(&mut self, offset: u16, data: &[u8]) {
            self.1.push((offset.into(), data.to_vec()));
        }
    }

    #[test]
    fn accesses_reach_the_device_that_holds_them_whole() {
        let mut bus = empty_bus();
        let (low, high) = (shared(Echo(0x10, vec![])), shared(Echo(0x20, vec![])));
        bus.attach_ports(0x60, 5, high.clone()).unwrap();
        bus.attach_ports(0x40, 4, low.clone()).unwrap();
        let read = |bus: &Bus, port, len| {
            let mut data = vec![0; len];
            bus.port_read(port, &mut data);
            data
        };
        assert_eq!(read(&bus, 0x41, 1), [0x11]);
        assert_eq!(read(&bus, 0x64, 1), [0x24]);
        assert_eq!(read(&bus, 0x64, 2), [0xff; 2], "crosses the end of a window");
        assert_eq!(read(&bus, 0x65, 1), [0xff]);
        assert_eq!(read(&bus, 0x3f, 1), [0xff]);
        bus.port_write(0x43, &[1]);
        bus.port_write(0x44, &[2]);
        assert_eq!(lock(&low).1, [(3, vec![1])]);
        bus.attach_more_ports(0x70, 1, 4, low).unwrap();
        assert_eq!(read(&bus, 0x70, 1), [0x14]);
    }

    #[test]
    fn windows_may_touch_but_not_overlap() {
        let mut bus = empty_bus();
        let device = || shared(Echo(0, vec![]));
        bus.attach_mmio(0x1000, 0x1000, device()).unwrap();
        bus.attach_mmio(0x2000, 0x1000, device()).unwrap();
        bus.attach_mmio(0, 0x1000, device()).unwrap();
        for (start, len) in [(0x1fff, 1), (0xfff, 2), (0, 0x10000), (0x1800, 8)] {
            assert!(bus.attach_mmio(start, len, device()).is_err(), "{start:#x}");
        }
        let mut data = [0; 4];
        bus.mmio_read(u64::MAX - 1, &mut data);
        assert_eq!(data, [0xff; 4]);
    }

    #[test]
    fn configuration_space_is_reached_both_ways() {
        let bus = empty_bus();
        let (mut by_memory, mut by_port) = ([0; 4], [0; 4]);
        bus.mmio_read(ECAM_BASE, &mut by_memory);
        bus.port_write(0xcf8, &0x8000_0000u32.to_le_bytes());
        bus.port_read(0xcfc, &mut by_port);
        assert_eq!(by_memory, by_port);
        assert_ne!(by_memory, [0xff; 4], "the host bridge answers");
        bus.mmio_read(ECAM_BASE + 0x8000, &mut by_memory);
        assert_eq!(by_memory, [0xff; 4], "an empty slot does not");
    }
}
