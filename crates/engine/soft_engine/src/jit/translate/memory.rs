//! Accesses to memory: from a linear address to the host's.

use super::data::number;
use super::*;
use crate::jit::PLAIN;
use crate::jit::plan::Check;
use crate::memory::access::LINE_BYTES;

/// An access to memory in the making.
#[derive(Clone, Copy)]
pub(super) struct Access {
    /// Bytes.
    pub size: u32,
    pub write: bool,
    pub aligned: bool,
    pub locked: bool,
    pub segment: usize,
    /// The instruction says something with flags: whoever does it elsewhere has to load them afterwards.
    pub restore: bool,
}

impl Unit<'_> {
    /// RAX is the effective address of the memory operand.
    pub(super) fn effective_address(&mut self, insn: &Instruction) {
        self.shifted_address(insn, 0);
    }

    /// RAX is the effective address plus `shift`.
    fn shifted_address(&mut self, insn: &Instruction, shift: i32) {
        let disp = (insn.memory_displacement64() as i32).wrapping_add(shift);
        let (base, index) = (insn.memory_base(), insn.memory_index());
        if insn.is_ip_rel_memory_operand() {
            self.asm.load(host::RAX, word_at!(page));
            self.asm.lea(host::RAX, host::RAX, disp);
            return;
        }
        let base = (base != Register::None).then(|| self.read_register(number(base), host::RCX));
        if index != Register::None {
            let index = self.read_register(number(index), host::RDX);
            let scale = insn.memory_index_scale().trailing_zeros() as u8;
            self.asm.lea_index(host::RAX, base, index, scale, disp);
        } else if let Some(base) = base {
            self.asm.lea(host::RAX, base, disp);
        } else {
            self.asm.op(Op::new(true, 0xc7), 0, Rm::Reg(host::RAX));
            self.asm.word(disp as u32);
        }
    }

    /// The host's place of the memory operand, off `register`, which is RAX or RDX. Clobbers RAX, RCX and RDX.
    pub(super) fn operand(&mut self, plan: &Plan, register: u8) -> Rm {
        let memory = plan.memory.expect("asked for instructions with a memory operand");
        let segment = plan.segment();
        let restore = plan.writes_all || plan.writes_part || plan.reads_flags();
        let Memory { size, write, aligned, locked } = memory;
        let access = Access { size, write, aligned, locked, segment, restore };
        self.locate(plan, access, register, |unit, shift| {
            unit.shifted_address(&plan.insn, shift);
            if segment >= seg::FS {
                unit.asm.op(Op::new(true, 0x03), host::RAX, words::base(segment));
            }
        })
    }

    /// The host's place of 8 bytes of the stack at `disp` from `pointer`, off RAX.
    pub(super) fn stack(&mut self, plan: &Plan, pointer: u8, disp: i32, write: bool) -> Rm {
        let access =
            Access { size: 8, write, aligned: false, locked: false, segment: seg::SS, restore: false };
        self.locate(plan, access, host::RAX, |unit, shift| {
            unit.asm.lea(host::RAX, pointer, disp.wrapping_add(shift));
        })
    }

    /// The host's place of an access; `address` makes RAX its linear address plus a shift.
    fn locate(
        &mut self,
        plan: &Plan,
        access: Access,
        register: u8,
        address: impl FnOnce(&mut Self, i32),
    ) -> Rm {
        let own = match plan.check {
            Check::Follow { slot, own } => {
                self.asm.load(register, words::window(slot));
                return Rm::At(register, own);
            }
            Check::Lead { slot, own, span } => {
                address(self, -own);
                self.check_window(plan, access, own, span);
                self.asm.store(words::window(slot), host::RAX);
                own
            }
            Check::Own => {
                address(self, 0);
                self.check(plan, access);
                0
            }
        };
        if register != host::RAX {
            self.asm.mov(register, host::RAX);
        }
        Rm::At(register, own)
    }

    /// Turns the linear address RAX into the host's; RCX and RDX are lost. What misses is tried again, or done by the
    /// interpreter: then it goes on at the next [`bind_after`](Unit::bind_after).
    pub(super) fn check(&mut self, plan: &Plan, access: Access) {
        let (label, retry) = (self.asm.label(), self.asm.label());
        let after = *self.after.get_or_insert_with(|| self.asm.label());
        let site = self.site(plan, access.size, access.write, access.segment);
        self.asm.bind(retry);
        self.find_page(access, 0, access.size, label);
        self.out_of_line.push(OutOfLine::Miss { label, retry, after, site, restore: access.restore });
    }

    /// The same for the start of a window of `span` bytes, in which the access lies at `own`. What misses is tried
    /// again, or it goes on in the plain variant.
    fn check_window(&mut self, plan: &Plan, access: Access, own: i32, span: i32) {
        let (label, retry) = (self.asm.label(), self.asm.label());
        let site = self.site(plan, access.size, access.write, access.segment);
        self.tables.sites[site as usize].leads = true;
        self.asm.bind(retry);
        self.find_page(access, own, span as u32, label);
        let offset = plan.offset;
        self.out_of_line.push(OutOfLine::WindowMiss { label, retry, site, own, span, offset });
    }

    /// Looks for `size` bytes at RAX in the TLB; those at `own` may have to be aligned.
    fn find_page(&mut self, access: Access, own: i32, size: u32, miss: Label) {
        self.tlb_entry();
        let tag = if access.write { tlb::WRITE } else { tlb::READ };
        self.asm.load(host::RDX, Rm::At(host::RCX, tag));
        self.asm.op(Op::new(true, 0x33), host::RDX, Rm::Reg(host::RAX));
        self.asm.alu_imm(true, 7, Rm::Reg(host::RDX), 4096 - size as i32);
        self.asm.jcc(cond::A, miss);
        if access.locked && size > 1 {
            // What the line does not hold is locked by stopping the other vCPUs: see `memory/access.rs`.
            self.asm.op(Op::new(false, 0x8b), host::RDX, Rm::Reg(host::RAX));
            self.asm.alu_imm(false, 4, Rm::Reg(host::RDX), LINE_BYTES as i32 - 1);
            self.asm.alu_imm(false, 7, Rm::Reg(host::RDX), LINE_BYTES as i32 - size as i32);
            self.asm.jcc(cond::A, miss);
        }
        if access.aligned {
            let low = access.size as i32 - 1;
            if own & low == 0 {
                self.asm.raw(&[0xa8, low as u8]);
            } else {
                self.asm.lea(host::RDX, host::RAX, own);
                self.asm.raw(&[0xf6, 0xc2, low as u8]);
            }
            self.asm.jcc(cond::NE, miss);
        }
        self.asm.alu_imm(false, 4, Rm::Reg(host::RAX), 0xfff);
        self.asm.op(Op::new(true, 0x03), host::RAX, Rm::At(host::RCX, tlb::FRAME));
        self.native = false;
    }

    /// RCX is where the TLB has the entry for RAX.
    pub(super) fn tlb_entry(&mut self) {
        self.asm.op(Op::new(false, 0x8b), host::RCX, Rm::Reg(host::RAX));
        self.asm.op(Op::new(false, 0xc1), 5, Rm::Reg(host::RCX));
        self.asm.byte(7);
        self.asm.op(Op::new(false, 0x81), 4, Rm::Reg(host::RCX));
        self.asm.word((tlb::ENTRIES as u32 - 1) << 5);
        self.asm.op(Op::new(true, 0x03), host::RCX, word_at!(tlb));
    }

    /// Here goes on what the interpreter did instead.
    pub(super) fn bind_after(&mut self) {
        if let Some(after) = self.after.take() {
            self.asm.bind(after);
        }
    }

    /// Has the host's flags be the guest's while `rm` is in use: answers where it is now.
    pub(super) fn want_native_beside(&mut self, rm: Rm) -> Rm {
        let Rm::At(host::RAX, disp) = rm else { return rm };
        if self.native {
            return rm;
        }
        self.asm.mov(host::RDX, host::RAX);
        self.want_native(0);
        Rm::At(host::RDX, disp)
    }

    /// RAX is the start of a window that was not found, for an access at `own`.
    pub(super) fn window_missed(&mut self, retry: Label, site: u32, own: i32, span: i32, offset: u16) {
        let plain = self.asm.label();
        // One that crosses the page's end is never found.
        self.asm.op(Op::new(false, 0x8b), host::RCX, Rm::Reg(host::RAX));
        self.asm.alu_imm(false, 4, Rm::Reg(host::RCX), 0xfff);
        self.asm.alu_imm(false, 7, Rm::Reg(host::RCX), 4096 - span);
        self.asm.jcc(cond::A, plain);
        self.asm.lea(host::RAX, host::RAX, own);
        self.asm.store(word_at!(address), host::RAX);
        self.asm.mov_imm(host::RCX, site);
        self.asm.call(self.context.stubs.miss);
        self.asm.op(Op::new(false, 0x85), host::RAX, Rm::Reg(host::RAX));
        self.asm.jcc(cond::NE, plain);
        self.asm.load(host::RAX, word_at!(address));
        self.asm.lea(host::RAX, host::RAX, -own);
        self.asm.jmp(retry);
        self.asm.bind(plain);
        let stub = self.asm.label();
        let at = self.asm.here() + 1;
        self.asm.jmp(stub);
        let edge = self.tables.edge(at, (self.context.page | PLAIN) + u64::from(offset));
        self.out_of_line.push(OutOfLine::Edge { label: stub, edge, save: None });
    }
}
