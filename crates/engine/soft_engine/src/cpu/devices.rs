//! Accesses outside RAM: the local APIC's page, the I/O APIC, doorbells, and everything on the machine's bus.

use arch_model::x86_64::layout::IOAPIC_BASE;
use guest_memory::PAGE_SIZE;
use vcpu_model::ExitKind;

use super::mode::cr0;
use super::segment::system_type;
use super::{Core, Exec, Mode, Word, flags};
use crate::memory::order;

impl Core<'_> {
    /// Loads an integer from a device.
    pub(crate) fn device_load<T: Word>(&mut self, gpa: u64) -> T {
        let mut bytes = [0; 8];
        self.device_access(gpa, &mut bytes[..T::BYTES]);
        T::from_u64(u64::from_le_bytes(bytes))
    }

    /// Stores an integer to a device.
    pub(crate) fn device_store<T: Word>(&mut self, gpa: u64, value: T) {
        self.device_write(gpa, &value.to_u64().to_le_bytes()[..T::BYTES]);
    }

    /// Loads any number of bytes from devices, in pieces as a bus would carry them.
    pub(crate) fn device_read(&mut self, gpa: u64, out: &mut [u8]) {
        let mut gpa = gpa;
        let mut rest = out;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at_mut(piece_len(gpa, rest.len()));
            self.device_access(gpa, piece);
            gpa += piece.len() as u64;
            rest = more;
        }
    }

    /// Stores any number of bytes to devices, in pieces as a bus would carry them.
    pub(crate) fn device_write(&mut self, gpa: u64, bytes: &[u8]) {
        let mut gpa = gpa;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(piece_len(gpa, rest.len()));
            self.device_piece(gpa, piece);
            gpa += piece.len() as u64;
            rest = more;
        }
    }

    /// An access outside RAM, which no other of this vCPU overtakes or falls behind: memory of devices is uncacheable, and
    /// IN and OUT wait for what was stored before (SDM vol. 3, 9.2.5 and 12.10).
    fn in_order<R>(&mut self, access: impl FnOnce(&mut Self) -> R) -> R {
        self.journal.note_unrepeatable();
        order::drain_stores();
        let result = access(self);
        order::drain_stores();
        result
    }

    fn device_access(&mut self, gpa: u64, out: &mut [u8]) {
        self.in_order(|core| core.read_device(gpa, out));
    }

    fn device_piece(&mut self, gpa: u64, bytes: &[u8]) {
        self.in_order(|core| core.write_device(gpa, bytes));
    }

    fn read_device(&mut self, gpa: u64, out: &mut [u8]) {
        if let Some(offset) = self.lapic_offset(gpa) {
            let value = if offset % 16 < 4 { self.lapic.read(offset & !15) } else { 0 };
            return copy_register(value, (gpa % 4) as usize, out);
        }
        if let Some(offset) = ioapic_offset(gpa) {
            return copy_register(self.shared.platform.ioapic_read(offset & !3), (gpa % 4) as usize, out);
        }
        self.counters.count(ExitKind::MmioRead);
        self.io.mmio_read(gpa, out);
    }

    fn write_device(&mut self, gpa: u64, bytes: &[u8]) {
        if let Some(offset) = self.lapic_offset(gpa) {
            // Registers are written whole, at their 16-byte steps; other writes mean nothing (SDM vol. 3, 11.4.1).
            if let (0, Ok(bytes)) = (offset % 16, bytes.try_into()) {
                self.lapic.write(offset, u32::from_le_bytes(bytes));
                self.attention = true;
            }
            return;
        }
        if let Some(offset) = ioapic_offset(gpa) {
            let mut word = [0; 4];
            let len = bytes.len().min(4);
            word[..len].copy_from_slice(&bytes[..len]);
            return self.shared.platform.ioapic_write(offset, u32::from_le_bytes(word));
        }
        self.counters.count(ExitKind::MmioWrite);
        if !self.shared.doorbells.ring(gpa) {
            self.io.mmio_write(gpa, bytes);
        }
        self.attention = true;
    }

    /// Offset in the local APIC's page, if `gpa` is in it and the APIC answers there.
    fn lapic_offset(&self, gpa: u64) -> Option<u64> {
        (self.lapic.mmio_base()? == gpa & !(PAGE_SIZE - 1)).then_some(gpa % PAGE_SIZE)
    }

    /// IN of 1, 2 or 4 bytes.
    pub fn port_read(&mut self, port: u16, size: usize) -> u32 {
        let mut bytes = [0; 4];
        self.counters.count(ExitKind::PortRead);
        self.in_order(|core| core.io.port_read(port, &mut bytes[..size.min(4)]));
        self.note_port_breakpoints(port, size);
        self.attention = true;
        u32::from_le_bytes(bytes)
    }

    /// OUT of 1, 2 or 4 bytes.
    pub fn port_write(&mut self, port: u16, size: usize, value: u32) {
        self.counters.count(ExitKind::PortWrite);
        self.in_order(|core| core.io.port_write(port, &value.to_le_bytes()[..size.min(4)]));
        self.note_port_breakpoints(port, size);
        self.attention = true;
    }

    /// Raises #GP(0) unless the program may use `size` ports from `port` on (SDM vol. 1, 19.5).
    pub fn check_port(&mut self, port: u16, size: usize) -> Exec {
        let free = self.cr0 & cr0::PE == 0 || (self.mode != Mode::Virtual86 && self.cpl <= self.flags.iopl());
        if free || self.is_in_io_bitmap(port, size)? { Ok(()) } else { self.general_protection(0) }
    }

    fn is_in_io_bitmap(&mut self, port: u16, size: usize) -> Exec<bool> {
        let wide = matches!(self.tr.kind, system_type::TSS | system_type::TSS_BUSY);
        if !wide || self.tr.limit < 0x67 {
            return Ok(false);
        }
        let map: u16 = self.load_system(self.tr.base.wrapping_add(0x66))?;
        let byte = u64::from(map) + u64::from(port / 8);
        // Two bytes are read even where one would do, so the second has to be inside the limit.
        if byte + 1 > self.tr.limit.into() {
            return Ok(false);
        }
        let bits: u16 = self.load_system(self.tr.base.wrapping_add(byte))?;
        let mask = ((1u32 << size) - 1) << (port % 8);
        Ok(u32::from(bits) & mask == 0)
    }

    /// Whether interrupts from outside may be taken now.
    pub fn interrupts_enabled(&self) -> bool {
        self.flags.has(flags::IF) && self.shadow == 0
    }
}

/// The largest naturally aligned piece at the start of `len` bytes at `gpa`.
fn piece_len(gpa: u64, len: usize) -> usize {
    [8, 4, 2].into_iter().find(|size| len >= *size && gpa.is_multiple_of(*size as u64)).unwrap_or(1)
}

fn ioapic_offset(gpa: u64) -> Option<u64> {
    gpa.checked_sub(IOAPIC_BASE).filter(|offset| *offset < 0x100)
}

/// The bytes of a 32-bit register from `start` on; beyond its end there is nothing.
fn copy_register(value: u32, start: usize, out: &mut [u8]) {
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = value.to_le_bytes().get(start + index).copied().unwrap_or(0);
    }
}
