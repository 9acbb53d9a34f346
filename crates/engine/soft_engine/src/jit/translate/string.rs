//! REP MOVS and REP STOS: the host's own, as far as a page reaches.

use super::*;

/// Elements of eight bytes that are moved one by one at most.
const FEW: i32 = 16;

impl Unit<'_> {
    /// Moves as many elements at a time as lie before the next page's start, at the source and at the destination.
    /// The interpreter does what goes down, what misses the TLB, and the rest once somebody wants something.
    pub(super) fn string(&mut self, plan: &Plan, element: u8) {
        let moves = plan.insn.op1_kind() == OpKind::MemorySegRSI;
        let (elsewhere, after) = self.interpreter_instead(plan);
        let again = self.asm.label();
        let count = self.guest(1);
        // test dword [flags], DF
        self.asm.op(Op::new(false, 0xf7), 0, words::flags());
        self.asm.word(flags::DF as u32);
        self.asm.jcc(cond::NE, elsewhere);
        self.asm.bind(again);
        self.asm.op(Op::new(true, 0x85), count, Rm::Reg(count));
        self.asm.jcc(cond::E, after);
        self.elements_in_page(element, moves);
        self.asm.jcc(cond::E, elsewhere);
        self.at_most(count);
        self.asm.store(word_at!(address), host::RCX);
        if moves {
            self.distance(host::RSI, tlb::READ, elsewhere);
            self.asm.store(word_at!(kept), host::RAX);
        }
        self.distance(host::RDI, tlb::WRITE, elsewhere);
        self.asm.load(host::RCX, word_at!(address));
        // sub count, rcx
        self.asm.op(Op::new(true, 0x2b), count, Rm::Reg(host::RCX));
        self.transfer(element, moves);
        self.asm.op(Op::new(true, 0x85), count, Rm::Reg(count));
        self.asm.jcc(cond::E, after);
        self.asm.load(host::RAX, word_at!(pending));
        self.asm.alu_imm(false, 7, Rm::At(host::RAX, 0), 0);
        self.asm.jcc(cond::E, again);
        self.asm.jmp(elsewhere);
        self.bind_after();
    }

    /// ECX is how many elements lie whole before the end of a page; the host's ZF says that there are none.
    fn elements_in_page(&mut self, element: u8, moves: bool) {
        self.asm.op(Op::new(false, 0x8b), host::RAX, Rm::Reg(host::RDI));
        self.asm.alu_imm(false, 4, Rm::Reg(host::RAX), 0xfff);
        if moves {
            self.asm.op(Op::new(false, 0x8b), host::RCX, Rm::Reg(host::RSI));
            self.asm.alu_imm(false, 4, Rm::Reg(host::RCX), 0xfff);
            // cmp eax, ecx; cmovb eax, ecx
            self.asm.op(Op::new(false, 0x3b), host::RAX, Rm::Reg(host::RCX));
            self.asm.op(Op { map: 1, code: 0x42, ..Op::default() }, host::RAX, Rm::Reg(host::RCX));
        }
        self.asm.mov_imm(host::RCX, PAGE as u32);
        self.asm.op(Op::new(false, 0x2b), host::RCX, Rm::Reg(host::RAX));
        if element > 0 {
            // shr ecx, element
            self.asm.op(Op::new(false, 0xc1), 5, Rm::Reg(host::RCX));
            self.asm.byte(element);
        }
    }

    /// RCX becomes `count` if that is less. Keeps no flags.
    fn at_most(&mut self, count: u8) {
        // cmp rcx, count; cmova rcx, count
        self.asm.op(Op::new(true, 0x3b), host::RCX, Rm::Reg(count));
        self.asm.op(Op { wide: true, map: 1, code: 0x47, ..Op::default() }, host::RCX, Rm::Reg(count));
    }

    /// RAX is how far the host's address of the page at `pointer` is from the guest's. Clobbers RCX and RDX.
    fn distance(&mut self, pointer: u8, tag: i32, miss: Label) {
        self.asm.mov(host::RAX, pointer);
        self.tlb_entry();
        self.asm.load(host::RDX, Rm::At(host::RCX, tag));
        self.asm.op(Op::new(true, 0x33), host::RDX, Rm::Reg(host::RAX));
        self.asm.alu_imm(true, 7, Rm::Reg(host::RDX), PAGE as i32 - 1);
        self.asm.jcc(cond::A, miss);
        self.asm.alu_imm(true, 4, Rm::Reg(host::RAX), -(PAGE as i32));
        self.asm.load(host::RCX, Rm::At(host::RCX, tlb::FRAME));
        // neg rax; add rax, rcx
        self.asm.op(Op::new(true, 0xf7), 3, Rm::Reg(host::RAX));
        self.asm.op(Op::new(true, 0x03), host::RAX, Rm::Reg(host::RCX));
    }

    /// Does RCX elements; RAX and `kept` are the distances of destination and source.
    fn transfer(&mut self, element: u8, moves: bool) {
        self.asm.mov(host::RDX, host::RAX);
        let (add, sub) = (Op::new(true, 0x03), Op::new(true, 0x2b));
        if moves {
            self.asm.op(add, host::RSI, word_at!(kept));
        } else {
            let accumulator = self.guest(0);
            self.asm.mov(host::RAX, accumulator);
        }
        self.asm.op(add, host::RDI, Rm::Reg(host::RDX));
        let (many, end) = (self.asm.label(), self.asm.label());
        if element == 3 {
            self.asm.alu_imm(true, 7, Rm::Reg(host::RCX), FEW);
            self.asm.jcc(cond::A, many);
            self.one_by_one(moves);
            self.asm.jmp(end);
            self.asm.bind(many);
        }
        self.repeat(element, moves);
        self.asm.bind(end);
        self.asm.op(sub, host::RDI, Rm::Reg(host::RDX));
        if moves {
            self.asm.op(sub, host::RSI, word_at!(kept));
        }
    }

    /// Eight bytes at a time: what the host's own needs to begin is worth a dozen of them.
    fn one_by_one(&mut self, moves: bool) {
        let next = self.asm.label();
        self.asm.bind(next);
        if moves {
            self.asm.load(host::RAX, Rm::At(host::RSI, 0));
            self.asm.lea(host::RSI, host::RSI, 8);
        }
        self.asm.store(Rm::At(host::RDI, 0), host::RAX);
        self.asm.lea(host::RDI, host::RDI, 8);
        // dec ecx
        self.asm.op(Op::new(false, 0xff), 1, Rm::Reg(host::RCX));
        self.asm.jcc(cond::NE, next);
    }

    /// The host's instruction.
    fn repeat(&mut self, element: u8, moves: bool) {
        if element == 1 {
            self.asm.byte(0x66);
        }
        self.asm.byte(0xf3);
        if element == 3 {
            self.asm.byte(0x48);
        }
        let code = if moves { 0xa4 } else { 0xaa };
        self.asm.byte(code | u8::from(element > 0));
    }
}
