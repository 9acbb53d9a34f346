//! The x87 unit in the host's: the image by which its state goes there and comes back.
//!
//! ```text
//! Cpu::fpu ──load_fpu──► FpuImage ──XRSTOR──► the host's unit ──XSAVE──► FpuImage ──take──► Cpu::fpu
//! ```

use super::words::conditions;
use crate::cpu::{Core, Cpu, Fpu, X87Register};
use crate::undefined::CONDITIONS;

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
    /// The conditions come to the host as the opposite of the guest's: who took them from there would be found out.
    fn put(&mut self, fpu: &Fpu) {
        (self.control, self.valid) = (fpu.control, fpu.valid);
        self.status = fpu.status ^ CONDITIONS;
        for (index, slot) in self.registers.iter_mut().enumerate() {
            let X87Register { significand, sign_exponent } = fpu.registers[fpu.physical(index as u8)];
            *slot = Slot { significand, sign_exponent, ..Slot::default() };
        }
        self.present = X87.into();
    }

    /// `sources` and `kept` say where the conditions are.
    fn take(&self, fpu: &mut Fpu, sources: u32, kept: u16) {
        (fpu.control, fpu.valid) = (self.control, self.valid);
        fpu.status = conditions::status(self.status, sources, kept);
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
    (words.fpu_sources, words.fpu_conditions) = (conditions::ALL_KEPT, fpu.status.into());
}

/// Takes back what generated code has left in the image. False if there is nothing.
pub fn take(core: &mut Core<'_>) -> bool {
    let Core { fpu_image, cpu: Cpu { fpu, .. }, words, .. } = core;
    let left = std::mem::take(&mut words.fpu_left) != 0;
    if left {
        fpu_image.take(fpu, words.fpu_sources, words.fpu_conditions as u16);
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
        image.take(&mut back, conditions::ALL_KEPT, fpu.status);
        assert_eq!(back, fpu);
    }

    #[test]
    fn conditions_come_from_where_they_are_known() {
        const KEPT: u16 = 0x4000;
        const HOST: u16 = 0x0721;
        let image = FpuImage { status: HOST, ..FpuImage::default() };
        let cases =
            [(conditions::ALL_KEPT, 0x4021), (conditions::HOST_C1, 0x4221), (conditions::CLEAR_C1, 0x4021)];
        for (sources, status) in cases {
            let mut fpu = Fpu::default();
            image.take(&mut fpu, sources, KEPT);
            assert_eq!(fpu.status, status, "{sources:#x}");
        }
        let mut fpu = Fpu::default();
        image.take(&mut fpu, conditions::CLEAR_C1, CONDITIONS);
        assert_eq!(fpu.status, 0x4521);
    }
}
