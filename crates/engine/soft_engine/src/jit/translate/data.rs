//! Instructions that work on data: their operands are mapped, then they are emitted as they are.

use super::*;
use crate::undefined;

/// A guest instruction's bytes, taken apart.
pub(super) struct Raw<'a> {
    pub op: Op,
    pub modrm: u8,
    pub rex: u8,
    pub imm: &'a [u8],
}

/// The number of a general-purpose register as instructions encode it.
pub(super) fn number(register: Register) -> usize {
    register.full_register().number()
}

impl Unit<'_> {
    /// The host register of a pinned guest register.
    pub(super) fn guest(&self, number: usize) -> u8 {
        PINNED[number].expect("the stack pointer and the accumulators are pinned")
    }

    /// The register that holds guest register `number`, which is `scratch` if it had to be loaded.
    pub(super) fn read_register(&mut self, number: usize, scratch: u8) -> u8 {
        PINNED[number].unwrap_or_else(|| {
            self.asm.load(scratch, words::gpr(number as u8));
            scratch
        })
    }

    /// Sets all 64 bits of a guest register.
    pub(super) fn set_register(&mut self, number: usize, from: u8) {
        match PINNED[number] {
            Some(register) if register != from => self.asm.mov(register, from),
            Some(_) => {}
            None => self.asm.store(words::gpr(number as u8), from),
        }
    }

    /// An instruction of this unit with a ModRM byte, taken apart.
    pub(super) fn parse(&self, plan: &Plan) -> Raw<'_> {
        let start = usize::from(plan.offset);
        let bytes = &self.context.bytes[start..start + plan.insn.len()];
        let mut op = Op::default();
        let (mut at, mut rex) = (0, 0);
        loop {
            // REX counts only right before the opcode (SDM vol. 2A, 2.2.1).
            let before = std::mem::take(&mut rex);
            match bytes[at] {
                byte @ 0x40..=0x4f => rex = byte,
                0x66 => op.operand16 = true,
                0xf2 | 0xf3 => op.repeat = bytes[at],
                0xf0 => op.lock = is_locked(&plan.insn, self.context.is_alone),
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67 => {}
                _ => {
                    rex = before;
                    break;
                }
            }
            at += 1;
        }
        op.wide = rex & 8 != 0;
        if bytes[at] == 0x0f {
            op.map = match bytes[at + 1] {
                0x38 => 2,
                0x3a => 3,
                _ => 1,
            };
            at += if op.map == 1 { 1 } else { 2 };
        }
        op.code = bytes[at];
        if op.map == 0 || op.lock {
            // A repeat prefix that says nothing here (XACQUIRE and the like).
            op.repeat = 0;
        }
        if plan::is_older(&plan.insn, self.context.features) {
            op.repeat = 0;
        }
        let imm = bytes.len() - immediate_size(&plan.insn);
        let modrm = documented(op, bytes[at + 1]);
        Raw { op, modrm, rex, imm: &bytes[imm..] }
    }

    /// An instruction on general-purpose registers, as it is.
    pub(super) fn mapped(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let raw = self.parse(plan);
        let (mut op, modrm, rex) = (raw.op, raw.modrm, raw.rex);
        let imm: ([u8; 4], usize) = copy(raw.imm);
        let registers = (0..insn.op_count().min(2)).filter(|index| insn.op_kind(*index) == OpKind::Register);
        op.byte = registers.clone().any(|index| insn.op_register(index).size() == 1);
        let swaps = matches!(insn.mnemonic(), Mnemonic::Xadd | Mnemonic::Xchg);
        let rm_first = is_rm_first(op);
        let is_memory = modrm >> 6 != 3;
        let mut rm = Rm::Reg(0);
        if is_memory {
            rm = self.operand(plan, host::RAX);
            if plan.reads_flags() || plan.writes_part && plan.flags_wanted {
                rm = self.want_native_beside(rm);
            }
        }
        let rm_number = usize::from(modrm & 7 | (rex & 1) << 3);
        let writes_rm = !is_memory && if rm_first { plan.writes_first } else { swaps };
        if !is_memory {
            rm = Rm::Reg(self.read_register(rm_number, host::RDX));
        }
        let reg_field = modrm >> 3 & 7;
        let extension = has_extension(op.map, op.code);
        let reg_number = usize::from(reg_field | (rex & 4) << 1);
        let reg = if extension { reg_field } else { self.read_register(reg_number, host::RCX) };
        let writes_reg = !extension && if rm_first { swaps } else { plan.writes_first };
        self.asm.op(op, reg, rm);
        self.asm.raw(&imm.0[..imm.1]);
        if writes_reg {
            self.set_register(reg_number, reg);
        }
        if let (true, Rm::Reg(register)) = (writes_rm, rm) {
            self.set_register(rm_number, register);
        }
        self.bind_after();
    }

    /// A shift or rotation by CL. A count of zero leaves the flags alone, and of other counts some are undefined: where
    /// anybody looks, they go to memory with those cleared.
    pub(super) fn shift_by_cl(&mut self, plan: &Plan) {
        let raw = self.parse(plan);
        let (op, modrm) = (raw.op, raw.modrm);
        let mnemonic = plan.insn.mnemonic();
        let rotates = matches!(mnemonic, Mnemonic::Rol | Mnemonic::Ror);
        if plan.flags_wanted && rotates {
            self.want_native(0);
        }
        let count = self.read_register(1, host::RCX);
        self.asm.op(Op::new(false, 0x8b), host::RCX, Rm::Reg(count));
        let number = number(plan.insn.op0_register());
        let register = self.read_register(number, host::RDX);
        self.asm.op(op, modrm >> 3 & 7, Rm::Reg(register));
        self.set_register(number, register);
        self.native = false;
        if plan.flags_wanted {
            let always = undefined::after_shift(mnemonic, if op.wide { 64 } else { 32 }, 1);
            self.save_counted(always, if op.wide { 63 } else { 31 });
        }
    }

    /// Saves the host's flags, less those that are `void`, unless RCX, cut to `mask`, is zero; OF where it is 1 alone.
    fn save_counted(&mut self, void: u64, mask: i32) {
        let unchanged = self.asm.label();
        // lahf; seto al
        self.asm.raw(&[0x9f, 0x0f, 0x90, 0xc0]);
        if void != 0 {
            self.asm.alu_imm(false, AND, Rm::Reg(host::RAX), !in_word(void));
        }
        self.asm.alu_imm(false, AND, Rm::Reg(host::RCX), mask);
        // sub ecx, 1
        self.asm.alu_imm(false, 5, Rm::Reg(host::RCX), 1);
        self.asm.jcc(cond::B, unchanged);
        // sete cl; and al, cl
        self.asm.raw(&[0x0f, 0x94, 0xc1, 0x20, 0xc8]);
        self.asm.op(Op::new(false, 0x89), host::RAX, word_at!(flags));
        self.asm.bind(unchanged);
    }

    /// BSF and BSR: a source of zero leaves all 64 bits of the destination alone, whatever the host does then.
    pub(super) fn scan(&mut self, plan: &Plan) {
        let raw = self.parse(plan);
        let (op, modrm, rex) = (raw.op, raw.modrm, raw.rex);
        let rm = if modrm >> 6 != 3 {
            self.operand(plan, host::RAX)
        } else {
            Rm::Reg(self.read_register(usize::from(modrm & 7 | (rex & 1) << 3), host::RDX))
        };
        self.asm.op(op, host::RCX, rm);
        let number = usize::from(modrm >> 3 & 7 | (rex & 4) << 1);
        let register = self.read_register(number, host::RDX);
        // cmovne register, rcx. A width of 64 bits goes before one of 16.
        let operand16 = op.operand16 && !op.wide;
        let move_if = Op { wide: !operand16, operand16, map: 1, code: 0x45, ..Op::default() };
        self.asm.op(move_if, register, Rm::Reg(host::RCX));
        self.set_register(number, register);
        self.bind_after();
    }

    pub(super) fn accumulator_immediate(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let size = insn.op0_register().size();
        let start = usize::from(plan.offset);
        let bytes = &self.context.bytes[start..start + insn.len()];
        let imm: ([u8; 4], usize) = copy(&bytes[insn.len() - immediate_size(insn)..]);
        let code = bytes[insn.len() - imm.1 - 1];
        let is_test = insn.mnemonic() == Mnemonic::Test;
        let op = Op {
            operand16: size == 2,
            wide: size == 8,
            byte: size == 1,
            code: if is_test { 0xf6 } else { 0x80 } | u8::from(size > 1),
            ..Op::default()
        };
        let register = self.guest(0);
        self.asm.op(op, if is_test { 0 } else { code >> 3 & 7 }, Rm::Reg(register));
        self.asm.raw(&imm.0[..imm.1]);
    }

    pub(super) fn mov_immediate(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let number = number(insn.op0_register());
        let value = insn.immediate(1);
        match insn.op0_register().size() {
            size @ (1 | 2) => {
                let register = self.read_register(number, host::RCX);
                let op = Op {
                    operand16: size == 2,
                    byte: size == 1,
                    code: 0xc6 | (size as u8 - 1),
                    ..Op::default()
                };
                self.asm.op(op, 0, Rm::Reg(register));
                self.asm.raw(&value.to_le_bytes()[..size]);
                self.set_register(number, register);
            }
            size => {
                let value = if size == 4 { value & 0xffff_ffff } else { value };
                let register = PINNED[number].unwrap_or(host::RCX);
                match u32::try_from(value) {
                    Ok(value) => self.asm.mov_imm(register, value),
                    Err(_) => self.asm.mov_imm64(register, value),
                }
                self.set_register(number, register);
            }
        }
    }

    pub(super) fn lea(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        self.effective_address(insn);
        if insn.op0_register().size() == 4 {
            self.asm.op(Op::new(false, 0x8b), host::RAX, Rm::Reg(host::RAX));
        }
        self.set_register(number(insn.op0_register()), host::RAX);
    }

    pub(super) fn push(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let stack = self.guest(4);
        let top = self.stack(plan, stack, -8, true);
        if insn.op0_kind() == OpKind::Register {
            let register = self.read_register(number(insn.op0_register()), host::RCX);
            self.asm.store(top, register);
        } else {
            self.asm.op(Op::new(true, 0xc7), 0, top);
            self.asm.word(insn.immediate(0) as u32);
        }
        self.asm.lea(stack, stack, -8);
        self.bind_after();
    }

    pub(super) fn pop(&mut self, plan: &Plan) {
        let stack = self.guest(4);
        let top = self.stack(plan, stack, 0, false);
        self.asm.load(host::RCX, top);
        self.asm.lea(stack, stack, 8);
        self.set_register(number(plan.insn.op0_register()), host::RCX);
        self.bind_after();
    }

    pub(super) fn leave(&mut self, plan: &Plan) {
        let (stack, frame) = (self.guest(4), self.guest(5));
        let top = self.stack(plan, frame, 0, false);
        self.asm.lea(stack, frame, 8);
        self.asm.load(frame, top);
        self.bind_after();
    }

    /// CWDE, CDQE, CDQ, CQO.
    pub(super) fn widen(&mut self, plan: &Plan) {
        let (low, high) = (self.guest(0), self.guest(2));
        match plan.insn.mnemonic() {
            Mnemonic::Cwde => self.asm.op(Op { map: 1, code: 0xbf, ..Op::default() }, low, Rm::Reg(low)),
            Mnemonic::Cdqe => self.asm.op(Op::new(true, 0x63), low, Rm::Reg(low)),
            mnemonic => {
                let wide = mnemonic == Mnemonic::Cqo;
                self.asm.mov(host::RAX, low);
                self.asm.raw(if wide { &[0x48, 0x99] } else { &[0x99] });
                self.asm.mov(high, host::RDX);
            }
        }
    }

    /// MUL and IMUL with one operand of 4 or 8 bytes.
    pub(super) fn multiply(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let wide = match plan.memory {
            Some(memory) => memory.size == 8,
            None => insn.op0_register().size() == 8,
        };
        let source = if plan.memory.is_some() {
            let source = self.operand(plan, host::RAX);
            self.asm.op(Op::new(wide, 0x8b), host::RCX, source);
            host::RCX
        } else {
            self.read_register(number(insn.op0_register()), host::RCX)
        };
        let (low, high) = (self.guest(0), self.guest(2));
        self.asm.mov(host::RAX, low);
        let which = if insn.mnemonic() == Mnemonic::Mul { 4 } else { 5 };
        self.asm.op(Op::new(wide, 0xf7), which, Rm::Reg(source));
        self.asm.op(Op::new(wide, 0x8b), low, Rm::Reg(host::RAX));
        self.asm.op(Op::new(wide, 0x8b), high, Rm::Reg(host::RDX));
        self.bind_after();
    }

    /// DIV and IDIV where the quotient surely fits; the interpreter does the others, and raises where it has to.
    pub(super) fn divide(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let wide = insn.op0_register().size() == 8;
        let (elsewhere, _) = self.interpreter_instead(plan);
        let divisor = self.read_register(number(insn.op0_register()), host::RCX);
        if divisor != host::RCX {
            self.asm.mov(host::RCX, divisor);
        }
        let (low, high) = (self.guest(0), self.guest(2));
        if insn.mnemonic() == Mnemonic::Div {
            self.asm.op(Op::new(wide, 0x3b), high, Rm::Reg(host::RCX));
            self.asm.jcc(cond::AE, elsewhere);
            self.asm.mov(host::RAX, low);
            self.asm.mov(host::RDX, high);
            self.asm.op(Op::new(wide, 0xf7), 6, Rm::Reg(host::RCX));
        } else {
            // Neither 0 nor -1, and a dividend that fits into the lower half.
            self.asm.op(Op::new(wide, 0x8d), host::RDX, Rm::At(host::RCX, 1));
            self.asm.alu_imm(wide, 7, Rm::Reg(host::RDX), 1);
            self.asm.jcc(cond::BE, elsewhere);
            self.asm.mov(host::RAX, low);
            self.asm.raw(if wide { &[0x48, 0x99] } else { &[0x99] });
            self.asm.op(Op::new(wide, 0x3b), host::RDX, Rm::Reg(high));
            self.asm.jcc(cond::NE, elsewhere);
            self.asm.mov(host::RAX, low);
            self.asm.raw(if wide { &[0x48, 0x99] } else { &[0x99] });
            self.asm.op(Op::new(wide, 0xf7), 7, Rm::Reg(host::RCX));
        }
        self.asm.op(Op::new(wide, 0x8b), low, Rm::Reg(host::RAX));
        self.asm.op(Op::new(wide, 0x8b), high, Rm::Reg(host::RDX));
        if plan.flags_wanted {
            // A division leaves all flags undefined.
            emit_clear(self.asm);
        }
        (self.native, self.saved) = (false, true);
        self.bind_after();
    }

    pub(super) fn compare_exchange(&mut self, plan: &Plan) {
        let raw = self.parse(plan);
        let (op, modrm, rex) = (raw.op, raw.modrm, raw.rex);
        let byte = op.code == 0xb0;
        let rm_number = usize::from(modrm & 7 | (rex & 1) << 3);
        let in_memory = modrm >> 6 != 3;
        let rm = if in_memory {
            self.operand(plan, host::RDX)
        } else {
            Rm::Reg(self.read_register(rm_number, host::RDX))
        };
        let reg = self.read_register(usize::from(modrm >> 3 & 7 | (rex & 4) << 1), host::RCX);
        let accumulator = self.guest(0);
        // A register operand may be the accumulator itself.
        self.asm.mov(host::RAX, accumulator);
        self.asm.op(Op { byte, ..op }, reg, rm);
        if let Rm::Reg(register) = rm {
            self.set_register(rm_number, register);
            if rm_number == 0 {
                self.bind_after();
                return;
            }
        }
        self.asm.mov(accumulator, host::RAX);
        self.bind_after();
    }

    pub(super) fn exchange_registers(&mut self, plan: &Plan) {
        let insn = &plan.insn;
        let (first, second) = (number(insn.op0_register()), number(insn.op1_register()));
        let wide = insn.op0_register().size() == 8;
        let a = self.read_register(first, host::RCX);
        let b = self.read_register(second, host::RDX);
        self.asm.op(Op::new(wide, 0x8b), host::RCX, Rm::Reg(a));
        self.asm.op(Op::new(wide, 0x8b), host::RDX, Rm::Reg(b));
        self.set_register(first, host::RDX);
        self.set_register(second, host::RCX);
    }

    /// MOVZX from AH, CH, DH, BH, by way of the host's AH.
    pub(super) fn zero_extend_high_byte(&mut self, plan: &Plan) {
        let source = self.read_register(number(plan.insn.op1_register()), host::RAX);
        if source != host::RAX {
            self.asm.mov(host::RAX, source);
        }
        // movzx ecx, ah
        self.asm.raw(&[0x0f, 0xb6, 0xcc]);
        self.set_register(number(plan.insn.op0_register()), host::RCX);
    }

    pub(super) fn byte_swap(&mut self, plan: &Plan) {
        let register = plan.insn.op0_register();
        let number = number(register);
        let in_host = self.read_register(number, host::RCX);
        let wide = register.size() == 8;
        self.asm.byte(0x40 | u8::from(wide) << 3 | in_host >> 3);
        self.asm.raw(&[0x0f, 0xc8 | in_host & 7]);
        self.set_register(number, in_host);
    }
}

/// The ModRM byte by which manuals know the instruction: F6 /1 and F7 /1 are TEST like /0, which not every host knows.
fn documented(op: Op, modrm: u8) -> u8 {
    let is_test = op.map == 0 && matches!(op.code, 0xf6 | 0xf7) && modrm >> 3 & 7 == 1;
    if is_test { modrm & !0x38 } else { modrm }
}

/// Whether the host locks what `insn` does to memory, on a machine that `is_alone` says has one vCPU.
pub(super) fn is_locked(insn: &Instruction, is_alone: bool) -> bool {
    let exchanges = insn.mnemonic() == Mnemonic::Xchg && (0..2).any(|index| operands::is_memory(insn, index));
    exchanges || insn.has_lock_prefix() && (!is_alone || is_fence(insn))
}

/// Whether a locked instruction is there for the order of other accesses alone: it changes nothing, or what it changes is
/// on the stack. With a single vCPU only these need the prefix: devices do read the guest's memory beside it, but none
/// changes a word that a guest may change at the same time.
fn is_fence(insn: &Instruction) -> bool {
    insn.memory_base() == Register::RSP || insn.op1_kind() != OpKind::Register && insn.immediate(1) == 0
}

/// Bytes of immediates that instructions with ModRM have: at most four.
pub(super) fn copy(imm: &[u8]) -> ([u8; 4], usize) {
    let mut bytes = [0; 4];
    let len = imm.len().min(4);
    bytes[..len].copy_from_slice(&imm[..len]);
    (bytes, len)
}

pub(super) fn immediate_size(insn: &Instruction) -> usize {
    let one_by_opcode = matches!(insn.op_count(), 1 | 2) && is_shift_by_one(insn);
    (0..insn.op_count())
        .map(|index| match insn.op_kind(index) {
            OpKind::Immediate8 if one_by_opcode => 0,
            OpKind::Immediate8 | OpKind::Immediate8to16 | OpKind::Immediate8to32 | OpKind::Immediate8to64 => {
                1
            }
            OpKind::Immediate16 => 2,
            OpKind::Immediate32 | OpKind::Immediate32to64 => 4,
            _ => 0,
        })
        .sum()
}

fn is_shift_by_one(insn: &Instruction) -> bool {
    use iced_x86::Code as C;
    matches!(
        insn.code(),
        C::Rol_rm8_1
            | C::Rol_rm16_1
            | C::Rol_rm32_1
            | C::Rol_rm64_1
            | C::Ror_rm8_1
            | C::Ror_rm16_1
            | C::Ror_rm32_1
            | C::Ror_rm64_1
            | C::Shl_rm8_1
            | C::Shl_rm16_1
            | C::Shl_rm32_1
            | C::Shl_rm64_1
            | C::Shr_rm8_1
            | C::Shr_rm16_1
            | C::Shr_rm32_1
            | C::Shr_rm64_1
            | C::Sar_rm8_1
            | C::Sar_rm16_1
            | C::Sar_rm32_1
            | C::Sar_rm64_1
    )
}

/// Opcodes whose ModRM reg field is part of the opcode.
pub(super) fn has_extension(map: u8, code: u8) -> bool {
    match map {
        0 => {
            matches!(code, 0x80..=0x83 | 0xc0 | 0xc1 | 0xc6 | 0xc7 | 0xd0..=0xd3 | 0xf6 | 0xf7 | 0xfe | 0xff)
        }
        1 => matches!(code, 0x71..=0x73 | 0x90..=0x9f | 0xba),
        _ => false,
    }
}

/// Whether operand 0 is the one that the r/m field names.
pub(super) fn is_rm_first(Op { map, code, repeat, .. }: Op) -> bool {
    match map {
        0 if code < 0x40 => code & 2 == 0,
        0 => !matches!(code, 0x63 | 0x69 | 0x6b | 0x8a | 0x8b),
        1 => matches!(
            code,
            0x90..=0x9f | 0xa3 | 0xa4 | 0xab | 0xac | 0xb0 | 0xb1 | 0xb3 | 0xba | 0xbb | 0xc0 | 0xc1
        ),
        // MOVBE; with a repeat prefix it is CRC32.
        2 => repeat == 0 && code == 0xf1,
        _ => false,
    }
}
