//! Instructions on vector registers, and what else has a VEX prefix: emitted as they are, but for memory and
//! general-purpose operands.

use super::data::{Raw, copy, has_extension, immediate_size};
use super::*;
use crate::jit::asm::Vex;

/// An instruction with a VEX prefix, taken apart. Register numbers have four bits.
struct RawVex {
    vex: Vex,
    in_memory: bool,
    reg: usize,
    third: usize,
    rm: usize,
    imm: ([u8; 4], usize),
}

/// Which of the fields names a general-purpose register.
#[derive(Clone, Copy, PartialEq, Eq)]
enum General {
    Nothing,
    Reg,
    Rm,
}

impl Unit<'_> {
    /// An instruction on vector registers in the legacy encoding.
    pub(super) fn vector(&mut self, plan: &Plan) {
        let Raw { op, modrm, rex, imm } = self.parse(plan);
        let imm = copy(imm);
        let general = general(&plan.insn, op.map, op.code);
        let rm_number = usize::from(modrm & 7 | (rex & 1) << 3);
        let reg_number = usize::from(modrm >> 3 & 7 | (rex & 4) << 1);
        let rm = self.vector_rm(plan, modrm >> 6 != 3, general, rm_number);
        let reg = if has_extension(op.map, op.code) {
            modrm >> 3 & 7
        } else {
            self.vector_reg(general, reg_number)
        };
        self.asm.op(op, reg, rm);
        self.asm.raw(&imm.0[..imm.1]);
        self.take_general(plan, general, (reg_number, reg), (rm_number, rm));
        self.bind_after();
    }

    /// An instruction on vector registers with a VEX prefix.
    pub(super) fn vector_vex(&mut self, plan: &Plan) {
        if matches!(plan.insn.mnemonic(), Mnemonic::Vzeroupper | Mnemonic::Vzeroall) {
            let long = plan.insn.mnemonic() == Mnemonic::Vzeroall;
            self.asm.raw(&[0xc5, if long { 0xfc } else { 0xf8 }, 0x77]);
            return;
        }
        let raw = self.parse_vex(plan);
        let general = general(&plan.insn, raw.vex.map, raw.vex.code);
        let rm = self.vector_rm(plan, raw.in_memory, general, raw.rm);
        let reg = if has_extension(raw.vex.map, raw.vex.code) {
            raw.reg as u8
        } else {
            self.vector_reg(general, raw.reg)
        };
        self.asm.vex(raw.vex, reg, raw.third as u8, rm);
        self.asm.raw(&raw.imm.0[..raw.imm.1]);
        self.take_general(plan, general, (raw.reg, reg), (raw.rm, rm));
        self.bind_after();
    }

    /// BMI1 and BMI2.
    pub(super) fn mapped_vex(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let raw = self.parse_vex(plan);
        let rm = self.mapped_vex_rm(plan, &raw);
        let register_at = |index: u32| index < insn.op_count() && insn.op_kind(index) == OpKind::Register;
        if insn.mnemonic() == Mnemonic::Mulx {
            // RDX times an operand: the lower half goes where the prefix says, then the upper one.
            self.asm.mov(host::RDX, self.guest(2));
            let (high, low) = (PINNED[raw.reg].unwrap_or(host::RCX), PINNED[raw.third].unwrap_or(host::RAX));
            self.asm.vex(raw.vex, high, low, rm);
            self.set_register(raw.third, low);
            self.set_register(raw.reg, high);
        } else if (raw.vex.map, raw.vex.code) == (2, 0xf3) {
            // BLSR, BLSMSK, BLSI: the prefix says what is written.
            let written = PINNED[raw.third].unwrap_or(host::RDX);
            self.asm.vex(raw.vex, raw.reg as u8, written, rm);
            self.set_register(raw.third, written);
        } else {
            let has_third = register_at(2) || raw.in_memory && register_at(1);
            let third = if has_third { self.read_register(raw.third, host::RCX) } else { 0 };
            let written = PINNED[raw.reg].unwrap_or(host::RDX);
            self.asm.vex(raw.vex, written, third, rm);
            self.asm.raw(&raw.imm.0[..raw.imm.1]);
            self.set_register(raw.reg, written);
        }
        self.bind_after();
    }

    /// Its operand that may be in memory, by way of RAX.
    fn mapped_vex_rm(&mut self, plan: &Plan, raw: &RawVex) -> Rm {
        if raw.in_memory {
            self.operand(plan, host::RAX)
        } else {
            Rm::Reg(self.read_register(raw.rm, host::RAX))
        }
    }

    fn vector_rm(&mut self, plan: &Plan, in_memory: bool, general: General, number: usize) -> Rm {
        if in_memory {
            self.operand(plan, host::RAX)
        } else if general == General::Rm {
            Rm::Reg(self.read_register(number, host::RDX))
        } else {
            Rm::Reg(number as u8)
        }
    }

    fn vector_reg(&mut self, general: General, number: usize) -> u8 {
        if general == General::Reg { self.read_register(number, host::RCX) } else { number as u8 }
    }

    /// Stores the general-purpose register that was written, if it is one that lives in memory.
    fn take_general(&mut self, plan: &Plan, general: General, reg: (usize, u8), rm: (usize, Rm)) {
        let first_is_general = plan.insn.op0_kind() == OpKind::Register && plan.insn.op0_register().is_gpr();
        match (first_is_general, general, rm.1) {
            (true, General::Reg, _) => self.set_register(reg.0, reg.1),
            (true, General::Rm, Rm::Reg(register)) => self.set_register(rm.0, register),
            _ => {}
        }
    }

    /// An instruction with a VEX prefix (SDM vol. 2A, 2.3.5), which segment and address-size prefixes may precede.
    fn parse_vex(&self, plan: &Plan) -> RawVex {
        let start = usize::from(plan.offset);
        let bytes = &self.context.bytes[start..start + plan.insn.len()];
        let is_prefix = |byte: &u8| !matches!(byte, 0xc4 | 0xc5);
        let at = bytes.iter().take_while(|byte| is_prefix(byte)).count();
        let (first, map, last, at) = match bytes[at] {
            0xc5 => (bytes[at + 1] | 0x60, 1, bytes[at + 1] & 0x7f, at + 2),
            _ => (bytes[at + 1], bytes[at + 1] & 0x1f, bytes[at + 2], at + 3),
        };
        let modrm = bytes[at + 1];
        let extend = |bit: u8| usize::from(!first >> bit & 1) << 3;
        RawVex {
            vex: Vex { map, prefix: last & 3, wide: last & 0x80 != 0, long: last & 4 != 0, code: bytes[at] },
            in_memory: modrm >> 6 != 3,
            reg: usize::from(modrm >> 3 & 7) | extend(7),
            third: usize::from(!last >> 3 & 15),
            rm: usize::from(modrm & 7) | extend(5),
            imm: vex_immediate(&plan.insn, bytes),
        }
    }
}

/// Its immediate; a fourth register is one, too (SDM vol. 2A, 2.3.8).
fn vex_immediate(insn: &Instruction, bytes: &[u8]) -> ([u8; 4], usize) {
    let fourth = insn.op_count() > 3 && insn.op3_kind() == OpKind::Register;
    let len = if fourth { 1 } else { immediate_size(insn) };
    copy(&bytes[bytes.len() - len..])
}

/// Which field of a vector instruction names a general-purpose register. There is at most one.
fn general(insn: &Instruction, map: u8, code: u8) -> General {
    let any = (0..insn.op_count())
        .any(|index| insn.op_kind(index) == OpKind::Register && insn.op_register(index).is_gpr());
    let in_rm = matches!((map, code), (1, 0x2a | 0x6e | 0x7e | 0xc4) | (3, 0x14..=0x17 | 0x20 | 0x22));
    match (any, in_rm) {
        (false, _) => General::Nothing,
        (true, true) => General::Rm,
        (true, false) => General::Reg,
    }
}
