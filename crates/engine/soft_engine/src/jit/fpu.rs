//! The x87 unit in the host's: the image by which its state goes there and comes back.
//!
//! ```text
//! Cpu::fpu ──load_fpu──► FpuImage ──XRSTOR──► the host's unit ──XSAVE──► FpuImage ──take──► Cpu::fpu
//! ```

use crate::cpu::{Core, Cpu, Fpu, X87Register};

/// The x87 part of an XSAVE area in standard format (SDM vol. 1, 13.4).
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct FpuImage {
    control: u16,
    status: u16,
    /// A bit for each register that is not empty.
    valid: u8,
    _pointers: [u8; 27],
    /// ST(0) to ST(7).
    registers: [Slot; 8],
    _vectors: [u8; 352],
    /// XSTATE_BV.
    present: u64,
    _header: [u64; 7],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    significand: u64,
    sign_exponent: u16,
    _reserved: [u16; 3],
}

/// Bit of the x87 unit in XSTATE_BV and in the mask of XSAVE and XRSTOR.
pub const X87: u32 = 1;

const _: () = assert!(size_of::<FpuImage>() == 576);

impl Default for FpuImage {
    fn default() -> FpuImage {
        let _pointers = [0; 27];
        let registers = [Slot::default(); 8];
        let present = X87.into();
        FpuImage {
            control: 0x37f,
            status: 0,
            valid: 0,
            _pointers,
            registers,
            _vectors: [0; 352],
            present,
            _header: [0; 7],
        }
    }
}

impl FpuImage {
    fn put(&mut self, fpu: &Fpu) {
        (self.control, self.status, self.valid) = (fpu.control, fpu.status, fpu.valid);
        for (index, slot) in self.registers.iter_mut().enumerate() {
            let X87Register { significand, sign_exponent } = fpu.registers[fpu.physical(index as u8)];
            *slot = Slot { significand, sign_exponent, ..Slot::default() };
        }
        self.present = X87.into();
    }

    fn take(&self, fpu: &mut Fpu) {
        (fpu.control, fpu.status, fpu.valid) = (self.control, self.status, self.valid);
        for (index, slot) in self.registers.iter().enumerate() {
            let Slot { significand, sign_exponent, .. } = *slot;
            fpu.registers[fpu.physical(index as u8)] = X87Register { significand, sign_exponent };
        }
    }
}

/// Makes the image what the guest's unit holds.
pub fn put(core: &mut Core<'_>) {
    let Core { fpu_image, cpu: Cpu { fpu, .. }, words, .. } = core;
    fpu_image.put(fpu);
    (words.fpu_instruction, words.fpu_data) = (fpu.instruction, fpu.data);
}

/// Takes back what generated code has left in the image. False if there is nothing.
pub fn take(core: &mut Core<'_>) -> bool {
    let Core { fpu_image, cpu: Cpu { fpu, .. }, words, .. } = core;
    let left = std::mem::take(&mut words.fpu_left) != 0;
    if left {
        fpu_image.take(fpu);
        (fpu.instruction, fpu.data) = (words.fpu_instruction, words.fpu_data);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_go_by_their_place_in_the_stack_and_come_back() {
        let registers = std::array::from_fn(|index| X87Register {
            significand: 0x8000_0000_0000_0000 + index as u64,
            sign_exponent: 0x3fff + index as u16,
        });
        let fpu = Fpu { registers, status: 5 << 11 | 0x4021, valid: 0xa5, control: 0x27f, ..Fpu::default() };
        let mut image = FpuImage::default();
        image.put(&fpu);
        assert_eq!(image.registers[0].sign_exponent, 0x3fff + 5);
        assert_eq!(image.registers[3].sign_exponent, 0x3fff);
        let mut back = Fpu::default();
        image.take(&mut back);
        assert_eq!(back, fpu);
    }
}
