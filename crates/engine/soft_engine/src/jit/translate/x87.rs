//! x87 instructions: emitted as they are, on the host's unit.

use super::data::Raw;
use super::*;

/// Exception masks of the control word (SDM vol. 1, 8.1.5).
const MASKS: u32 = 0x3f;

impl Unit<'_> {
    pub(super) fn x87(&mut self, plan: &Plan) {
        match plan.insn.mnemonic() {
            // No exception waits: they are all masked.
            Mnemonic::Wait => {}
            Mnemonic::Fldcw => self.load_control(plan),
            Mnemonic::Fnstsw if plan.memory.is_none() => {
                // fnstsw ax; mov accumulator, ax
                self.asm.raw(&[0xdf, 0xe0]);
                let op = Op { operand16: true, code: 0x8b, ..Op::default() };
                self.asm.op(op, self.guest(0), Rm::Reg(host::RAX));
            }
            mnemonic => {
                self.as_it_is(plan);
                if !plan::is_x87_control(mnemonic) {
                    self.remember(plan);
                }
                self.bind_after();
            }
        }
    }

    fn as_it_is(&mut self, plan: &Plan) {
        let Raw { op, modrm, .. } = self.parse(plan);
        if plan.memory.is_some() {
            let rm = self.operand(plan, host::RAX);
            self.asm.op(Op::new(false, op.code), modrm >> 3 & 7, rm);
        } else {
            self.asm.raw(&documented(op.code, modrm));
        }
    }

    /// Notes where the instruction stands, and its operand's effective address.
    fn remember(&mut self, plan: &Plan) {
        self.asm.load(host::RAX, word_at!(page));
        self.asm.lea(host::RAX, host::RAX, plan.offset.into());
        self.asm.store(word_at!(fpu_instruction), host::RAX);
        if plan.memory.is_some() {
            self.effective_address(&plan.insn);
            self.asm.store(word_at!(fpu_data), host::RAX);
        }
    }

    /// FLDCW, if it leaves all exceptions masked.
    fn load_control(&mut self, plan: &Plan) {
        let (elsewhere, _) = self.interpreter_instead(plan);
        let rm = self.operand(plan, host::RAX);
        // movzx ecx, word [rax]; not ecx; test ecx, masks
        self.asm.op(Op { map: 1, code: 0xb7, ..Op::default() }, host::RCX, rm);
        self.asm.op(Op::new(false, 0xf7), 2, Rm::Reg(host::RCX));
        self.asm.op(Op::new(false, 0xf7), 0, Rm::Reg(host::RCX));
        self.asm.word(MASKS);
        self.asm.jcc(cond::NE, elsewhere);
        self.asm.op(Op::new(false, 0xd9), 5, rm);
        self.bind_after();
    }
}

/// The encoding by which manuals know an instruction on registers: not every host knows the others.
fn documented(code: u8, modrm: u8) -> [u8; 2] {
    const FCOM: [u8; 2] = [0xd8, 0xd0];
    const FCOMP: [u8; 2] = [0xd8, 0xd8];
    const FXCH: [u8; 2] = [0xd9, 0xc8];
    const FSTP: [u8; 2] = [0xdd, 0xd8];
    let [code, first] = match (code, modrm & 0xf8) {
        (0xdc, 0xd0) => FCOM,
        (0xdc, 0xd8) | (0xde, 0xd0) => FCOMP,
        (0xdd | 0xdf, 0xc8) => FXCH,
        (0xdf, 0xd0 | 0xd8) => FSTP,
        (code, first) => [code, first],
    };
    [code, first | modrm & 7]
}
