//! Many blocks, each executed by everybody who can.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use soft_engine::SoftEngine;
use soft_engine::probe::Outcome;

use super::Block;
use super::compare;
use super::compose::Composer;
use super::machine::{self, Ending, Machine, Setting};
use super::ordinary::Drawer;
use crate::case::{Case, Record};
use crate::forms::Form;
use crate::host::{BATCH, Host};
use crate::layout::background;
use crate::run as forms;

/// Divergences that are kept to be shown.
const SHOWN: usize = 10;
/// One of so many blocks is executed under interrupts from outside too.
const STORMS: u64 = 8;

/// A loop that writes its own code is translated in each turn.
const PATIENCE_TRANSLATING: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Blocks.
    pub blocks: u64,
    /// Seed of the first; the next ones follow.
    pub seed: u64,
    /// The host executes them too.
    pub host: bool,
}

/// A block about which two do not agree.
pub struct Divergence {
    seed: u64,
    text: String,
    found: Vec<String>,
}

/// What came of a run.
#[derive(Default)]
pub struct Summary {
    /// Blocks executed by interpreter and translator.
    pub blocks: u64,
    /// Those that came to their end.
    pub completed: u64,
    /// Those among them that work with interrupts.
    pub open: u64,
    /// Interrupts to themselves that were taken.
    pub interrupts: u64,
    /// Interrupts from outside that were taken, and by how many blocks.
    pub outside: (u64, u64),
    /// Those that the host executed too.
    pub on_host: u64,
    /// Those that ended the host's child.
    pub lost: u64,
    /// Those without an end.
    pub endless: u64,
    /// Those in which two differ.
    pub diverging: u64,
    shown: Vec<Divergence>,
}

/// Runs `plan`; `progress` hears of every hundredth of it.
pub fn run(plan: &Plan, progress: impl Fn(u64, u64)) -> io::Result<Summary> {
    let vm = forms::probe_vm()?;
    let all: Vec<Form> = forms::forms(&vm).into_iter().flatten().collect();
    let mut work = Work {
        plan: *plan,
        composer: Composer::new(Drawer::new(&all)),
        interpreter: Machine::new(SoftEngine::interpreter(), machine::PATIENCE)?,
        translator: Machine::new(SoftEngine::eager(), PATIENCE_TRANSLATING)?,
        host: if plan.host { Some(Host::start()?) } else { None },
        background: background().to_vec(),
        waiting: Vec::new(),
        records: Vec::new(),
        summary: Summary::default(),
    };
    for index in 0..plan.blocks {
        work.block(plan.seed.wrapping_add(index))?;
        if work.waiting.len() == BATCH {
            work.ask_host()?;
        }
        if index.is_multiple_of((plan.blocks / 100).max(1)) {
            progress(index, plan.blocks);
        }
    }
    work.ask_host()?;
    Ok(work.summary)
}

struct Work {
    plan: Plan,
    composer: Composer,
    interpreter: Machine,
    translator: Machine,
    host: Option<Host>,
    background: Vec<u8>,
    /// Blocks for the host, with what the interpreter made of them.
    waiting: Vec<(Block, Record)>,
    records: Vec<Record>,
    summary: Summary,
}

impl Work {
    fn block(&mut self, seed: u64) -> io::Result<()> {
        let Some(block) = self.composer.compose(seed) else { return Ok(()) };
        let setting = Setting { open: block.open, storm: false };
        let Some(interpreter) = self.interpreter.run(&block.case, setting)? else {
            self.summary.endless += 1;
            return Ok(());
        };
        let translator = self.translator.run(&block.case, setting)?;
        self.summary.blocks += 1;
        let found = match &translator {
            Some(translator) => compare::tiers(&interpreter, translator),
            None => vec!["the translated block does not end".to_owned()],
        };
        if !found.is_empty() {
            self.summary.note(&block, found);
            return Ok(());
        }
        self.summary.open += u64::from(block.open);
        self.summary.interrupts += interpreter.interrupts();
        let record = compare::record(&block, &interpreter, &self.background);
        self.summary.completed += u64::from(record.outcome == Outcome::Done);
        if seed.is_multiple_of(STORMS) {
            self.storm(&block, &interpreter, &record)?;
        }
        if block.settled && !block.open && self.plan.host {
            self.waiting.push((block, record));
        }
        Ok(())
    }

    /// The block again, by both, while interrupts come from outside.
    fn storm(&mut self, block: &Block, calm: &Ending, record: &Record) -> io::Result<()> {
        let setting = Setting { open: block.open, storm: true };
        for (name, machine) in [("interpreter", &mut self.interpreter), ("translator", &mut self.translator)]
        {
            let Some(ending) = machine.run(&block.case, setting)? else { continue };
            let more = ending.interrupts().saturating_sub(calm.interrupts());
            self.summary.outside.0 += more;
            self.summary.outside.1 += u64::from(more > 0);
            let found = compare::programs(record, &compare::record(block, &ending, &self.background));
            if !found.is_empty() {
                let found = found.iter().map(|what| format!("under interrupts, {name}: {what}")).collect();
                self.summary.note(block, found);
            }
        }
        Ok(())
    }

    fn ask_host(&mut self) -> io::Result<()> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let waiting = std::mem::take(&mut self.waiting);
        let cases: Vec<Case> = waiting.iter().map(|(block, _)| *block.case).collect();
        host.run(&cases, &mut self.records)?;
        let records = std::mem::take(&mut self.records);
        for ((block, mine), theirs) in waiting.iter().zip(&records) {
            if theirs.lost {
                self.summary.lost += 1;
                continue;
            }
            self.summary.on_host += 1;
            let found = compare::host(block, theirs, mine);
            if !found.is_empty() {
                self.summary.note(block, found);
            }
        }
        self.records = records;
        Ok(())
    }
}

impl Summary {
    fn note(&mut self, block: &Block, found: Vec<String>) {
        self.diverging += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(Divergence { seed: block.seed, text: disassembly(block), found });
        }
    }
}

fn disassembly(block: &Block) -> String {
    let case = &block.case;
    let mut text = format!("  rflags {:#x}, {:?}, open {}\n", case.state.rflags, case.scope, block.open);
    for (number, pair) in case.state.gpr.chunks(4).enumerate() {
        text += &format!("  r{}..: {pair:x?}\n", 4 * number);
    }
    text += &format!("  fs {:#x}, gs {:#x}\n", case.state.fs_base, case.state.gs_base);
    let code = &case.code[..block.size];
    let mut formatter = IntelFormatter::new();
    for insn in Decoder::with_ip(64, code, case.state.rip, DecoderOptions::NONE) {
        let mut line = String::new();
        formatter.format(&insn, &mut line);
        let at = (insn.ip() - case.state.rip) as usize;
        let bytes: Vec<String> = code[at..at + insn.len()].iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("  {:#x}  {line}   [{}]\n", insn.ip(), bytes.join(" "));
    }
    text
}

impl Display for Divergence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "block of seed {}", self.seed)?;
        out.write_str(&self.text)?;
        for difference in &self.found {
            writeln!(out, "    {difference}")?;
        }
        writeln!(out, "  again: --blocks 1 --seed {}", self.seed)
    }
}

impl Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for divergence in &self.shown {
            writeln!(out, "{divergence}")?;
        }
        let Summary { blocks, completed, open, interrupts, on_host, lost, endless, diverging, .. } = self;
        let (outside, stormy) = self.outside;
        writeln!(out, "{blocks} blocks by interpreter and translator, {completed} of them to their end")?;
        writeln!(out, "{open} work with interrupts, of which {interrupts} were taken")?;
        writeln!(out, "{outside} interrupts from outside were taken, in {stormy} runs")?;
        writeln!(out, "{on_host} by the host too; {lost} ended its child, {endless} have no end")?;
        writeln!(out, "{diverging} diverge")
    }
}
