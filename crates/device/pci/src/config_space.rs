//! Configuration space of one function: a type 0 header (6.1), its base address registers and the list of
//! capabilities.
//!
//! Bytes and a mask of the bits that the guest may change; everything else follows from those two. Bits
//! that may be changed are zero at power-on.

use device_model::{BarKind, BarRegion, SnapshotError, read_register};
use serde::{Deserialize, Serialize};

use crate::spec::{
    BAR_COUNT, BAR_MEMORY_64, BAR_TYPE_BITS, BAR0, CACHE_LINE_SIZE, CAPABILITIES_POINTER, COMMAND,
    COMMAND_INTX_DISABLE, COMMAND_MASTER, COMMAND_MEMORY, CONFIG_SPACE_SIZE, DEVICE_ID, HEADER_END,
    INTERRUPT_LINE, REVISION_ID, STATUS, STATUS_CAPABILITIES, SUBSYSTEM_ID, SUBSYSTEM_VENDOR_ID, VENDOR_ID,
};

/// Who a function says it is (6.2.1, 6.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code, 24 bits: base class, subclass, interface.
    pub class: u32,
    /// Revision ID.
    pub revision: u8,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// Configuration space of a function.
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: [u8; CONFIG_SPACE_SIZE],
    writable: [u8; CONFIG_SPACE_SIZE],
    bars: Vec<BarRegion>,
    capabilities_end: usize,
    last_link: usize,
}

/// Saved configuration space: all bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSpaceState {
    bytes: Vec<u8>,
}

impl ConfigSpace {
    /// A header for `identity` with registers for `bars`, and no capabilities.
    ///
    /// Panics where `bars` breaks the rules of [`BarRegion`], which is a mistake in the device's code.
    pub fn new(identity: Identity, bars: &[BarRegion]) -> ConfigSpace {
        let mut space = ConfigSpace {
            bytes: [0; CONFIG_SPACE_SIZE],
            writable: [0; CONFIG_SPACE_SIZE],
            bars: bars.to_vec(),
            capabilities_end: HEADER_END,
            last_link: CAPABILITIES_POINTER,
        };
        space.set(VENDOR_ID, &identity.vendor.to_le_bytes());
        space.set(DEVICE_ID, &identity.device.to_le_bytes());
        space.set(REVISION_ID, &(identity.class << 8 | u32::from(identity.revision)).to_le_bytes());
        space.set(SUBSYSTEM_VENDOR_ID, &identity.subsystem_vendor.to_le_bytes());
        space.set(SUBSYSTEM_ID, &identity.subsystem.to_le_bytes());
        let command = COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_DISABLE;
        space.allow(COMMAND, &command.to_le_bytes());
        space.allow(CACHE_LINE_SIZE, &[0xff]);
        space.allow(INTERRUPT_LINE, &[0xff]);
        for bar in bars {
            space.add_bar(*bar);
        }
        space
    }

    fn add_bar(&mut self, bar: BarRegion) {
        let registers = if bar.kind == BarKind::Memory64 { 2 } else { 1 };
        assert!(bar.index + registers <= BAR_COUNT, "base address register out of range");
        assert!(bar.size_bytes.is_power_of_two() && bar.size_bytes >= 4096, "bad region size");
        let register = bar_register(bar.index);
        assert!(self.writable[register] == 0 && self.writable[register + 3] == 0, "registers overlap");
        let mask = !(bar.size_bytes - 1);
        self.allow(register, &(mask as u32).to_le_bytes());
        match bar.kind {
            BarKind::Memory32 => assert!(bar.size_bytes <= 1 << 31, "region too large for 32 bits"),
            BarKind::Memory64 => {
                self.set(register, &BAR_MEMORY_64.to_le_bytes());
                self.allow(register + 4, &((mask >> 32) as u32).to_le_bytes());
            }
        }
    }

    /// Appends a capability: `id`, a link, then `body`; the guest may change the bits set in `writable`, which
    /// is as long as `body`. Returns the capability's offset.
    ///
    /// Panics when configuration space is full, which is a mistake in the device's code.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> u16 {
        assert_eq!(body.len(), writable.len(), "a mask for each byte");
        let offset = self.capabilities_end;
        let end = offset + 2 + body.len();
        assert!(end <= CONFIG_SPACE_SIZE, "no room for one more capability");
        self.set(offset, &[id, 0]);
        self.set(offset + 2, body);
        self.allow(offset + 2, writable);
        self.bytes[self.last_link] = offset as u8;
        self.bytes[STATUS] |= STATUS_CAPABILITIES as u8;
        self.last_link = offset + 1;
        self.capabilities_end = end.next_multiple_of(4);
        offset as u16
    }

    /// The regions, as given to [`new`](ConfigSpace::new).
    pub fn bars(&self) -> &[BarRegion] {
        &self.bars
    }

    /// The guest's read. Beyond the conventional 256 bytes everything is zero.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        read_register(&self.bytes, usize::from(offset), data);
    }

    /// The guest's write: changes what it may change.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        for (at, value) in (usize::from(offset)..CONFIG_SPACE_SIZE).zip(data) {
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | value & mask;
        }
    }

    /// Two bytes at `offset`, for the function's own use.
    pub fn read_u16(&self, offset: u16) -> u16 {
        let mut bytes = [0; 2];
        self.read(offset, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    /// Four bytes at `offset`, for the function's own use.
    pub fn read_u32(&self, offset: u16) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Where region `index` is mapped: `None` while the guest has memory decoding off (6.2.2), for a region
    /// that does not exist, and where the address leaves no room for the region.
    pub fn bar_address(&self, index: u8) -> Option<u64> {
        let bar = self.bars.iter().find(|bar| bar.index == index)?;
        if self.read_u16(COMMAND as u16) & COMMAND_MEMORY == 0 {
            return None;
        }
        let register = bar_register(index) as u16;
        let low = u64::from(self.read_u32(register) & !BAR_TYPE_BITS);
        let high = match bar.kind {
            BarKind::Memory32 => 0,
            BarKind::Memory64 => u64::from(self.read_u32(register + 4)),
        };
        let address = high << 32 | low;
        address.checked_add(bar.size_bytes - 1).map(|_| address)
    }

    /// Power-on state: everything the guest may change is zero.
    pub fn reset(&mut self) {
        self.bytes.iter_mut().zip(&self.writable).for_each(|(byte, mask)| *byte &= !mask);
    }

    /// The state to carry elsewhere.
    pub fn save(&self) -> ConfigSpaceState {
        let Self { bytes, writable: _, bars: _, capabilities_end: _, last_link: _ } = self;
        ConfigSpaceState { bytes: bytes.to_vec() }
    }

    /// Takes over saved state, which has to come from a function with the same registers.
    pub fn restore(&mut self, state: &ConfigSpaceState) -> Result<(), SnapshotError> {
        let ConfigSpaceState { bytes } = state;
        if bytes.len() != CONFIG_SPACE_SIZE {
            return Err(SnapshotError::Invalid("configuration space has the wrong size"));
        }
        let fixed_differs = self
            .bytes
            .iter()
            .zip(bytes)
            .zip(&self.writable)
            .any(|((own, saved), mask)| (own ^ saved) & !mask != 0);
        if fixed_differs {
            return Err(SnapshotError::Invalid("configuration space is that of another function"));
        }
        self.bytes.copy_from_slice(bytes);
        Ok(())
    }

    fn set(&mut self, offset: usize, data: &[u8]) {
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
    }

    fn allow(&mut self, offset: usize, mask: &[u8]) {
        self.writable[offset..offset + mask.len()].copy_from_slice(mask);
    }
}

/// Offset of base address register `index`.
fn bar_register(index: u8) -> usize {
    BAR0 + 4 * usize::from(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        vendor: 0x1af4,
        device: 0x1042,
        class: 0x01_8000,
        revision: 1,
        subsystem_vendor: 0x1af4,
        subsystem: 2,
    };
    const BARS: [BarRegion; 2] = [
        BarRegion { index: 0, kind: BarKind::Memory64, size_bytes: 0x1_0000 },
        BarRegion { index: 2, kind: BarKind::Memory32, size_bytes: 0x1000 },
    ];

    fn space() -> ConfigSpace {
        ConfigSpace::new(IDENTITY, &BARS)
    }

    #[test]
    fn header_holds_the_identity_and_ignores_writes_to_it() {
        let mut space = space();
        space.write(0, &[0xff; 4]);
        space.write(8, &[0xff; 4]);
        assert_eq!(space.read_u32(0), 0x1042_1af4);
        assert_eq!(space.read_u32(8), 0x0180_0001);
        assert_eq!(space.read_u32(0x2c), 0x0002_1af4);
        assert_eq!(space.read_u16(STATUS as u16), 0);
        assert_eq!(space.read_u32(0x3c), 0, "no INTx pin");
        space.write(COMMAND as u16, &[0xff, 0xff]);
        assert_eq!(space.read_u16(COMMAND as u16), 0x0406);
    }

    #[test]
    fn registers_answer_the_sizing_protocol() {
        // (register, value read back after all ones were written)
        let cases = [(0x10, 0xffff_0004), (0x14, 0xffff_ffff), (0x18, 0xffff_f000), (0x1c, 0), (0x30, 0)];
        for (register, expected) in cases {
            let mut space = space();
            space.write(register, &[0xff; 4]);
            assert_eq!(space.read_u32(register), expected, "register {register:#x}");
        }
    }

    #[test]
    fn regions_have_an_address_only_while_decoding() {
        let mut space = space();
        space.write(0x10, &0xabcd_1234_u32.to_le_bytes());
        space.write(0x14, &7_u32.to_le_bytes());
        assert_eq!(space.bar_address(0), None);
        space.write(COMMAND as u16, &[2]);
        assert_eq!(space.bar_address(0), Some(0x7_abcd_0000));
        assert_eq!(space.bar_address(1), None, "the upper half is no region of its own");
        assert_eq!(space.bar_address(2), Some(0));
        space.write(0x10, &[0xff; 4]);
        assert_eq!(space.bar_address(0), Some(0x7_ffff_0000), "sizing while decoding moves the region");
        space.write(0x14, &[0xff; 4]);
        assert_eq!(space.bar_address(0), Some(0xffff_ffff_ffff_0000));
    }

    #[test]
    fn capabilities_form_a_list_with_masked_bodies() {
        let mut space = space();
        assert_eq!(space.add_capability(9, &[1, 2, 3], &[0, 0xf0, 0]), 0x40);
        assert_eq!(space.add_capability(0x11, &[4, 5], &[0, 0]), 0x48);
        assert_eq!(space.read_u16(STATUS as u16), STATUS_CAPABILITIES);
        assert_eq!(space.read_u32(0x34), 0x40);
        space.write(0x40, &[0xff; 8]);
        assert_eq!(space.read_u32(0x40), 0xf201_4809);
        assert_eq!(space.read_u32(0x48), 0x0504_0011);
    }

    #[test]
    fn any_access_is_answered() {
        let mut space = space();
        for offset in [0_u16, 3, 0xfd, 0xff, 0x100, 0xfff, u16::MAX] {
            let mut data = [0xaa; 8];
            space.read(offset, &mut data);
            space.write(offset, &data);
        }
        assert_eq!(space.read_u32(0x100), 0);
    }

    #[test]
    fn state_moves_to_an_equal_function_only() {
        let mut from = space();
        from.write(COMMAND as u16, &[6]);
        from.write(0x10, &[0, 0, 0x10, 0xc0]);
        let mut to = space();
        to.restore(&from.save()).unwrap();
        assert_eq!(to.bar_address(0), from.bar_address(0));
        let mut other = ConfigSpace::new(Identity { device: 1, ..IDENTITY }, &BARS);
        assert!(other.restore(&from.save()).is_err());
        assert!(other.restore(&ConfigSpaceState { bytes: vec![0; 7] }).is_err());
        from.reset();
        assert_eq!((from.read_u16(COMMAND as u16), from.read_u32(0x10)), (0, 4));
    }
}
