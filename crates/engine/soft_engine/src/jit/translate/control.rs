//! Branches, calls, returns, and the ways out of a unit.

use super::data::number;
use super::*;

/// Instructions looked at behind an edge for whether the flags are dead there.
const LOOK_AHEAD: usize = 5;

impl Unit<'_> {
    /// Goes on at `offset` from the page's start, out of the unit; `from` is where the branch stands.
    pub(super) fn edge(&mut self, offset: i64, from: u16) {
        let Some(inside) = usize::try_from(offset).ok().filter(|offset| *offset < PAGE) else {
            self.save_flags();
            self.asm.load(host::RAX, word_at!(page));
            self.asm.lea(host::RAX, host::RAX, offset as i32);
            let label = self.asm.label();
            self.jump_to_rax(label);
            self.out_of_line.push(OutOfLine::Missed { label });
            return;
        };
        if !self.saved && !self.flags_are_dead_at(inside) {
            self.save_flags();
        }
        let stub = self.asm.label();
        if offset <= from.into() {
            // A loop: whoever wants something gets it here. JRCXZ leaves the flags alone.
            self.asm.load(host::RCX, word_at!(pending));
            self.asm.op(Op::new(false, 0x8b), host::RCX, Rm::At(host::RCX, 0));
            self.asm.raw(&[0xe3, 5]);
            self.asm.jmp(stub);
        }
        let at = self.asm.here() + 1;
        self.asm.jmp(stub);
        self.note_edge(at, inside, stub);
    }

    /// Looks for the code at RAX.
    fn look_up(&mut self, miss: Label) {
        let other = stubs::lookup(self.asm, miss);
        self.out_of_line.push(OutOfLine::OtherSalt(other));
    }

    fn jump_to_rax(&mut self, miss: Label) {
        self.look_up(miss);
        stubs::jump_found(self.asm);
    }

    fn note_edge(&mut self, at: usize, inside: usize, label: Label) {
        let edge = self.tables.edge(at, self.context.page + inside as u64);
        let save = (self.native && !self.saved).then_some(self.void);
        self.out_of_line.push(OutOfLine::Edge { label, edge, save });
    }

    /// Whether all status flags are overwritten at `offset` before anybody could look at them. What was looked at
    /// belongs to what the unit depends on.
    fn flags_are_dead_at(&mut self, offset: usize) -> bool {
        if offset < self.start {
            return false;
        }
        let mut info = InstructionInfoFactory::new();
        let mut decoder = Decoder::with_ip(64, &self.context.bytes[offset..], offset as u64, OPTIONS);
        for _ in 0..LOOK_AHEAD {
            let insn = decoder.decode();
            let end = insn.next_ip() as usize;
            if insn.is_invalid() || end > self.start + REACH_BYTES || end > PAGE {
                return false;
            }
            let plan = Plan::of(&insn, self.context.features, &mut info);
            if plan.reads_flags() || plan.writes_part || plan.may_leave() {
                return false;
            }
            if plan.writes_all {
                self.end = self.end.max(end);
                return true;
            }
        }
        false
    }

    pub(super) fn jump_if(&mut self, plan: &Plan) {
        self.want_native(plan.reads);
        let condition = plan.insn.condition_code() as u8 - iced_x86::ConditionCode::o as u8;
        let offset = plan.insn.near_branch_target() as i64;
        let label = self.asm.label();
        if offset > plan.offset.into()
            && (offset as usize) < PAGE
            && (self.saved || self.flags_are_dead_at(offset as usize))
        {
            let at = self.asm.here() + 2;
            self.asm.jcc(condition, label);
            self.note_edge(at, offset as usize, label);
            return;
        }
        self.asm.jcc(condition, label);
        let flags = (self.native, self.saved, self.void);
        self.out_of_line.push(OutOfLine::Taken { label, offset, from: plan.offset, flags });
    }

    /// The instructions after which the unit ends.
    pub(super) fn branch(&mut self, plan: &Plan) {
        match plan.template {
            Template::Jump => self.edge(plan.insn.near_branch_target() as i64, plan.offset),
            Template::Call => {
                self.push_return(plan);
                self.edge(plan.insn.near_branch_target() as i64, plan.offset);
            }
            Template::Return => self.ret(plan),
            Template::JumpIndirect => {
                self.target(plan);
                let miss = self.engine_instead(plan);
                self.jump_to_rax(miss);
                self.bind_after();
                self.edge(plan.next().into(), plan.offset);
            }
            _ => self.call_indirect(plan),
        }
    }

    /// RAX is the target of an indirect branch.
    fn target(&mut self, plan: &Plan) {
        if plan.memory.is_some() {
            let source = self.operand(plan, host::RAX);
            self.asm.load(host::RAX, source);
        } else {
            let register = self.read_register(number(plan.insn.op0_register()), host::RAX);
            if register != host::RAX {
                self.asm.mov(host::RAX, register);
            }
        }
    }

    /// Where to go when the template does not fit: the interpreter does the instruction, and the unit is left.
    fn engine_instead(&mut self, plan: &Plan) -> Label {
        let label = self.asm.label();
        let site = self.site(plan, 0, false, 0);
        self.out_of_line.push(OutOfLine::Interpret { label, site, after: Err(plan.next()) });
        label
    }

    /// The same where what follows in the unit goes on: also where that is.
    pub(super) fn interpreter_instead(&mut self, plan: &Plan) -> (Label, Label) {
        let label = self.asm.label();
        let after = *self.after.get_or_insert_with(|| self.asm.label());
        let site = self.site(plan, 0, false, 0);
        self.out_of_line.push(OutOfLine::Interpret { label, site, after: Ok(after) });
        self.native = false;
        (label, after)
    }

    fn push_return(&mut self, plan: &Plan) {
        let stack = self.guest(4);
        let top = self.stack(plan, stack, -8, true);
        self.asm.load(host::RCX, word_at!(page));
        self.asm.lea(host::RCX, host::RCX, plan.next().into());
        self.asm.store(top, host::RCX);
        self.asm.lea(stack, stack, -8);
        self.predict_return(plan, host::RCX);
        self.bind_after();
    }

    /// Tells the cache of returns where `address`, a register that is lost, leads, now that it is on the stack: by an
    /// edge that is not jumped along here. In another page nothing is known. RDX is lost.
    fn predict_return(&mut self, plan: &Plan, address: u8) {
        let inside = usize::from(plan.next());
        if inside >= PAGE {
            return;
        }
        let label = self.asm.label();
        self.returns_entry(host::RDX);
        self.asm.store(Rm::At(host::RDX, 0), address);
        self.asm.lea_label(address, label);
        let at = self.asm.here() - 4;
        self.asm.store(Rm::At(host::RDX, 8), address);
        let edge = self.tables.edge(at, self.context.page + inside as u64);
        self.out_of_line.push(OutOfLine::Edge { label, edge, save: None });
    }

    /// `register` is where the cache of returns has the entry for the top of the stack.
    fn returns_entry(&mut self, register: u8) {
        let stack = self.guest(4);
        self.asm.op(Op::new(false, 0x8b), register, Rm::Reg(stack));
        self.asm.alu_imm(false, 4, Rm::Reg(register), returns::MASK);
        self.asm.op(Op::new(true, 0x03), register, word_at!(returns));
    }

    fn call_indirect(&mut self, plan: &Plan) {
        self.target(plan);
        // Where the interpreter does an access of this instruction, it does all of it, and goes elsewhere.
        self.asm.store(word_at!(kept), host::RAX);
        let stack = self.guest(4);
        // Not in a window: the address is all there is.
        let _at_rax = self.stack(plan, stack, -8, true);
        self.asm.store(word_at!(address), host::RAX);
        self.asm.load(host::RAX, word_at!(kept));
        let miss = self.engine_instead(plan);
        self.look_up(miss);
        self.asm.load(host::RDX, word_at!(address));
        self.asm.store(word_at!(kept), host::RAX);
        self.asm.load(host::RAX, word_at!(page));
        self.asm.lea(host::RAX, host::RAX, plan.next().into());
        self.asm.store(Rm::At(host::RDX, 0), host::RAX);
        self.asm.lea(stack, stack, -8);
        self.predict_return(plan, host::RAX);
        self.asm.load(host::RAX, word_at!(kept));
        stubs::jump_found(self.asm);
        self.bind_after();
        self.edge(plan.next().into(), plan.offset);
    }

    fn ret(&mut self, plan: &Plan) {
        let stack = self.guest(4);
        let top = self.stack(plan, stack, 0, false);
        self.asm.load(host::RAX, top);
        let miss = self.engine_instead(plan);
        let (label, step) = (self.asm.label(), plan.insn.stack_pointer_increment());
        // Returns can make a loop by themselves: an entry is there until it is overwritten.
        stubs::look_at_requests(self.asm, label);
        self.returns_entry(host::RCX);
        self.asm.op(Op::new(true, 0x3b), host::RAX, Rm::At(host::RCX, 0));
        self.asm.jcc(cond::NE, label);
        self.asm.lea(stack, stack, step);
        stubs::jump_to(self.asm, 8);
        self.out_of_line.push(OutOfLine::OtherReturn { label, miss, step });
        self.bind_after();
        self.edge(plan.next().into(), plan.offset);
    }

    /// Returns to RAX, wherever that is.
    pub(super) fn return_elsewhere(&mut self, miss: Label, step: i32) {
        self.look_up(miss);
        let stack = self.guest(4);
        self.asm.lea(stack, stack, step);
        stubs::jump_found(self.asm);
    }
}
