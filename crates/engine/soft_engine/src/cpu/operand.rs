//! Operands of general-purpose instructions: registers, memory, immediates.

use super::{Core, Exec, Word, gpr};
use crate::decode::insn::{Insn, Operand, OperandKind};

impl Core<'_> {
    /// Offset of the memory operand in its segment.
    #[inline(always)]
    pub fn effective_address(&self, insn: &Insn) -> u64 {
        let sum = self
            .reg(insn.base.into())
            .wrapping_add(self.reg(insn.index.into()) << (insn.scale & 3))
            .wrapping_add(insn.disp as i64 as u64);
        match insn.address_size {
            8 => sum,
            4 => sum & 0xffff_ffff,
            _ => sum & 0xffff,
        }
    }

    /// Reads operand `index`.
    #[inline(always)]
    pub fn read<T: Word>(&mut self, insn: &Insn, index: usize) -> Exec<T> {
        let operand = insn.ops[index];
        match operand.kind {
            OperandKind::Memory => {
                let offset = self.effective_address(insn);
                self.load(insn.segment.into(), offset)
            }
            _ => Ok(self.read_register_or_immediate(insn, operand)),
        }
    }

    /// Writes operand `index`. A 32-bit register write clears the upper half (SDM vol. 1, 3.4.1.1).
    #[inline(always)]
    pub fn write<T: Word>(&mut self, insn: &Insn, index: usize, value: T) -> Exec {
        let operand = insn.ops[index];
        match operand.kind {
            OperandKind::Memory => {
                let offset = self.effective_address(insn);
                self.store(insn.segment.into(), offset, value)
            }
            OperandKind::HighByte => {
                self.set_high_byte(operand.register, value.to_u64() as u8);
                Ok(())
            }
            _ => {
                self.set_reg(operand.register.into(), value);
                Ok(())
            }
        }
    }

    /// Replaces operand `index` by what `change` makes of it, atomically if the instruction is locked; answers what
    /// was there before. `change` may be called several times.
    #[inline(always)]
    pub fn update<T: Word>(&mut self, insn: &Insn, index: usize, mut change: impl FnMut(T) -> T) -> Exec<T> {
        let operand = insn.ops[index];
        match operand.kind {
            OperandKind::Memory => {
                let offset = self.effective_address(insn);
                self.modify(insn.segment.into(), offset, insn.is_locked(), change)
            }
            _ => {
                let old = self.read_register_or_immediate(insn, operand);
                self.write(insn, index, change(old))?;
                Ok(old)
            }
        }
    }

    /// Low bits of a general-purpose register.
    #[inline(always)]
    pub fn get_reg<T: Word>(&self, register: usize) -> T {
        T::from_u64(self.reg(register))
    }

    /// Sets a general-purpose register: 8 and 16 bits leave the rest alone, 32 bits clear it.
    #[inline(always)]
    pub fn set_reg<T: Word>(&mut self, register: usize, value: T) {
        let slot = &mut self.cpu.gpr[register & (gpr::SLOTS - 1)];
        *slot = match T::BYTES {
            1 => *slot & !0xff | value.to_u64(),
            2 => *slot & !0xffff | value.to_u64(),
            _ => value.to_u64(),
        };
    }

    /// Sets a register by a size known only at run time (2, 4, 8; 1 is the low byte).
    pub fn set_reg_sized(&mut self, register: usize, size: u8, value: u64) {
        match size {
            1 => self.set_reg(register, value as u8),
            2 => self.set_reg(register, value as u16),
            4 => self.set_reg(register, value as u32),
            _ => self.set_reg(register, value),
        }
    }

    #[inline(always)]
    fn read_register_or_immediate<T: Word>(&self, insn: &Insn, operand: Operand) -> T {
        match operand.kind {
            OperandKind::Immediate => T::from_u64(insn.imm),
            OperandKind::HighByte => T::from_u64(self.reg(operand.register.into()) >> 8 & 0xff),
            _ => self.get_reg(operand.register.into()),
        }
    }

    fn set_high_byte(&mut self, register: u8, value: u8) {
        let slot = &mut self.cpu.gpr[usize::from(register) & (gpr::SLOTS - 1)];
        *slot = *slot & !0xff00 | u64::from(value) << 8;
    }
}
