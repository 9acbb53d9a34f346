//! A sweep over all encodings against the host: is each an instruction, how long is it, and what does it do.
//!
//! Which extensions there are is taken from CPUID on both sides, so that nothing depends on which processor the host has:
//! an instruction of an extension that one of them lacks is left out. What is compared of the others is what the manuals
//! define ([`crate::tolerance`]); differences besides are listed by name, with reasons ([`Known`]).

mod encodings;
mod known;
mod skipped;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io;

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use soft_engine::probe::{Outcome, ProbeVm, Tier, UserState};

use crate::case::{Case, Record};
use crate::compare;
use crate::engine::Engine;
use crate::host::{BATCH, Host};
use crate::layout::{CODE, DATA};
use crate::run::{offered_vm, probe_vm};
pub use encodings::Extent;
pub use known::Known;
use skipped::Verdict;

/// Vector of an undefined opcode.
const UNDEFINED: u8 = 6;
/// Names of which differences are shown.
const SHOWN: usize = 100;
/// General-purpose registers of compatibility mode.
const NARROW_REGISTERS: usize = 8;
const RCX: usize = 1;
const RSP: usize = 4;

/// What to sweep over.
pub struct Plan<'k> {
    /// 64, or compatibility mode with code of 32 or 16.
    pub bits: u32,
    /// How much.
    pub extent: Extent,
    /// One of so many encodings is executed, beginning with the first.
    pub one_of: usize,
    /// What executes the engine's side.
    pub tier: Tier,
    /// Differences that have a reason.
    pub known: &'k [Known],
}

/// What came of a sweep.
#[derive(Default)]
pub struct Summary {
    /// Encodings compared.
    pub compared: u64,
    /// Those among them that are no instruction to either side.
    pub undefined: u64,
    /// Those left out, by why.
    pub skipped: BTreeMap<Verdict, u64>,
    /// Those that ended the host's child.
    pub lost: u64,
    /// Differences that are listed, by their line.
    pub listed: BTreeMap<String, u64>,
    /// Differences that are not.
    pub diverging: u64,
    /// The first of each name, and how many there are.
    shown: BTreeMap<String, (String, u64)>,
}

/// Sweeps over all encodings of `plan`.
pub fn run(plan: &Plan<'_>) -> io::Result<Summary> {
    let mut vm = probe_vm()?;
    // Only for what they have.
    let (host, offered) = (probe_vm()?, offered_vm()?);
    let mut sweep = Sweep {
        plan,
        both: [&host, &offered],
        host: Host::start()?,
        engine: Engine::new(vm.probe(plan.tier)),
        waiting: Vec::new(),
        records: Vec::new(),
        mine: Box::new(Record::new(&UserState::default())),
        summary: Summary::default(),
    };
    let (mut failed, mut number) = (None, 0);
    encodings::each(plan.bits, plan.extent, |bytes| {
        number += 1;
        if failed.is_none() && number % plan.one_of == 0 {
            failed = sweep.see(bytes).err();
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    sweep.ask()?;
    Ok(sweep.summary)
}

struct Sweep<'s> {
    plan: &'s Plan<'s>,
    /// Processors with what the host and the engine both have, and with what guests are offered.
    both: [&'s ProbeVm; 2],
    host: Host,
    engine: Engine<'s>,
    waiting: Vec<(Case, Instruction, Verdict)>,
    records: Vec<Record>,
    mine: Box<Record>,
    summary: Summary,
}

impl Sweep<'_> {
    fn see(&mut self, bytes: &[u8]) -> io::Result<()> {
        let options = DecoderOptions::FORCE_RESERVED_NOP;
        let insn = Decoder::with_ip(self.plan.bits, bytes, CODE, options).decode();
        let has = |feature| self.both.iter().all(|vm| vm.has(feature));
        let verdict = skipped::verdict(&insn, bytes, self.plan.bits, has);
        if !matches!(verdict, Verdict::Compare | Verdict::CompareOutcome) {
            *self.summary.skipped.entry(verdict).or_default() += 1;
            return Ok(());
        }
        self.waiting.push((case(bytes, &insn, self.plan.bits), insn, verdict));
        if self.waiting.len() == BATCH { self.ask() } else { Ok(()) }
    }

    fn ask(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let cases: Vec<Case> = waiting.iter().map(|(case, ..)| *case).collect();
        self.host.run(&cases, &mut self.records)?;
        let mut records = std::mem::take(&mut self.records);
        for ((case, insn, verdict), theirs) in waiting.iter().zip(&mut records) {
            if theirs.lost {
                self.summary.lost += 1;
                continue;
            }
            self.engine.run(case, &mut self.mine);
            narrow(case, theirs);
            narrow(case, &mut self.mine);
            let found = differences(case, insn, *verdict, theirs, &self.mine);
            self.summary.note(self.plan, case, insn, [theirs, &self.mine], &found);
        }
        self.records = records;
        Ok(())
    }
}

/// Registers that lead to the data, and a count of one.
fn case(bytes: &[u8], insn: &Instruction, bits: u32) -> Case {
    let mut state = UserState { rip: CODE, rflags: 0x202, ..UserState::default() };
    for (number, register) in state.gpr.iter_mut().enumerate() {
        *register = DATA + 0x800 + 64 * number as u64;
    }
    state.gpr[RCX] = 1;
    state.gpr[RSP] = DATA + 0x1800;
    state.fxsave[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    state.fxsave[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    for (number, register) in state.fxsave[160..416].chunks_exact_mut(16).enumerate() {
        for (place, lane) in register.chunks_exact_mut(4).enumerate() {
            lane.copy_from_slice(&(1.5 + number as f32 + place as f32 / 4.0).to_le_bytes());
        }
    }
    let mut case = Case::new(&state);
    case.code[..bytes.len()].copy_from_slice(bytes);
    (case.len, case.bits) = (insn.len() as u16, bits as u8);
    case
}

/// Leaves out what compatibility mode does not show.
fn narrow(case: &Case, record: &mut Record) {
    if case.bits == 64 {
        return;
    }
    let state = &mut record.state;
    for (number, register) in state.gpr.iter_mut().enumerate() {
        *register = if number < NARROW_REGISTERS { *register & 0xffff_ffff } else { case.state.gpr[number] };
    }
    state.rip &= 0xffff_ffff;
    state.fxsave[288..416].copy_from_slice(&case.state.fxsave[288..416]);
}

fn differences(
    case: &Case,
    insn: &Instruction,
    verdict: Verdict,
    host: &Record,
    engine: &Record,
) -> Vec<String> {
    let vector = |record: &Record| match record.outcome {
        Outcome::Exception { vector, .. } => Some(vector),
        Outcome::Done => None,
    };
    let (a, b) = (vector(host), vector(engine));
    if (a == Some(UNDEFINED)) != (b == Some(UNDEFINED)) {
        return vec![format!("host {:x?}, engine {:x?}", host.outcome, engine.outcome)];
    }
    if a == Some(UNDEFINED) {
        return Vec::new();
    }
    if verdict == Verdict::CompareOutcome {
        let same = a == b && (a.is_some() || host.state.rip == engine.state.rip);
        let place = |record: &Record| format!("{:x?} at {:#x}", record.outcome, record.state.rip);
        return if same {
            Vec::new()
        } else {
            vec![format!("host {}, engine {}", place(host), place(engine))]
        };
    }
    compare::differences(case, insn, host, engine).iter().map(ToString::to_string).collect()
}

impl Summary {
    fn note(
        &mut self,
        plan: &Plan<'_>,
        case: &Case,
        insn: &Instruction,
        records: [&Record; 2],
        found: &[String],
    ) {
        self.compared += 1;
        let is_undefined =
            |record: &Record| matches!(record.outcome, Outcome::Exception { vector: UNDEFINED, .. });
        self.undefined += u64::from(records.into_iter().all(is_undefined));
        if found.is_empty() {
            return;
        }
        let bytes: Vec<String> = case.code[..15].iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = bytes.join(" ");
        if let Some(known) = plan.known.iter().find(|known| known.has(plan.bits, &bytes, insn)) {
            *self.listed.entry(known.text().to_owned()).or_default() += 1;
            return;
        }
        self.diverging += 1;
        let name =
            if insn.is_invalid() { format!("none: {}", &bytes[..14]) } else { format!("{:?}", insn.code()) };
        let first = self.shown.entry(name).or_insert_with(|| {
            let mut text = String::new();
            IntelFormatter::new().format(insn, &mut text);
            (format!("{}: {bytes} ({text}): {}", plan.bits, found.join("; ")), 0)
        });
        first.1 += 1;
    }
}

impl Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { compared, undefined, skipped, lost, listed, diverging, shown } = self;
        for (name, (text, count)) in shown.iter().take(SHOWN) {
            writeln!(out, "{name}, {count} times: {text}")?;
        }
        writeln!(
            out,
            "{compared} encodings compared, {undefined} are no instruction, {lost} ended the child"
        )?;
        for (why, count) in skipped {
            writeln!(out, "left out: {count} ({why})")?;
        }
        for (line, count) in listed {
            writeln!(out, "listed: {count} ({line})")?;
        }
        writeln!(out, "{diverging} diverge")
    }
}
