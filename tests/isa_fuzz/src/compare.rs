//! Two records of one case: what differs, and counts.

use std::fmt::{self, Display};

use iced_x86::Instruction;
use soft_engine::probe::{Outcome, UserState};
use soft_engine::undefined;

use crate::case::{Case, Line, Record};
use crate::layout::PAGE;
use crate::tolerance::{self, PAGE_FAULT};

/// Vectors with an error code (SDM vol. 3, table 6-1).
const WITH_ERROR: [u8; 7] = [8, 10, 11, 12, 13, 14, 17];
/// Error code of a page fault: the page is present. Linux does not tell programs whether pages are that are never
/// theirs, among which is the last one below the addresses that are not canonical.
const PRESENT: u32 = 1;
const FIRST_KERNEL_ADDRESS: u64 = (1 << 47) - 4096;
/// The register whose low byte is CL.
const RCX: usize = 1;
/// Names of the general-purpose registers.
const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// One thing that the two processors left differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Register, or place in memory.
    pub place: String,
    /// What was there before.
    pub before: String,
    /// The host's.
    pub host: String,
    /// The engine's.
    pub engine: String,
}

impl Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { place, before, host, engine } = self;
        write!(out, "{place}: host {host}, engine {engine} (before {before})")
    }
}

/// What differs between `host` and `engine`; nothing if they agree.
pub fn differences(case: &Case, insn: &Instruction, host: &Record, engine: &Record) -> Vec<Difference> {
    let mut comparison = Comparison { found: Vec::new() };
    comparison.outcomes(insn, host, engine);
    let open = tolerance::undefined_register(insn, &case.state, engine.state.rflags);
    for (index, name) in NAMES.iter().enumerate().filter(|(index, _)| Some(*index) != open) {
        let [before, host, engine] = states(case, host, engine).map(|state| state.gpr[index]);
        comparison.words(name, before, host, engine);
    }
    let [before, host_state, engine_state] = states(case, host, engine);
    comparison.words("rip", before.rip, host_state.rip, engine_state.rip);
    comparison.words("fs base", before.fs_base, host_state.fs_base, engine_state.fs_base);
    comparison.words("gs base", before.gs_base, host_state.gs_base, engine_state.gs_base);
    let ignored = tolerance::undefined_flags(insn, before);
    let flags = [before, host_state, engine_state].map(|state| state.rflags & !ignored);
    comparison.words("rflags", flags[0], flags[1], flags[2]);
    comparison.extended(insn, [&before.fxsave, &host_state.fxsave, &engine_state.fxsave]);
    for index in 0..16 {
        let [before, host, engine] = [before, host_state, engine_state].map(|state| state.ymm_high[index]);
        comparison.bytes(&format!("ymm{index} (upper half)"), &before, &host, &engine);
    }
    comparison.memory(insn, case, host, engine);
    comparison.found
}

/// What differs in any bit between the tiers of the engine, and what of the translator's is not as the engine defines it.
pub fn tier_differences(
    case: &Case,
    insn: &Instruction,
    interpreter: &Record,
    translator: &Record,
) -> Vec<Difference> {
    let mut comparison = Comparison { found: Vec::new() };
    let [before, a, b] = states(case, interpreter, translator);
    if interpreter.outcome != translator.outcome {
        let [a, b] = [interpreter, translator].map(|record| describe(record.outcome));
        comparison.note("outcome", "-".to_owned(), a, b);
    }
    for (index, name) in NAMES.iter().enumerate() {
        comparison.words(name, before.gpr[index], a.gpr[index], b.gpr[index]);
    }
    comparison.words("rip", before.rip, a.rip, b.rip);
    comparison.words("rflags", before.rflags, a.rflags, b.rflags);
    comparison.words("fs base", before.fs_base, a.fs_base, b.fs_base);
    comparison.words("gs base", before.gs_base, a.gs_base, b.gs_base);
    comparison.bytes("x87, vectors", &before.fxsave, &a.fxsave, &b.fxsave);
    let [before_high, a_high, b_high] = [before, a, b].map(|state| state.ymm_high.as_flattened());
    comparison.bytes("upper halves", before_high, a_high, b_high);
    if interpreter.lines() != translator.lines() || interpreter.overflow != translator.overflow {
        let [a, b] = [interpreter, translator].map(|record| format!("{:x?}", record.lines()));
        comparison.note("memory", "-".to_owned(), a, b);
    }
    let undefined = undefined::flags(insn, before.gpr[RCX] as u8);
    if translator.outcome == Outcome::Done && b.rflags & undefined != 0 {
        let what = format!("{:#x} of undefined flags", b.rflags & undefined);
        comparison.note("rflags", "-".to_owned(), "none".to_owned(), what);
    }
    comparison.found
}

/// The registers before, as the host left them, and as the engine did.
fn states<'s>(case: &'s Case, host: &'s Record, engine: &'s Record) -> [&'s UserState; 3] {
    [&case.state, &host.state, &engine.state]
}

struct Comparison {
    found: Vec<Difference>,
}

impl Comparison {
    fn note(&mut self, place: &str, before: String, host: String, engine: String) {
        self.found.push(Difference { place: place.to_owned(), before, host, engine });
    }

    fn outcomes(&mut self, insn: &Instruction, host: &Record, engine: &Record) {
        let state = &engine.state;
        let (host, engine) = (settled(insn, host.outcome), settled(insn, engine.outcome));
        if host != engine && !tolerance::is_other_operands_fault(insn, state, host, engine) {
            self.note("outcome", "-".to_owned(), describe(host), describe(engine));
        }
    }

    fn words(&mut self, place: &str, before: u64, host: u64, engine: u64) {
        if host != engine {
            self.note(place, format!("{before:#x}"), format!("{host:#x}"), format!("{engine:#x}"));
        }
    }

    fn bytes(&mut self, place: &str, before: &[u8], host: &[u8], engine: &[u8]) {
        if host != engine {
            self.note(place, hex(before), hex(host), hex(engine));
        }
    }

    /// The FXSAVE area (SDM vol. 1, table 10-2), by its fields.
    fn extended(&mut self, insn: &Instruction, areas: [&[u8; 512]; 3]) {
        const FIELDS: [(&str, usize, usize); 7] = [
            ("x87 control", 0, 2),
            ("x87 status", 2, 2),
            ("x87 tags (abridged)", 4, 1),
            ("x87 opcode", 6, 2),
            ("x87 instruction pointer", 8, 8),
            ("x87 data pointer", 16, 8),
            ("mxcsr", 24, 4),
        ];
        for (name, start, len) in FIELDS {
            if tolerance::POINTERS.contains(&start) && !tolerance::has_pointers(areas[1]) {
                continue;
            }
            let mut fields = areas.map(|area| number(&area[start..start + len]));
            if name == "x87 status" {
                let loose = tolerance::loose_status(insn, fields[2]);
                fields = fields.map(|status| status & !loose);
            }
            self.words(name, fields[0], fields[1], fields[2]);
        }
        for index in 0..8 {
            let [before, host, engine] = areas.map(|area| &area[32 + 16 * index..][..10]);
            let partial = index == 0 && tolerance::is_partial_remainder(insn, number(&areas[2][2..4]));
            if !partial && !tolerance::is_close_extended(insn, host, engine) {
                self.bytes(&format!("st{index}"), before, host, engine);
            }
        }
        for index in 0..16 {
            let [before, host, engine] = areas.map(|area| &area[160 + 16 * index..][..16]);
            if !tolerance::is_close_vector(insn, host, engine) {
                self.bytes(&format!("xmm{index}"), before, host, engine);
            }
        }
    }

    fn memory(&mut self, insn: &Instruction, case: &Case, host: &Record, engine: &Record) {
        if host.overflow || engine.overflow {
            self.note("memory", "-".to_owned(), "many lines".to_owned(), "many lines".to_owned());
            return;
        }
        let mut indexes: Vec<u16> =
            host.lines().iter().chain(engine.lines()).map(|line| line.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        for index in indexes {
            let [mine, theirs] = [engine, host].map(|record| find(record.lines(), index));
            let place = format!("memory line {index:#x}");
            match (theirs, mine) {
                (Some(host), Some(engine)) => {
                    let before =
                        find(case.lines(), index).map_or("background".to_owned(), |line| hex(&line.bytes));
                    if !tolerance::is_close_memory(insn, case, host, engine) {
                        self.note(&place, before, hex(&host.bytes), hex(&engine.bytes));
                    }
                }
                (Some(host), None) => {
                    self.note(&place, "-".to_owned(), hex(&host.bytes), "background".to_owned());
                }
                (None, Some(engine)) => {
                    self.note(&place, "-".to_owned(), "background".to_owned(), hex(&engine.bytes));
                }
                (None, None) => {}
            }
        }
    }
}

fn find(lines: &[Line], index: u16) -> Option<&Line> {
    lines.iter().find(|line| line.index == index)
}

/// An outcome with what does not count left out.
fn settled(insn: &Instruction, outcome: Outcome) -> Outcome {
    let Outcome::Exception { vector, error, cr2 } = outcome else { return outcome };
    let is_page_fault = vector == PAGE_FAULT;
    let hidden = if is_page_fault && cr2 >= FIRST_KERNEL_ADDRESS { PRESENT } else { 0 };
    Outcome::Exception {
        vector,
        error: if WITH_ERROR.contains(&vector) { error & !hidden } else { 0 },
        cr2: match is_page_fault {
            true if tolerance::has_many_fields(insn) => cr2 & !(PAGE - 1),
            true => cr2,
            false => 0,
        },
    }
}

fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Exception { vector: PAGE_FAULT, error, cr2 } => format!("#PF({error:#x}) at {cr2:#x}"),
        Outcome::Exception { vector, error, .. } => format!("exception {vector} ({error:#x})"),
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Bytes as a number is written: the last one first.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}
