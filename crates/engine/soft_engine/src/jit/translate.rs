//! From guest instructions to a unit of host code.
//!
//! Status flags live in the host's between instructions (`native`), in [`Words::flags`](super::Words) (`saved`), or
//! both. An access to memory destroys the host's; whoever may leave the unit finds them saved.

use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use super::asm::{Asm, Label, Op, Rm, cond, host};
use super::plan::{self, Plan, Way};
use super::stubs::{self, Stubs};
use super::words::{self, PINNED, word_at};
use super::{Edge, Site, Tables};
use crate::cpu::seg;
use crate::decode::insn::Insn;
use crate::decode::{lower, pause};
use crate::features::Features;
use crate::memory::tlb;

mod control;
mod data;

/// Most instructions of a unit.
pub const UNIT_INSNS: usize = 48;
/// Bytes of guest code that a unit depends on at most, those looked at behind its edges included.
pub const REACH_BYTES: usize = UNIT_INSNS * 15;
const PAGE: usize = 4096;

/// What a unit stands on.
pub struct Ground<'a> {
    pub stubs: &'a Stubs,
    pub features: &'a Features,
    /// Guest-physical address of the page.
    pub page: u64,
    /// What is in it from the unit's start on.
    pub bytes: &'a [u8; PAGE],
    /// Most instructions of the unit.
    pub insns_max: usize,
}

/// Code that is emitted behind the unit's main line.
enum Later {
    /// An access missed the TLB: RAX is its address.
    Miss { label: Label, retry: Label, after: Label, site: u32, restore: bool },
    /// An instruction whose template does not fit this time; with an `after` to go on at, or the next offset.
    Interpret { label: Label, site: u32, after: Result<Label, u16> },
    /// An edge that leads nowhere yet.
    Edge { label: Label, edge: u32, save: bool },
    /// A branch was taken to the offset.
    Taken { label: Label, offset: i64, from: u16, native: bool, saved: bool },
}

/// The translator's workplace, kept for the next unit.
#[derive(Default)]
pub struct Translator {
    asm: Asm,
    plans: Vec<Plan>,
}

impl Translator {
    /// Translates the unit at offset `start` of the page, for a place at `code` in the cache.
    /// Answers how many bytes of guest code it depends on, and the code; `None` if there is nothing to translate.
    pub fn translate(
        &mut self,
        ground: &Ground<'_>,
        code: usize,
        start: usize,
        tables: &mut Tables,
    ) -> Option<(usize, &[u8])> {
        self.asm.start(code);
        plan_unit(&mut self.plans, start, ground);
        if self.plans.is_empty() {
            return None;
        }
        plan::mark_wanted(&mut self.plans);
        let mut unit = Unit {
            asm: &mut self.asm,
            ground,
            tables,
            later: Vec::new(),
            native: false,
            saved: true,
            start,
            after: None,
            vectors: self.plans.iter().any(|plan| plan.way == Way::Vector),
            end: self.plans.last().map_or(start, |plan| plan.next().into()),
        };
        unit.main_line(&self.plans, start as u16);
        unit.behind();
        let len = (unit.end - start).min(REACH_BYTES);
        Some((len, self.asm.finish()))
    }
}

fn plan_unit(plans: &mut Vec<Plan>, start: usize, ground: &Ground<'_>) {
    plans.clear();
    let mut info = InstructionInfoFactory::new();
    let mut decoder = Decoder::with_ip(64, &ground.bytes[start..], start as u64, DecoderOptions::NONE);
    let mut insn = Instruction::default();
    while plans.len() < ground.insns_max && decoder.can_decode() {
        let at = start + decoder.position();
        decoder.decode_out(&mut insn);
        pause::correct(&mut insn, &ground.bytes[at..]);
        if insn.is_invalid() {
            break;
        }
        let plan = Plan::of(&insn, ground.features, &mut info);
        plans.push(plan);
        if plan.ends {
            break;
        }
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
    ground: &'a Ground<'a>,
    tables: &'a mut Tables,
    later: Vec<Later>,
    /// The host's status flags are the guest's.
    native: bool,
    /// Those in memory are.
    saved: bool,
    /// It has vector instructions.
    vectors: bool,
    /// Where the guest code begins and ends that it depends on.
    start: usize,
    end: usize,
    /// Where the instruction ends that is being emitted, once somebody wants to go there.
    after: Option<Label>,
}

impl Unit<'_> {
    fn main_line(&mut self, plans: &[Plan], start: u16) {
        let first = self.asm.here();
        if self.vectors {
            self.need_vectors(start);
        }
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
        if plan.may_leave() && !matches!(plan.way, Way::JumpIf | Way::Jump) {
            self.save_flags();
        } else if plan.reads_flags || plan.writes_part && plan.flags_wanted {
            self.want_native();
        }
    }

    /// One instruction. False if the unit ends with it.
    fn instruction(&mut self, plan: &Plan) -> bool {
        match plan.way {
            Way::Interpreted => return self.interpreted(plan),
            Way::Mapped => self.mapped(plan),
            Way::Vector => self.vector(plan),
            Way::ShiftByCl => self.shift_by_cl(plan),
            Way::AccumulatorImmediate => self.accumulator_immediate(plan),
            Way::MovImmediate => self.mov_immediate(plan),
            Way::Lea => self.lea(plan),
            Way::Push => self.push(plan),
            Way::Pop => self.pop(plan),
            Way::Leave => self.leave(plan),
            Way::Widen => self.widen(plan),
            Way::Multiply => self.multiply(plan),
            Way::Divide => self.divide(plan),
            Way::CompareExchange => self.compare_exchange(plan),
            Way::ExchangeRegisters => self.exchange_registers(plan),
            Way::ByteSwap => self.byte_swap(plan),
            Way::ZeroExtendHighByte => self.zero_extend_high_byte(plan),
            Way::Nothing => {}
            Way::JumpIf => self.jump_if(plan),
            Way::Call | Way::CallIndirect | Way::Jump | Way::JumpIndirect | Way::Return => {
                self.branch(plan);
                return false;
            }
        }
        if plan.writes_all || plan.writes_part {
            (self.native, self.saved) = (true, false);
        }
        true
    }

    fn interpreted(&mut self, plan: &Plan) -> bool {
        let site = self.site(plan, 0, false, 0);
        self.asm.mov_imm(host::RCX, site);
        self.asm.call(self.ground.stubs.interpret);
        (self.native, self.saved) = (false, true);
        if self.vectors {
            self.need_vectors(plan.next());
        }
        if plan.ends {
            self.edge(plan.next().into(), plan.offset);
        }
        !plan.ends
    }

    fn need_vectors(&mut self, offset: u16) {
        let live = self.asm.label();
        stubs::compare_byte(self.asm, word_at!(vectors_live));
        self.asm.jcc(cond::NE, live);
        self.asm.mov_imm(host::RCX, offset.into());
        self.asm.call(self.ground.stubs.vectors);
        self.asm.bind(live);
    }

    /// Notes an instruction for the engine.
    fn site(&mut self, plan: &Plan, size: u32, write: bool, segment: usize) -> u32 {
        let aligned = plan.memory.is_some_and(|memory| memory.aligned);
        let insn: Insn = lower::lower(&plan.insn, self.ground.features);
        self.tables.sites.push(Site {
            insn,
            offset: plan.offset,
            size,
            write,
            aligned,
            segment: segment as u8,
        });
        self.tables.sites.len() as u32 - 1
    }

    fn save_flags(&mut self) {
        if self.native && !self.saved {
            emit_save(self.asm);
            self.saved = true;
        }
    }

    fn want_native(&mut self) {
        if !self.native {
            emit_restore(self.asm);
            self.native = true;
        }
    }

    /// What was put off.
    fn behind(&mut self) {
        while let Some(later) = self.later.pop() {
            match later {
                Later::Miss { label, retry, after, site, restore } => {
                    let executed = self.asm.label();
                    self.asm.bind(label);
                    self.asm.store(word_at!(address), host::RAX);
                    self.asm.mov_imm(host::RCX, site);
                    self.asm.call(self.ground.stubs.miss);
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
                Later::Interpret { label, site, after } => {
                    self.asm.bind(label);
                    self.asm.mov_imm(host::RCX, site);
                    self.asm.call(self.ground.stubs.interpret);
                    match after {
                        Ok(after) => {
                            self.reload_vectors_after(site);
                            emit_restore(self.asm);
                            self.asm.jmp(after);
                        }
                        Err(offset) => {
                            (self.native, self.saved) = (false, true);
                            self.edge(offset.into(), offset);
                        }
                    }
                }
                Later::Edge { label, edge, save } => {
                    self.asm.bind(label);
                    if save {
                        emit_save(self.asm);
                    }
                    self.asm.mov_imm(host::RDX, edge);
                    self.asm.jmp_to(self.ground.stubs.edge);
                }
                Later::Taken { label, offset, from, native, saved } => {
                    self.asm.bind(label);
                    (self.native, self.saved) = (native, saved);
                    self.edge(offset, from);
                }
            }
        }
    }

    fn reload_vectors_after(&mut self, site: u32) {
        if self.vectors {
            let site = &self.tables.sites[site as usize];
            let next = site.offset + u16::from(site.insn.len);
            self.need_vectors(next);
        }
    }
}

/// lahf; seto al; mov [flags], eax
fn emit_save(asm: &mut Asm) {
    asm.raw(&[0x9f, 0x0f, 0x90, 0xc0]);
    asm.op(Op::new(false, 0x89), host::RAX, word_at!(flags));
}

/// mov eax, [flags]; add al, 0x7f; sahf
fn emit_restore(asm: &mut Asm) {
    asm.op(Op::new(false, 0x8b), host::RAX, word_at!(flags));
    asm.raw(&[0x04, 0x7f, 0x9e]);
}
