//! Templates of what kernels are full of: flags and bases that only they change, and some old forms of instructions.
//!
//! Where a template holds for CPL 0 alone, the interpreter does the others, and raises what it has to.

use std::mem::offset_of;

use super::data::{copy, has_extension, is_rm_first, number};
use super::memory::Access;
use super::*;
use crate::cpu::Cpu;
use crate::cpu::mode::cr4;
use crate::cpu::registers::Msrs;
use crate::memory::View;
use arch_model::x86_64::Segment;

/// OR with an immediate, by number.
const OR: u8 = 1;

const CPL: Rm = words::state(offset_of!(Cpu, cpl));
const CR4: Rm = words::state(offset_of!(Cpu, cr4));
const KERNEL_GS_BASE: Rm = words::state(offset_of!(Cpu, msrs) + offset_of!(Msrs, kernel_gs_base));

/// The place of a field of a segment register.
const fn segment_field(register: usize, field: usize) -> Rm {
    words::state(offset_of!(Cpu, segments) + register * size_of::<Segment>() + field)
}

impl Unit<'_> {
    pub(super) fn system(&mut self, plan: &Plan, system: System) {
        match system {
            System::Nothing => {}
            // sfence
            System::StoreFence => self.asm.raw(&[0x0f, 0xae, 0xf8]),
            // mfence
            System::Fence => self.asm.raw(&[0x0f, 0xae, 0xf0]),
            System::SwapGs => self.swap_gs(plan),
            System::DisableInterrupts => {
                self.kernel_only(plan);
                self.change_flag(flags::IF, false);
            }
            System::EnableInterrupts => {
                let elsewhere = self.kernel_only(plan);
                stubs::compare_byte(self.asm, word_at!(interrupt_waits), 0);
                self.asm.jcc(cond::NE, elsewhere);
                self.change_flag(flags::IF, true);
            }
            System::Direction => self.change_flag(flags::DF, plan.insn.mnemonic() == Mnemonic::Std),
            System::AccessControl => self.access_control(plan),
            System::PushFlags => self.push_flags(plan),
            System::PushMemory => self.push_memory(plan),
            System::PopStackPointer => {
                let stack = self.guest(4);
                let top = self.stack(plan, stack, 0, false);
                self.asm.load(stack, top);
            }
            System::ReadSegment => self.read_segment(plan),
            System::ReadControl => self.read_control(plan),
            System::ReadBase | System::WriteBase => self.base(plan, system == System::WriteBase),
            System::BitString => self.bit_string(plan),
            System::HighByte => self.high_byte(plan),
        }
        self.bind_after();
    }

    /// What follows is for CPL 0; the others go to the label.
    fn kernel_only(&mut self, plan: &Plan) -> Label {
        let (elsewhere, _) = self.interpreter_instead(plan);
        stubs::compare_byte(self.asm, CPL, 0);
        self.asm.jcc(cond::NE, elsewhere);
        elsewhere
    }

    /// Sets or clears a flag that is no status flag.
    fn change_flag(&mut self, flag: u64, on: bool) {
        let (which, mask) = if on { (OR, flag as i32) } else { (AND, !(flag as i32)) };
        self.asm.alu_imm(false, which, words::flags(), mask);
        self.native = false;
    }

    fn swap_gs(&mut self, plan: &Plan) {
        self.kernel_only(plan);
        self.asm.load(host::RAX, words::base(seg::GS));
        self.asm.load(host::RCX, KERNEL_GS_BASE);
        self.asm.store(KERNEL_GS_BASE, host::RAX);
        self.set_base(seg::GS, host::RCX);
    }

    fn set_base(&mut self, register: usize, from: u8) {
        self.asm.store(words::base(register), from);
        self.asm.store(segment_field(register, offset_of!(Segment, base)), from);
    }

    /// CLAC and STAC, where EFLAGS.AC chooses the view.
    fn access_control(&mut self, plan: &Plan) {
        let lifted = plan.insn.mnemonic() == Mnemonic::Stac;
        let view = if lifted { View::SupervisorToUser } else { View::Supervisor };
        let (elsewhere, _) = self.interpreter_instead(plan);
        stubs::compare_byte(self.asm, word_at!(ac_counts), 0);
        self.asm.jcc(cond::E, elsewhere);
        self.change_flag(flags::AC, lifted);
        self.asm.load(host::RAX, words::supervisor_tlb(lifted));
        self.asm.store(word_at!(tlb), host::RAX);
        self.asm.op(Op::new(false, 0xc6), 0, words::view());
        self.asm.byte(view as u8);
    }

    /// VM and RF are pushed as zero (SDM vol. 2B, PUSHF).
    fn push_flags(&mut self, plan: &Plan) {
        let stack = self.guest(4);
        let top = self.stack(plan, stack, -8, true);
        self.asm.op(Op::new(false, 0x8b), host::RDX, word_at!(flags));
        // movzx ecx, dh: SF, ZF, AF, PF, CF
        self.asm.raw(&[0x0f, 0xb6, 0xce]);
        self.asm.alu_imm(false, AND, Rm::Reg(host::RDX), 1);
        // shl edx, 11: OF
        self.asm.raw(&[0xc1, 0xe2, 11]);
        self.asm.op(Op::new(false, 0x0b), host::RCX, Rm::Reg(host::RDX));
        self.asm.op(Op::new(false, 0x8b), host::RDX, words::flags());
        let hidden = flags::STATUS | flags::VM | flags::RF;
        self.asm.alu_imm(false, AND, Rm::Reg(host::RDX), !(hidden as i32));
        self.asm.op(Op::new(false, 0x0b), host::RCX, Rm::Reg(host::RDX));
        self.asm.store(top, host::RCX);
        self.asm.lea(stack, stack, -8);
    }

    fn push_memory(&mut self, plan: &Plan) {
        let source = self.operand(plan, host::RAX);
        self.asm.load(host::RAX, source);
        self.asm.store(word_at!(kept), host::RAX);
        let stack = self.guest(4);
        let top = self.stack(plan, stack, -8, true);
        self.asm.load(host::RCX, word_at!(kept));
        self.asm.store(top, host::RCX);
        self.asm.lea(stack, stack, -8);
    }

    fn read_segment(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let selector = segment_field(insn.op1_register().number(), offset_of!(Segment, selector));
        let rm = plan.memory.map(|_| self.operand(plan, host::RAX));
        // movzx ecx, word [selector]
        self.asm.op(Op { map: 1, code: 0xb7, ..Op::default() }, host::RCX, selector);
        let store_16 = Op { operand16: true, code: 0x89, ..Op::default() };
        match (rm, insn.op0_register()) {
            (Some(rm), _) => self.asm.op(store_16, host::RCX, rm),
            (None, register) if register.size() == 2 => {
                let number = number(register);
                let whole = self.read_register(number, host::RDX);
                self.asm.op(store_16, host::RCX, Rm::Reg(whole));
                self.set_register(number, whole);
            }
            (None, register) => self.set_register(number(register), host::RCX),
        }
    }

    fn read_control(&mut self, plan: &Plan) {
        self.kernel_only(plan);
        let place = match plan.insn.op1_register() {
            Register::CR0 => offset_of!(Cpu, cr0),
            Register::CR2 => offset_of!(Cpu, cr2),
            Register::CR3 => offset_of!(Cpu, cr3),
            _ => offset_of!(Cpu, cr4),
        };
        self.asm.load(host::RCX, words::state(place));
        self.set_register(number(plan.insn.op0_register()), host::RCX);
    }

    /// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE.
    fn base(&mut self, plan: &Plan, writes: bool) {
        let insn = &plan.insn;
        let register = match insn.mnemonic() {
            Mnemonic::Rdfsbase | Mnemonic::Wrfsbase => seg::FS,
            _ => seg::GS,
        };
        let wide = insn.op0_register().size() == 8;
        let general = number(insn.op0_register());
        let (elsewhere, _) = self.interpreter_instead(plan);
        // test dword [cr4], FSGSBASE
        self.asm.op(Op::new(false, 0xf7), 0, CR4);
        self.asm.word(cr4::FSGSBASE as u32);
        self.asm.jcc(cond::E, elsewhere);
        if !writes {
            self.asm.op(Op::new(wide, 0x8b), host::RCX, words::base(register));
            return self.set_register(general, host::RCX);
        }
        let value = self.read_register(general, host::RCX);
        self.asm.op(Op::new(wide, 0x8b), host::RCX, Rm::Reg(value));
        if wide {
            // mov rdx, rcx; shl rdx, 16; sar rdx, 16: the same if it is canonical.
            self.asm.mov(host::RDX, host::RCX);
            self.asm.raw(&[0x48, 0xc1, 0xe2, 16, 0x48, 0xc1, 0xfa, 16]);
            self.asm.op(Op::new(true, 0x3b), host::RDX, Rm::Reg(host::RCX));
            self.asm.jcc(cond::NE, elsewhere);
        }
        self.set_base(register, host::RCX);
    }

    /// BT, BTS, BTR, BTC: the register says which bit of the string that begins at the operand.
    fn bit_string(&mut self, plan: &Plan) {
        let Some(memory) = plan.memory else { return };
        let insn = &plan.insn;
        let raw = self.parse(plan);
        let op = raw.op;
        let index = number(insn.op1_register());
        let wide = memory.size == 8;
        let bits = memory.size as u8 * 8;
        self.effective_address(insn);
        let register = self.read_register(index, host::RDX);
        // movsxd or mov rdx, register; sar rdx, 5 or 6: in words from the operand
        self.asm.op(Op::new(true, if wide { 0x8b } else { 0x63 }), host::RDX, Rm::Reg(register));
        self.asm.raw(&[0x48, 0xc1, 0xfa, bits.trailing_zeros() as u8]);
        let scale = memory.size.trailing_zeros() as u8;
        self.asm.lea_index(host::RAX, Some(host::RAX), host::RDX, scale, 0);
        let segment = plan.segment();
        if segment >= seg::FS {
            self.asm.op(Op::new(true, 0x03), host::RAX, words::base(segment));
        }
        let Memory { size, write, aligned, locked } = memory;
        self.check(plan, Access { size, write, aligned, locked, segment, restore: true });
        let register = self.read_register(index, host::RCX);
        self.asm.op(Op::new(false, 0x8b), host::RCX, Rm::Reg(register));
        self.asm.alu_imm(false, AND, Rm::Reg(host::RCX), i32::from(bits) - 1);
        self.asm.mov(host::RDX, host::RAX);
        if plan.flags_wanted {
            self.want_native(plan.reads);
        }
        self.asm.op(op, host::RCX, Rm::At(host::RDX, 0));
    }

    /// An instruction on AH, BH, CH or DH, on scratch registers that have such halves too: none is coded with REX.
    fn high_byte(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let raw = self.parse(plan);
        let (op, modrm) = (raw.op, raw.modrm);
        let imm: ([u8; 4], usize) = copy(raw.imm);
        let in_memory = plan.memory.map(|_| self.operand(plan, host::RDX));
        if plan.reads_flags() || plan.writes_part && plan.flags_wanted {
            self.want_native(plan.reads);
        }
        let is_register = |index: &u32| insn.op_kind(*index) == OpKind::Register;
        let registers = || (0..insn.op_count()).filter(is_register).map(|index| insn.op_register(index));
        let first = registers().next().map(number);
        let scratch = |register| if Some(number(register)) == first { host::RAX } else { host::RCX };
        for register in registers() {
            let whole = self.guest(number(register));
            self.asm.mov(scratch(register), whole);
        }
        let field = |index: u32| {
            let register = insn.op_register(index);
            scratch(register) | if operands::is_high_byte(register) { 4 } else { 0 }
        };
        if insn.code() == iced_x86::Code::Mov_r8_imm8 {
            self.asm.raw(&[0xb0 | field(0), imm.0[0]]);
        } else {
            let (in_rm, in_reg) = if is_rm_first(op) { (0, 1) } else { (1, 0) };
            let rm = in_memory.unwrap_or_else(|| Rm::Reg(field(in_rm)));
            let extended = has_extension(op.map, op.code);
            self.asm.op(op, if extended { modrm >> 3 & 7 } else { field(in_reg) }, rm);
            self.asm.raw(&imm.0[..imm.1]);
        }
        if plan.writes_first && is_register(&0) {
            self.set_register(number(insn.op0_register()), scratch(insn.op0_register()));
        }
    }
}
