//! The template JIT: x86-64 guest code as x86-64 host code.
//!
//! ```text
//! plan (what is known of an instruction) ─► translate (templates) ─► asm (bytes) ─► code cache
//!                                                                        │ enter
//!        run: interpret, miss ◄── stubs ◄── generated code ◄─────────────┘
//! ```
//!
//! A unit is a run of instructions inside one page with one way in and several out, keyed by guest-physical address:
//! it holds for every linear address that the page is mapped at. Everything that has no template, and every access
//! that misses the software TLB for good, is done by the interpreter's handlers in the middle of the unit.
//! docs/soft-jit.md says what keeps a hostile guest inside.
//!
//! | word | what it is |
//! |---|---|
//! | unit | a translated block, with up to 48 instructions of one page |
//! | template | how one kind of instruction is emitted ([`plan::Template`]) |
//! | site | a record of an instruction at which generated code may call the engine |
//! | edge | a direct jump from unit to unit, linked when its target is translated |
//! | stub | code that is there once for all units: entry, exits, callbacks |
//! | window | accesses that share one look into the software TLB (`windows.rs`) |
//! | salt | what a translation of RIP holds for: privilege, and the epoch of the address space |
//! | front | a direct-mapped cache before a hash table, by the same key |
//! | view | the privilege under which data is accessed, with a software TLB each (`memory::View`) |
//! | notice | what one vCPU tells another of decoded code (`notices.rs`) |

mod asm;
mod cold;
mod fpu;
mod host_cpu;
mod operands;
mod plan;
mod returns;
mod run;
mod stubs;
mod system;
mod translate;
mod windows;
mod words;

use std::cell::RefCell;
use std::collections::HashMap;

use guest_memory::PAGE_SIZE;
use host_sys::code_memory::CodeMemory;
use vcpu_model::{CodeFigure, ExitCounters};

use crate::cpu::{Core, Exec};
use crate::decode::block::{FRONT_ENTRIES, front_slot};
use crate::decode::crossing::Crossings;
use crate::decode::insn::Insn;
use crate::decode::keys::KeyHasher;
use crate::decode::places::{Place, Places};
use crate::features::Features;
use crate::memory::code_map;
pub(crate) use fpu::FpuImage;
pub(crate) use host_cpu::has_v3_vectors;
pub(crate) use returns::Returns;
use translate::Translator;
pub(crate) use words::Words;

/// Room that a unit may need at most.
const UNIT_BYTES: usize = 64 << 10;
/// Sites of instructions that are executed one by one, before they are dropped.
const SITES_ALONE: usize = 256;
/// How much may be known of what is in the code cache before all of it is dropped, as when the cache is full: about what
/// 64 MiB of usual code come to. A unit stands for some hundred bytes of the host's memory, a site for 56, an edge for 16.
const UNITS_MAX: usize = 256 << 10;
const SITES_MAX: usize = 1 << 20;
const EDGES_MAX: usize = 1 << 20;

/// An instruction that generated code may hand to the engine.
pub(super) struct Site {
    insn: Insn,
    /// The instruction reaches into the next page and is not known here.
    crosses: bool,
    /// Offset in its page.
    offset: u16,
    /// Of its memory access, where there is one that may miss.
    size: u32,
    write: bool,
    aligned: bool,
    locked: bool,
    /// It stands for a window: what cannot be found in the TLB is not executed.
    leads: bool,
    segment: u8,
}

/// A way out of a unit to another in the same page: where its rel32 is, and the key of where it leads.
#[derive(Clone, Copy)]
struct Edge {
    at: usize,
    target: u64,
}

/// What generated code refers to by number.
#[derive(Default)]
pub(super) struct Tables {
    sites: Vec<Site>,
    edges: Vec<Edge>,
}

/// In keys of units: the variant without windows.
const PLAIN: u64 = 1 << 63;

impl Tables {
    /// Notes an edge; answers its number.
    fn edge(&mut self, at: usize, target: u64) -> u32 {
        self.edges.push(Edge { at, target });
        self.edges.len() as u32 - 1
    }
}

/// In place of a unit's offset: nothing can be made of what is there.
const NO_CODE: u32 = 0;

#[derive(Clone, Copy, Default)]
struct Front {
    key: u64,
    code: u32,
}

/// An entry of the table of indirect jumps: RIP, salt, address of the code, nothing.
type Jump = [u64; 4];

/// No salt is 0.
const NO_JUMP: Jump = [0; 4];

const _: () = assert!(size_of::<Jump>() == 1 << stubs::JUMP_SHIFT);

/// The translator of one vCPU and everything it has made.
pub(crate) struct Jit {
    memory: CodeMemory,
    stubs: stubs::Stubs,
    /// Offset of the first free byte.
    free: usize,
    translator: Translator,
    features: Features,
    /// The machine has one vCPU.
    is_alone: bool,
    /// How often a block is interpreted before it is translated.
    cold_runs: u16,
    front: Box<[Front]>,
    /// Offsets of units in the cache, or [`NO_CODE`].
    known: HashMap<u64, u32, KeyHasher>,
    /// How often was asked for what is not translated yet.
    cold: cold::Places,
    /// Units made since everything was dropped; what is known of each is kept till then.
    made: usize,
    places: Places,
    /// Starts of units that hold no more, to be led to what takes their place.
    stale: HashMap<u64, Vec<u32>, KeyHasher>,
    /// The tables of indirect jumps.
    jumps: Box<[Jump]>,
    /// There is something in that table.
    has_jumps: bool,
    tables: Tables,
    /// How often everything was dropped: edges of before mean nothing.
    cleared: u64,
    /// Exceptions are for who runs the code to see, not to be delivered.
    shows_exceptions: bool,
    crossings: RefCell<Crossings>,
}

/// What became of an attempt to go on in generated code.
pub(crate) enum Ran {
    /// RIP says where to go on.
    Next,
    /// The instruction at RIP raised.
    Raised,
    /// The interpreter's turn.
    Cold,
}

impl Jit {
    /// A JIT for a CPU that has `features`, with `code_bytes` for what it makes; `None` where the host is no x86-64 or
    /// does not let memory be executed.
    pub(crate) fn new(features: Features, vcpus: usize, cold_runs: u16, code_bytes: usize) -> Option<Jit> {
        if !host_cpu::IS_X86_64 {
            return None;
        }
        let memory = CodeMemory::new(code_bytes)
            .inspect_err(|error| tracing::warn!(%error, "no executable memory: the interpreter does all"))
            .ok()?;
        let mut jit = Jit {
            memory,
            stubs: stubs::Stubs::default(),
            free: 0,
            translator: Translator::default(),
            crossings: RefCell::new(Crossings::new(features.clone())),
            features,
            is_alone: vcpus == 1,
            cold_runs,
            front: vec![Front::default(); FRONT_ENTRIES].into(),
            known: HashMap::default(),
            cold: cold::Places::default(),
            made: 0,
            places: Places::default(),
            stale: HashMap::default(),
            jumps: no_jumps(),
            has_jumps: false,
            tables: Tables::default(),
            cleared: 0,
            shows_exceptions: false,
        };
        let mut asm = asm::Asm::default();
        // Offset 0 means "no code".
        asm.start(16);
        jit.stubs = stubs::emit(&mut asm, run::callbacks());
        jit.memory.write(16, asm.finish());
        jit.free = jit.stubs.end;
        Some(jit)
    }

    /// A new run begins, with other translations of addresses.
    pub(crate) fn begin(&mut self, core: &mut Core<'_>) {
        self.forget_jumps();
        core.words.all_jumps = self.jumps.as_ptr() as u64;
        core.words.pending = core.mailbox_address();
        core.returns = Returns::new(self.memory.address(self.stubs.lookup));
    }

    /// Runs generated code from RIP on, until somebody has to look.
    pub(crate) fn run(&mut self, core: &mut Core<'_>) -> Exec<Ran> {
        if !run::is_possible(core) {
            return Ok(Ran::Cold);
        }
        let mut edge = None;
        loop {
            let rip = core.rip;
            let gpa = core.code_address(rip)?;
            let edge_taken = edge.take().filter(|(_, made)| *made == self.cleared).map(|(edge, _)| edge);
            let variant = edge_taken.map_or(0, |edge: u32| self.tables.edges[edge as usize].target & PLAIN);
            let cleared = self.cleared;
            let Some(code) = self.code_at(core, gpa | variant) else { return Ok(Ran::Cold) };
            if let Some(edge) = edge_taken
                && cleared == self.cleared
            {
                self.link(edge, gpa | variant, code);
            }
            if variant == 0 {
                self.remember_jump(core, rip, code);
            }
            core.words.page = rip & !(PAGE_SIZE - 1);
            let (reason, number) = run::enter(core, self, code as usize);
            match self.after(core, reason, number) {
                Ran::Next => edge = (reason == stubs::exit::EDGE).then_some((number, self.cleared)),
                ended => return Ok(ended),
            }
            if core.attention || core.has_requests() || !run::is_possible(core) {
                return Ok(Ran::Next);
            }
        }
    }

    /// Runs the unit at RIP alone: nothing leads on to another but to its plain variant.
    pub(crate) fn run_unit(&mut self, core: &mut Core<'_>) -> Exec<Ran> {
        if !run::is_possible(core) {
            return Ok(Ran::Cold);
        }
        let start = core.rip;
        let mut variant = 0;
        loop {
            let gpa = core.code_address(core.rip)?;
            let Some(code) = self.code_at(core, gpa | variant) else {
                return Ok(if core.rip == start { Ran::Cold } else { Ran::Next });
            };
            let (reason, number) = self.enter_alone(core, code);
            let ran = self.after(core, reason, number);
            let is_edge = reason == stubs::exit::EDGE;
            if !is_edge || self.tables.edges[number as usize].target & PLAIN == 0 {
                return Ok(ran);
            }
            variant = PLAIN;
        }
    }

    /// Translates and runs the one instruction at RIP, whatever was made of it before.
    pub(crate) fn step(&mut self, core: &mut Core<'_>) -> Exec<Ran> {
        if !run::is_possible(core) {
            return Ok(Ran::Cold);
        }
        let gpa = core.code_address(core.rip)?;
        if self.tables.sites.len() > SITES_ALONE {
            // What was made is dropped, but its place is not used again before all are: an emulated host does not see
            // that code changes which it has executed by another mapping.
            let free = self.free;
            self.clear();
            self.free = free;
        }
        let Some(code) = self.translate(core, gpa, 1) else { return Ok(Ran::Cold) };
        let (reason, number) = self.enter_alone(core, code);
        Ok(self.after(core, reason, number))
    }

    /// Runs the code at RIP and shows what it raises.
    fn enter_alone(&mut self, core: &mut Core<'_>, code: u32) -> (u32, u32) {
        core.words.page = core.rip & !(PAGE_SIZE - 1);
        self.shows_exceptions = true;
        let left = run::enter(core, self, code as usize);
        self.shows_exceptions = false;
        left
    }

    /// Takes in why generated code was left.
    fn after(&self, core: &mut Core<'_>, reason: u32, edge: u32) -> Ran {
        match reason {
            stubs::exit::RAISED => return Ran::Raised,
            stubs::exit::INTERPRET => return Ran::Cold,
            stubs::exit::EDGE => {
                core.cpu.rip = core.words.page + self.tables.edges[edge as usize].target % PAGE_SIZE;
            }
            _ => {}
        }
        Ran::Next
    }

    /// Notes that the code at RIP, whose address was looked up last, is at `code`.
    fn remember_jump(&mut self, core: &Core<'_>, rip: u64, code: u32) {
        let index = (rip >> 12 ^ rip) as usize & (stubs::JUMPS - 1);
        let index = run::jump_table(core) * stubs::JUMPS + index;
        let code = self.memory.address(code as usize);
        let salt = run::salt(core, core.translations.is_last_code_global());
        self.jumps[index] = [rip, salt, code, 0];
        self.has_jumps = true;
    }

    fn forget_jumps(&mut self) {
        if std::mem::take(&mut self.has_jumps) {
            self.jumps = no_jumps();
        }
    }

    fn code_at(&mut self, core: &mut Core<'_>, key: u64) -> Option<u32> {
        let front = self.front[front_slot(key)];
        if front.key == key && front.code != 0 {
            return Some(front.code);
        }
        let code = match self.known.get(&key) {
            Some(&NO_CODE) => return None,
            Some(code) => *code,
            None if self.cold.is_below(key, self.cold_runs) => {
                core.counters().set_code(CodeFigure::ColdPlaces, self.cold.len() as u64);
                return None;
            }
            None => {
                let code = self.translate(core, key, translate::UNIT_INSNS);
                // What cannot be translated is asked for no second time, until something else is written there.
                self.known.insert(key, code.unwrap_or(NO_CODE));
                code?
            }
        };
        self.front[front_slot(key)] = Front { key, code };
        Some(code)
    }

    /// Translates the unit with this key, a guest-physical address and the variant, of so many instructions at most.
    fn translate(&mut self, core: &mut Core<'_>, key: u64, insns_max: usize) -> Option<u32> {
        let gpa = key & !PLAIN;
        if self.is_full() {
            self.clear();
        }
        self.made += 1;
        let page = gpa & !(PAGE_SIZE - 1);
        let start = (gpa % PAGE_SIZE) as usize;
        let frame = core.space.slots.frame(page)?;
        let mut bytes = [0; PAGE_SIZE as usize];
        // Marked before it is read: a store in between is noticed, one before is seen. How far the unit reaches is
        // known only afterwards.
        let reach = translate::REACH_BYTES.min(PAGE_SIZE as usize - start);
        core.code_decoded(page, code_map::grains_of(gpa, reach));
        frame.read(start, &mut bytes[start..]);
        let code = self.free;
        let (stubs, features) = (&self.stubs, &self.features);
        let (is_alone, is_plain) = (self.is_alone, key != gpa);
        let context =
            translate::UnitContext { stubs, features, is_alone, is_plain, page, bytes: &bytes, insns_max };
        let Some((len, emitted)) = self.translator.translate(&context, code, start, &mut self.tables) else {
            self.places.add(page, Place { key, start: start as u16, len: reach as u16 });
            return None;
        };
        self.memory.write(code, emitted);
        self.free = (code + emitted.len()).next_multiple_of(16);
        let code = code as u32;
        self.places.add(page, Place { key, start: start as u16, len: len as u16 });
        self.count(core.counters());
        for old in self.stale.remove(&key).unwrap_or_default() {
            self.lead(old as usize, code as usize);
        }
        Some(code)
    }

    fn is_full(&self) -> bool {
        self.free + UNIT_BYTES > self.memory.size_bytes()
            || self.made >= UNITS_MAX
            || self.tables.sites.len() >= SITES_MAX
            || self.tables.edges.len() >= EDGES_MAX
    }

    /// Leads an edge to the code of its target.
    fn link(&mut self, edge: u32, target: u64, code: u32) {
        let edge = self.tables.edges[edge as usize];
        if edge.target == target {
            self.set_rel32(edge.at, code as usize);
        }
    }

    /// Makes the code at `old` jump to `new`.
    fn lead(&mut self, old: usize, new: usize) {
        self.memory.write(old, &[0xe9]);
        self.set_rel32(old + 1, new);
    }

    fn set_rel32(&mut self, at: usize, target: usize) {
        let relative = (target as i64 - (at as i64 + 4)) as i32;
        self.memory.write(at, &relative.to_le_bytes());
    }

    /// Drops the units made of the grains `bits` of the page at `gpa`.
    pub(crate) fn invalidate(&mut self, gpa: u64, bits: u64) {
        for Place { key, .. } in self.places.take(gpa, bits) {
            let Some(code) = self.known.remove(&key).filter(|code| *code != NO_CODE) else { continue };
            self.front[front_slot(key)] = Front::default();
            // Whatever still leads there says where it stands and leaves.
            let mut asm = asm::Asm::default();
            asm.start(code as usize);
            translate::emit_stale(&mut asm, &self.stubs, (key % PAGE_SIZE) as u16);
            self.memory.write(code as usize, asm.finish());
            self.stale.entry(key).or_default().push(code);
        }
    }

    /// Tells how much is kept.
    fn count(&self, counters: &ExitCounters) {
        counters.set_code(CodeFigure::TranslatedUnits, self.made as u64);
        counters.set_code(CodeFigure::TranslatedBytes, self.free as u64);
        counters.set_code(CodeFigure::Sites, self.tables.sites.len() as u64);
        counters.set_code(CodeFigure::Edges, self.tables.edges.len() as u64);
        counters.set_code(CodeFigure::CacheDrops, self.cleared);
    }

    /// Bytes of the code cache in use, and how often everything in it was dropped.
    pub(crate) fn usage(&self) -> (usize, u64) {
        (self.free, self.cleared)
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.free = self.stubs.end;
        self.front.fill(Front::default());
        self.known.clear();
        self.cold.clear();
        self.made = 0;
        self.places.clear();
        self.stale.clear();
        // Where they are is known to whoever runs. What is zeros already is not written: that would be memory for it.
        if std::mem::take(&mut self.has_jumps) {
            self.jumps.fill(NO_JUMP);
        }
        self.tables.sites.clear();
        self.tables.edges.clear();
        self.cleared += 1;
    }
}

/// Empty tables of indirect jumps. Zeros take no memory before they are overwritten.
fn no_jumps() -> Box<[Jump]> {
    vec![NO_JUMP; stubs::JUMPS * stubs::JUMP_TABLES].into()
}
