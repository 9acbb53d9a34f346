//! From guest instructions to a unit of host code.
//!
//! Status flags live in the host's between instructions (`native`), in [`Words::flags`](super::Words) (`saved`), or
//! both. An access to memory destroys the host's; whoever may leave the unit finds them saved. Flags that an instruction
//! leaves undefined are void in the host's: they are clear to the guest ([`undefined`](crate::undefined)), and are
//! cleared on the way to where somebody can look at them.

use iced_x86::{Decoder, DecoderError, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use super::asm::{Asm, Label, Op, Rm, cond, host};
use super::operands;
use super::plan::{self, Memory, Plan, Template};
use super::returns;
use super::stubs::{self, OtherSalt, Stubs};
use super::system::System;
use super::windows::Finder;
use super::words::{self, PINNED, vectors, word_at};
use super::{Site, Tables};
use crate::cpu::{flags, seg};
use crate::decode::insn::Insn;
use crate::decode::{OPTIONS, lower, pause};
use crate::features::Features;
use crate::memory::tlb;
use crate::undefined;

mod control;
mod data;
mod memory;
mod string;
mod system;
mod vector;
mod x87;

/// Most instructions of a unit.
pub const UNIT_INSNS: usize = 48;
/// Bytes of guest code that a unit depends on at most, those looked at behind its edges included.
pub const REACH_BYTES: usize = UNIT_INSNS * 15;
const PAGE: usize = 4096;
/// AND with an immediate, by number.
const AND: u8 = 4;

/// What a unit is translated under.
pub struct UnitContext<'a> {
    pub stubs: &'a Stubs,
    pub features: &'a Features,
    /// The machine has one vCPU.
    pub is_alone: bool,
    /// Each access checks for itself.
    pub is_plain: bool,
    /// Guest-physical address of the page.
    pub page: u64,
    /// What is in it from the unit's start on.
    pub bytes: &'a [u8; PAGE],
    /// Most instructions of the unit.
    pub insns_max: usize,
}

/// Out-of-line code, which is emitted behind the unit's main line.
enum OutOfLine {
    /// An access missed the TLB: RAX is its address.
    Miss { label: Label, retry: Label, after: Label, site: u32, restore: bool },
    /// So did the window, in which the access lies at `own`, of an instruction at `offset`: RAX is its start.
    WindowMiss { label: Label, retry: Label, site: u32, own: i32, span: i32, offset: u16 },
    /// An instruction whose template does not fit this time; with an `after` to go on at, or the next offset.
    Interpret { label: Label, site: u32, after: Result<Label, u16> },
    /// An edge that leads nowhere yet.
    /// Where the host's flags are to be saved, they come with those of them that are void.
    Edge { label: Label, edge: u32, save: Option<u64> },
    /// There is no code for RAX.
    Missed { label: Label },
    /// A jump found an entry of another kind.
    OtherSalt(OtherSalt),
    /// The cache of returns has nothing for RAX: looks as for any jump, and adds `step` to RSP.
    OtherReturn { label: Label, miss: Label, step: i32 },
    /// A branch was taken to the offset; `flags` are the unit's `native`, `saved` and `void` there.
    Taken { label: Label, offset: i64, from: u16, flags: (bool, bool, u64) },
}

/// The translator's workplace, kept for the next unit.
#[derive(Default)]
pub struct Translator {
    asm: Asm,
    plans: Vec<Plan>,
    windows: Finder,
}

impl Translator {
    /// Translates the unit at offset `start` of the page, for a place at `code` in the cache.
    /// Answers how many bytes of guest code it depends on, and the code; `None` if there is nothing to translate.
    pub fn translate(
        &mut self,
        context: &UnitContext<'_>,
        code: usize,
        start: usize,
        tables: &mut Tables,
    ) -> Option<(usize, &[u8])> {
        self.asm.start(code);
        plan_unit(&mut self.plans, start, context);
        if self.plans.is_empty() {
            return None;
        }
        if !context.is_plain {
            self.windows.find(&mut self.plans);
        }
        plan::mark_wanted(&mut self.plans);
        let mut unit = Unit {
            asm: &mut self.asm,
            context,
            tables,
            out_of_line: Vec::new(),
            native: false,
            saved: true,
            void: 0,
            sources: None,
            start,
            after: None,
            vectors: self.plans.iter().map(Plan::vectors).max().unwrap_or(vectors::NONE),
            fpu: self.plans.iter().any(|plan| plan.template == Template::X87),
            end: self.plans.last().map_or(start, |plan| usize::from(plan.next()).min(PAGE)),
        };
        unit.main_line(&self.plans, start as u16);
        unit.behind();
        let len = (unit.end - start).min(REACH_BYTES);
        Some((len, self.asm.finish()))
    }
}

fn plan_unit(plans: &mut Vec<Plan>, start: usize, context: &UnitContext<'_>) {
    plans.clear();
    let mut info = InstructionInfoFactory::new();
    let mut decoder = Decoder::with_ip(64, &context.bytes[start..], start as u64, OPTIONS);
    let mut insn = Instruction::default();
    while plans.len() < context.insns_max && decoder.can_decode() {
        let at = start + decoder.position();
        decoder.decode_out(&mut insn);
        pause::correct(&mut insn, &context.bytes[at..]);
        if insn.is_invalid() {
            if decoder.last_error() == DecoderError::NoMoreBytes {
                plans.push(Plan::crossing(&insn, context.features, &mut info));
            }
            break;
        }
        let mut plan = Plan::of(&insn, context.features, &mut info);
        if let Some(memory) = &mut plan.memory {
            memory.locked = data::is_locked(&insn, context.is_alone);
        }
        plans.push(plan);
        if plan.ends {
            break;
        }
    }
    // Behind STI comes one instruction before any interrupt: nobody looks for one inside the unit.
    if let Some(last) =
        plans.last_mut().filter(|last| last.template == Template::System(System::EnableInterrupts))
    {
        last.template = Template::Interpreted;
    }
}

/// What stands at the start of a unit that holds no more: [`MIN_BYTES`] at most.
pub fn emit_stale(asm: &mut Asm, stubs: &Stubs, offset: u16) {
    asm.mov_imm(host::RCX, offset.into());
    asm.jmp_to(stubs.stale);
}

/// Bytes that a unit has at least, so that [`emit_stale`] finds room.
const MIN_BYTES: usize = 10;

/// A unit in the making.
struct Unit<'a> {
    asm: &'a mut Asm,
    context: &'a UnitContext<'a>,
    tables: &'a mut Tables,
    out_of_line: Vec<OutOfLine>,
    /// The host's status flags are the guest's.
    native: bool,
    /// Those in memory are.
    saved: bool,
    /// Those of the host's that count as clear, whatever they are, at their places in RFLAGS; none if they are saved.
    void: u64,
    /// Where the x87 conditions are, if that is known (see [`words::conditions`]).
    sources: Option<u32>,
    /// What it asks of the vector registers.
    vectors: u8,
    /// It has x87 instructions.
    fpu: bool,
    /// Where the guest code begins and ends that it depends on.
    start: usize,
    end: usize,
    /// Where the instruction ends that is being emitted, once somebody wants to go there.
    after: Option<Label>,
}

impl Unit<'_> {
    fn main_line(&mut self, plans: &[Plan], start: u16) {
        let first = self.asm.here();
        self.need_units(start);
        let mut open = true;
        for plan in plans {
            self.before(plan);
            open = self.instruction(plan);
        }
        if open && let Some(last) = plans.last() {
            self.edge(last.next().into(), last.offset);
        }
        while self.asm.here() < first + MIN_BYTES {
            self.asm.byte(0x90);
        }
    }

    /// Puts the flags where `plan` needs them.
    fn before(&mut self, plan: &Plan) {
        if plan.may_leave() && !matches!(plan.template, Template::JumpIf | Template::Jump) {
            self.save_flags();
        } else if plan.template == Template::ShiftByCl {
            if plan.flags_wanted {
                self.save_flags();
            }
        } else if plan.reads_flags() || plan.writes_part && plan.flags_wanted {
            self.want_native(plan.reads);
        }
    }

    /// One instruction. False if the unit ends with it.
    fn instruction(&mut self, plan: &Plan) -> bool {
        if plan.template != Template::X87 {
            // The engine may have been called, which puts them elsewhere.
            self.sources = None;
        }
        match plan.template {
            Template::Interpreted => return self.interpreted(plan),
            Template::Crossing => {
                self.crossing(plan);
                return false;
            }
            Template::Mapped => self.mapped(plan),
            Template::MappedVex => self.mapped_vex(plan),
            Template::Vector => self.vector(plan),
            Template::VectorVex => self.vector_vex(plan),
            Template::X87 => {
                self.x87(plan);
                if plan.memory.is_some() {
                    self.sources = None;
                }
            }
            Template::String { element } => self.string(plan, element),
            Template::ShiftByCl => {
                self.shift_by_cl(plan);
                return true;
            }
            Template::Scan => self.scan(plan),
            Template::AccumulatorImmediate => self.accumulator_immediate(plan),
            Template::MovImmediate => self.mov_immediate(plan),
            Template::Lea => self.lea(plan),
            Template::Push => self.push(plan),
            Template::Pop => self.pop(plan),
            Template::Leave => self.leave(plan),
            Template::Widen => self.widen(plan),
            Template::Multiply => self.multiply(plan),
            Template::Divide => {
                self.divide(plan);
                return true;
            }
            Template::CompareExchange => self.compare_exchange(plan),
            Template::ExchangeRegisters => self.exchange_registers(plan),
            Template::ByteSwap => self.byte_swap(plan),
            Template::ZeroExtendHighByte => self.zero_extend_high_byte(plan),
            Template::Nothing => {}
            Template::System(system) => self.system(plan, system),
            Template::JumpIf => self.jump_if(plan),
            Template::Call
            | Template::CallIndirect
            | Template::Jump
            | Template::JumpIndirect
            | Template::Return => {
                self.branch(plan);
                return false;
            }
        }
        if plan.writes_all || plan.writes_part {
            self.void = self.void & !plan.modified | plan.undefined;
            (self.native, self.saved) = (true, false);
        }
        true
    }

    fn interpreted(&mut self, plan: &Plan) -> bool {
        let site = self.site(plan, 0, false, 0);
        self.asm.mov_imm(host::RCX, site);
        self.asm.call(self.context.stubs.interpret);
        (self.native, self.saved) = (false, true);
        self.need_units(plan.next());
        if plan.ends {
            self.edge(plan.next().into(), plan.offset);
        }
        !plan.ends
    }

    /// An instruction that reaches into the next page; what follows it is elsewhere.
    fn crossing(&mut self, plan: &Plan) {
        let site = self.site(plan, 0, false, 0);
        self.asm.mov_imm(host::RCX, site);
        self.asm.call(self.context.stubs.interpret);
        (self.native, self.saved) = (false, true);
        // It repeats and is not done.
        self.edge(plan.offset.into(), plan.offset);
    }

    /// Has the x87 unit and the vector registers loaded if they are used here; `offset` is where it goes on.
    fn need_units(&mut self, offset: u16) {
        if self.fpu {
            let live = self.asm.label();
            stubs::compare_byte(self.asm, word_at!(fpu_live), 0);
            self.asm.jcc(cond::NE, live);
            self.asm.mov_imm(host::RCX, offset.into());
            self.asm.call(self.context.stubs.fpu);
            self.asm.bind(live);
        }
        if self.vectors == vectors::NONE {
            return;
        }
        let live = self.asm.label();
        stubs::compare_byte(self.asm, word_at!(vectors_live), self.vectors);
        self.asm.jcc(cond::AE, live);
        self.asm.mov_imm(host::RCX, offset.into());
        self.asm.mov_imm(host::RDX, self.vectors.into());
        self.asm.call(self.context.stubs.vectors);
        self.asm.bind(live);
    }

    /// Notes an instruction for the engine.
    fn site(&mut self, plan: &Plan, size: u32, write: bool, segment: usize) -> u32 {
        let (aligned, locked) = plan.memory.map_or((false, false), |memory| (memory.aligned, memory.locked));
        let crosses = plan.template == Template::Crossing;
        let mut insn: Insn = lower::lower(&plan.insn, self.context.features);
        if crosses {
            // Where it ends is not known: no place is behind it.
            insn.len = 0;
        }
        self.tables.sites.push(Site {
            insn,
            crosses,
            offset: plan.offset,
            size,
            write,
            aligned,
            locked,
            leads: false,
            segment: segment as u8,
        });
        self.tables.sites.len() as u32 - 1
    }

    /// Has the flags in memory be the guest's. The host's are lost if some of them were void.
    fn save_flags(&mut self) {
        if self.native && !self.saved {
            emit_save(self.asm, self.void);
            self.native = self.void == 0;
            self.saved = true;
        }
    }

    /// Has the host's flags be the guest's, but for void ones that are not among `read`.
    fn want_native(&mut self, read: u64) {
        if self.native && self.void & read != 0 {
            self.save_flags();
        }
        if !self.native {
            emit_restore(self.asm);
            (self.native, self.void) = (true, 0);
        }
    }

    /// What was put off.
    fn behind(&mut self) {
        while let Some(out_of_line) = self.out_of_line.pop() {
            match out_of_line {
                OutOfLine::Miss { label, retry, after, site, restore } => {
                    let executed = self.asm.label();
                    self.asm.bind(label);
                    self.asm.store(word_at!(address), host::RAX);
                    self.asm.mov_imm(host::RCX, site);
                    self.asm.call(self.context.stubs.miss);
                    self.asm.op(Op::new(false, 0x85), host::RAX, Rm::Reg(host::RAX));
                    self.asm.jcc(cond::NE, executed);
                    self.asm.load(host::RAX, word_at!(address));
                    self.asm.jmp(retry);
                    self.asm.bind(executed);
                    if restore {
                        emit_restore(self.asm);
                    }
                    self.asm.jmp(after);
                }
                OutOfLine::WindowMiss { label, retry, site, own, span, offset } => {
                    self.asm.bind(label);
                    self.window_missed(retry, site, own, span, offset);
                }
                OutOfLine::Interpret { label, site, after } => {
                    self.asm.bind(label);
                    self.asm.mov_imm(host::RCX, site);
                    self.asm.call(self.context.stubs.interpret);
                    match after {
                        Ok(after) => {
                            let site = &self.tables.sites[site as usize];
                            self.need_units(site.offset + u16::from(site.insn.len));
                            emit_restore(self.asm);
                            self.asm.jmp(after);
                        }
                        Err(offset) => {
                            (self.native, self.saved) = (false, true);
                            self.edge(offset.into(), offset);
                        }
                    }
                }
                OutOfLine::Edge { label, edge, save } => {
                    self.asm.bind(label);
                    if let Some(void) = save {
                        emit_save(self.asm, void);
                    }
                    self.asm.mov_imm(host::RDX, edge);
                    self.asm.jmp_to(self.context.stubs.edge);
                }
                OutOfLine::OtherSalt(other) => other.emit(self.asm),
                OutOfLine::Missed { label } => {
                    self.asm.bind(label);
                    self.asm.jmp_to(self.context.stubs.missed);
                }
                OutOfLine::OtherReturn { label, miss, step } => {
                    self.asm.bind(label);
                    self.return_elsewhere(miss, step);
                }
                OutOfLine::Taken { label, offset, from, flags } => {
                    self.asm.bind(label);
                    (self.native, self.saved, self.void) = flags;
                    self.edge(offset, from);
                }
            }
        }
    }
}

/// lahf; seto al; and eax, what is not void; mov [flags], eax
fn emit_save(asm: &mut Asm, void: u64) {
    if void == flags::STATUS {
        return emit_clear(asm);
    }
    asm.raw(&[0x9f, 0x0f, 0x90, 0xc0]);
    if void != 0 {
        asm.alu_imm(false, AND, Rm::Reg(host::RAX), !in_word(void));
    }
    asm.op(Op::new(false, 0x89), host::RAX, word_at!(flags));
}

/// mov dword [flags], none
fn emit_clear(asm: &mut Asm) {
    asm.op(Op::new(false, 0xc7), 0, word_at!(flags));
    asm.word(NO_FLAGS);
}

/// Status flags at their places in [`Words::flags`](super::Words): as LAHF and SETO leave them in AX.
fn in_word(status: u64) -> i32 {
    ((status & 0xff) << 8 | u64::from(status & flags::OF != 0)) as i32
}

/// None set, as LAHF has it.
const NO_FLAGS: u32 = (flags::FIXED as u32) << 8;

/// mov eax, [flags]; add al, 0x7f; sahf
fn emit_restore(asm: &mut Asm) {
    asm.op(Op::new(false, 0x8b), host::RAX, word_at!(flags));
    asm.raw(&[0x04, 0x7f, 0x9e]);
}
