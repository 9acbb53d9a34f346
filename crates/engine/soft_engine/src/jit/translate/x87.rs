//! x87 instructions: emitted as they are, on the host's unit.
//!
//! Of the host's conditions only those are used that an instruction defines; what it leaves undefined is as
//! [`undefined`](crate::undefined) says:
//!
//! ```text
//! comparisons, FXAM ──► all are kept        arithmetic, moves ──► C1 is the host's, the others are kept
//! FCOMI, FCMOV, FFREE ──► C1 is clear       FNSTSW, FNSTCW, FLDCW ──► C1 is kept first
//! ```

use super::data::Raw;
use super::*;
use crate::jit::words::conditions;

/// Exception masks of the control word (SDM vol. 1, 8.1.5).
const MASKS: u32 = 0x3f;
/// FNSTSW AX
const STORE_STATUS: [u8; 2] = [0xdf, 0xe0];
/// Of 16 bits: AND, OR, MOV from and to memory.
const AND_WORD: Op = word_op(0x23);
const OR_WORD: Op = word_op(0x0b);
const LOAD_WORD: Op = word_op(0x8b);
const STORE_WORD: Op = word_op(0x89);

const fn word_op(code: u8) -> Op {
    Op { operand16: true, repeat: 0, lock: false, wide: false, byte: false, map: 0, code }
}

impl Unit<'_> {
    pub(super) fn x87(&mut self, plan: &Plan) {
        match plan.insn.mnemonic() {
            // No exception waits: they are all masked.
            Mnemonic::Wait => {}
            Mnemonic::Fnop => self.remember(plan),
            Mnemonic::Fldcw => self.load_control(plan),
            Mnemonic::Fnstsw => self.store_status(plan),
            Mnemonic::Fnstcw => {
                self.keep_conditions();
                self.as_it_is(plan);
                self.bind_after();
            }
            mnemonic => {
                self.as_it_is(plan);
                self.note_conditions(mnemonic);
                self.remember(plan);
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

    /// Notes which conditions the instruction has defined in the host's unit.
    fn note_conditions(&mut self, mnemonic: Mnemonic) {
        match undefined::conditions(mnemonic) {
            0 => self.take_conditions(),
            open if open & undefined::C1 != 0 => self.set_sources(conditions::CLEAR_C1),
            _ => self.set_sources(conditions::HOST_C1),
        }
    }

    /// The host's conditions are the guest's now.
    fn take_conditions(&mut self) {
        self.asm.raw(&STORE_STATUS);
        self.asm.op(STORE_WORD, host::RAX, word_at!(fpu_conditions));
        self.set_sources(conditions::ALL_KEPT);
    }

    fn set_sources(&mut self, sources: u32) {
        if self.sources != Some(sources) {
            self.asm.op(Op::new(false, 0xc7), 0, word_at!(fpu_sources));
            self.asm.word(sources);
            self.sources = Some(sources);
        }
    }

    /// Makes AX the guest's status word, and what is kept; destroys RCX and flags.
    fn keep_status(&mut self) {
        self.asm.raw(&STORE_STATUS);
        self.asm.op(AND_WORD, host::RAX, word_at!(fpu_sources));
        self.asm.op(LOAD_WORD, host::RCX, word_at!(fpu_conditions));
        self.asm.op(AND_WORD, host::RCX, words::kept_conditions());
        self.asm.op(OR_WORD, host::RAX, Rm::Reg(host::RCX));
        self.asm.op(STORE_WORD, host::RAX, word_at!(fpu_conditions));
        self.set_sources(conditions::ALL_KEPT);
        self.native = false;
    }

    /// Before an instruction that may do anything to the host's conditions.
    fn keep_conditions(&mut self) {
        if matches!(self.sources, None | Some(conditions::HOST_C1)) {
            self.keep_status();
        }
    }

    /// FNSTSW: the status word with the guest's conditions.
    fn store_status(&mut self, plan: &Plan) {
        self.keep_status();
        if plan.memory.is_none() {
            self.asm.op(LOAD_WORD, self.guest(0), Rm::Reg(host::RAX));
            return;
        }
        let rm = self.operand(plan, host::RAX);
        self.asm.op(LOAD_WORD, host::RCX, word_at!(fpu_conditions));
        self.asm.op(STORE_WORD, host::RCX, rm);
        self.bind_after();
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
        self.keep_conditions();
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
