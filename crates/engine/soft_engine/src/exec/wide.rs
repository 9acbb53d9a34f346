//! Memory operands of more than eight bytes: their alignment, and what is touched first.

use crate::cpu::mode::{cr0, efer};
use crate::cpu::{Core, Exception, Exec, flags, vector};
use crate::decode::insn::Insn;
use crate::memory::View;
use crate::memory::paging::Kind;

impl Core<'_> {
    /// Raises #AC for an operand that is not aligned, if alignment is checked (SDM vol. 3, 6.15). An address that is
    /// not canonical is left to the access itself.
    #[inline(always)]
    pub(super) fn check_wide_alignment(&mut self, segment: u8, offset: u64, alignment: u64) -> Exec {
        if self.view == View::Careful { self.check_carefully(segment, offset, alignment) } else { Ok(()) }
    }

    /// Raises #GP(0) unless the `size` bytes at `offset` are aligned; whether alignment is checked or not.
    #[inline(always)]
    pub(super) fn require_alignment(&mut self, segment: u8, offset: u64, size: u32, kind: Kind) -> Exec {
        let address = self.linear(segment.into(), offset, size, kind)?;
        if address.is_multiple_of(size.into()) { Ok(()) } else { self.general_protection(0) }
    }

    /// Raises #AC or #GP(0) unless the area of FXSAVE at `offset` is aligned: which of them is each processor's own
    /// business (SDM vol. 2A, FXSAVE); here #AC needs an address that is not even a multiple of 4. An address that is
    /// not canonical is left to the access itself.
    pub(super) fn require_area_alignment(&mut self, segment: u8, offset: u64, kind: Kind) -> Exec {
        self.check_wide_alignment(segment, offset, 4)?;
        let address = self.linear(segment.into(), offset, 16, kind)?;
        let accepted = address.is_multiple_of(16) || !self.is_usable(address);
        if accepted { Ok(()) } else { self.general_protection(0) }
    }

    /// Whether `N` bytes can be loaded from byte `index` of the memory operand on. Structures are touched in an order
    /// that tells in CR2; here it is that of AMD's Zen 4.
    pub(super) fn probe_field_read<const N: usize>(&mut self, insn: &Insn, index: usize) -> Exec {
        self.load_bytes::<N>(insn.segment.into(), self.field_offset(insn, index)).map(drop)
    }

    /// As [`probe_field_read`](Self::probe_field_read), for a store.
    pub(super) fn probe_field_write<const N: usize>(&mut self, insn: &Insn, index: usize) -> Exec {
        self.probe_write(insn.segment.into(), self.field_offset(insn, index), N as u32)
    }

    /// Offsets wrap around by the address size.
    fn field_offset(&self, insn: &Insn, index: usize) -> u64 {
        let offset = self.effective_address(insn).wrapping_add(index as u64);
        if insn.address_size == 8 {
            offset
        } else {
            offset & (u64::MAX >> (64 - 8 * u32::from(insn.address_size)))
        }
    }

    #[cold]
    #[inline(never)]
    fn check_carefully(&mut self, segment: u8, offset: u64, alignment: u64) -> Exec {
        let address = self.linear(segment.into(), offset, 1, Kind::Read)?;
        let checked = self.cpl == 3 && self.cr0 & cr0::AM != 0 && self.flags.has(flags::AC);
        let usable = self.is_usable(address) && self.is_usable(address.wrapping_add(alignment - 1));
        if checked && usable && !address.is_multiple_of(alignment) {
            return self.raise(Exception::with_error(vector::AC, 0));
        }
        Ok(())
    }

    /// Whether a linear address is canonical, where that counts.
    fn is_usable(&self, address: u64) -> bool {
        self.efer & efer::LMA == 0 || (address as i64) << 16 >> 16 == address as i64
    }
}
