//! Chips with 8-bit registers behind accesses of any width, and chips that are nothing but ports.
//!
//! The bus bridge of a PC cuts a wide access to an 8-bit device into byte accesses at consecutive ports
//! (EISA Specification 3.12, 3.2.2: data size translation), lowest first.

/// Fills each byte of `data` from the register that it falls on; beyond the last port nobody answers.
pub(crate) fn read_bytes(offset: u16, data: &mut [u8], mut read: impl FnMut(u16) -> u8) {
    for (index, byte) in (0u16..).zip(data) {
        *byte = offset.checked_add(index).map_or(0xff, &mut read);
    }
}

/// Hands each byte of `data` to the register that it falls on.
pub(crate) fn write_bytes(offset: u16, data: &[u8], mut write: impl FnMut(u16, u8)) {
    for (index, byte) in (0u16..).zip(data) {
        if let Some(register) = offset.checked_add(index) {
            write(register, *byte);
        }
    }
}

/// Makes a device of a chip that keeps nothing of its guest's: there is nothing to reset, to hold still or to save. What
/// else it does as a device stands in braces behind its id.
macro_rules! stateless_device {
    ($chip:ty, $id:literal $(, { $($more:tt)* })?) => {
        impl device_model::Device for $chip {
            fn id(&self) -> &str {
                $id
            }

            fn reset(&mut self) {}

            fn pause(&mut self) {}

            fn resume(&mut self) {}

            $($($more)*)?
        }

        impl device_model::Snapshot for $chip {
            const VERSION: u32 = 1;
            type State = ();

            fn save(&self) -> device_model::Saved<()> {
                device_model::Saved::Stateless
            }

            fn restore(&mut self, (): ()) -> Result<(), device_model::SnapshotError> {
                Ok(())
            }
        }
    };
}

pub(crate) use stateless_device;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use device_model::PortIo;

    /// Makes 100,000 accesses of any width, offset and value, with `between` after each.
    pub(crate) fn hammer<D: PortIo>(device: &mut D, mut between: impl FnMut(&mut D, u8)) {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..100_000 {
            // xorshift64, Marsaglia 2003
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let bytes = random.to_le_bytes();
            let width = 1 << (bytes[0] % 3);
            let offset = if bytes[1] == 0 { u16::MAX } else { u16::from(bytes[1] % 9) };
            if bytes[2] & 1 == 0 {
                device.port_read(offset, &mut [0; 4][..width]);
            } else {
                device.port_write(offset, &bytes[4..4 + width]);
            }
            between(device, bytes[3]);
        }
    }

    #[test]
    fn wide_accesses_fall_on_consecutive_registers() {
        let mut data = [0; 4];
        read_bytes(2, &mut data, |register| register as u8);
        assert_eq!(data, [2, 3, 4, 5]);
        read_bytes(u16::MAX, &mut data, |_| 1);
        assert_eq!(data, [1, 0xff, 0xff, 0xff]);
        let mut written = Vec::new();
        write_bytes(u16::MAX - 1, &[7, 8, 9], |register, value| written.push((register, value)));
        assert_eq!(written, [(0xfffe, 7), (0xffff, 8)]);
    }
}
