//! The ways a guest reaches a device: ports, memory-mapped registers, PCI functions.

/// A device reached by `in` and `out`. Accesses are 1, 2 or 4 bytes; string forms arrive one by one.
pub trait PortIo: Send {
    /// Fills `data` with what the guest reads at `offset` from the device's first port.
    fn port_read(&mut self, offset: u16, data: &mut [u8]);

    /// Takes what the guest wrote at `offset` from the device's first port.
    fn port_write(&mut self, offset: u16, data: &[u8]);
}

/// A device reached by memory accesses of 1 to 8 bytes.
pub trait Mmio: Send {
    /// Fills `data` with what the guest reads at `offset` bytes into the device's window.
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]);

    /// Takes what the guest wrote at `offset` bytes into the device's window.
    fn mmio_write(&mut self, offset: u64, data: &[u8]);
}

/// Which address space a base address register claims (PCI Local Bus 3.0, 6.2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// 32-bit memory.
    Memory32,
    /// 64-bit memory; takes two consecutive registers.
    Memory64,
}

/// A region that a function asks for through a base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarRegion {
    /// Register index, 0 to 5.
    pub index: u8,
    /// Address space.
    pub kind: BarKind,
    /// Size in bytes: a power of two, at least 4096.
    pub size_bytes: u64,
}

/// One function on the PCI bus. The root decodes configuration cycles and memory accesses and calls this;
/// it never holds its own lock while it does.
pub trait PciFunction: Send {
    /// The regions this function needs, in register order. Fixed for its life.
    fn bars(&self) -> Vec<BarRegion>;

    /// Reads 1, 2 or 4 bytes of configuration space at `offset` (0 to 4095); never crosses a dword.
    fn config_read(&mut self, offset: u16, data: &mut [u8]);

    /// Writes 1, 2 or 4 bytes of configuration space at `offset` (0 to 4095); never crosses a dword.
    fn config_write(&mut self, offset: u16, data: &[u8]);

    /// Where region `index` is mapped now, or `None` while memory decoding is off. Asked by the root after
    /// each configuration write.
    fn bar_address(&self, index: u8) -> Option<u64>;

    /// Tells that region `index` has moved in the guest-physical space, so that doorbells can follow.
    fn bar_moved(&mut self, index: u8, address: Option<u64>);

    /// Reads 1 to 8 bytes at `offset` into region `index`.
    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8]);

    /// Writes 1 to 8 bytes at `offset` into region `index`.
    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8]);
}

/// Answers a read of `data.len()` bytes at `offset` from little-endian register bytes; beyond their end
/// reads as zero.
pub fn read_register(registers: &[u8], offset: usize, data: &mut [u8]) {
    for (index, byte) in data.iter_mut().enumerate() {
        *byte = offset.checked_add(index).and_then(|at| registers.get(at)).copied().unwrap_or(0);
    }
}

/// Stores a write at `offset` into little-endian register bytes; what falls beyond their end is dropped.
pub fn write_register(registers: &mut [u8], offset: usize, data: &[u8]) {
    for (index, byte) in data.iter().enumerate() {
        if let Some(register) = offset.checked_add(index).and_then(|at| registers.get_mut(at)) {
            *register = *byte;
        }
    }
}
