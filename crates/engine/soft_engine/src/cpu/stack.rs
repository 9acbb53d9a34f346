//! The stack (SDM vol. 1, 6.2): its address size is SS's, not the instruction's.

use super::{Core, Exec, Mode, gpr, seg};

impl Core<'_> {
    /// Bits of RSP that the stack uses.
    #[inline(always)]
    pub fn stack_mask(&self) -> u64 {
        if self.mode == Mode::Long {
            u64::MAX
        } else if self.segments[seg::SS].default_big {
            0xffff_ffff
        } else {
            0xffff
        }
    }

    /// Moves the stack pointer; bits beyond the stack's address size stay, but that 32 bits clear the upper half.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u64) {
        let slot = &mut self.cpu.gpr[gpr::RSP];
        *slot = match self.cpu.mode {
            Mode::Long => value,
            _ if self.cpu.segments[seg::SS].default_big => value & 0xffff_ffff,
            _ => *slot & !0xffff | value & 0xffff,
        };
    }

    /// Offset in SS, `depth` bytes above the top of the stack (below it when negative).
    #[inline(always)]
    pub fn stack_offset(&self, depth: i64) -> u64 {
        self.gpr[gpr::RSP].wrapping_add(depth as u64) & self.stack_mask()
    }

    /// Pushes the low `size` bytes (2, 4, 8) of `value`.
    #[inline(always)]
    pub fn push_sized(&mut self, size: u8, value: u64) -> Exec {
        let offset = self.stack_offset(-i64::from(size));
        self.store_sized(seg::SS, offset, size, value)?;
        self.set_stack_pointer(offset);
        Ok(())
    }

    /// Pops `size` bytes (2, 4, 8).
    #[inline(always)]
    pub fn pop_sized(&mut self, size: u8) -> Exec<u64> {
        let value = self.peek(size, 0)?;
        self.set_stack_pointer(self.stack_offset(size.into()));
        Ok(value)
    }

    /// Reads `size` bytes (2, 4, 8) that lie `depth` bytes above the top of the stack.
    #[inline(always)]
    pub fn peek(&mut self, size: u8, depth: i64) -> Exec<u64> {
        let offset = self.stack_offset(depth);
        self.load_sized(seg::SS, offset, size)
    }

    /// Loads 1, 2, 4 or 8 bytes, zero-extended.
    #[inline(always)]
    pub fn load_sized(&mut self, segment: usize, offset: u64, size: u8) -> Exec<u64> {
        match size {
            8 => self.load::<u64>(segment, offset),
            4 => self.load::<u32>(segment, offset).map(u64::from),
            2 => self.load::<u16>(segment, offset).map(u64::from),
            _ => self.load::<u8>(segment, offset).map(u64::from),
        }
    }

    /// Stores the low 1, 2, 4 or 8 bytes of `value`.
    #[inline(always)]
    pub fn store_sized(&mut self, segment: usize, offset: u64, size: u8, value: u64) -> Exec {
        match size {
            8 => self.store(segment, offset, value),
            4 => self.store(segment, offset, value as u32),
            2 => self.store(segment, offset, value as u16),
            _ => self.store(segment, offset, value as u8),
        }
    }
}
