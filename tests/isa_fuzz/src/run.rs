//! A run: every form that was asked for, so many cases each, on both processors.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use iced_x86::Code;
use soft_engine::probe::{Outcome, ProbeVm, Tier};

use crate::case::{Case, Record};
use crate::compare::{self, Difference};
use crate::engine::Engine;
use crate::forms::{self, Family, Form, Omission};
use crate::generate::{Generated, Generator};
use crate::host::{BATCH, Host};
use crate::host_cpuid;
use crate::layout::PAGES;
use crate::report::Divergence;

/// Divergences of one form that are kept to be shown.
const SHOWN_PER_FORM: usize = 2;
/// Divergences of one form after which it is left.
const ENOUGH: usize = 20;

/// What to do.
pub struct Plan {
    /// Which forms, by the name of their code.
    pub wanted: Box<dyn Fn(Form) -> bool + Sync>,
    /// Cases for each.
    pub cases: u64,
    /// Seed of each form's first case; the next ones follow.
    pub seed: u64,
    /// What is compared.
    pub sides: Sides,
    /// Processors to use.
    pub workers: usize,
}

/// Who executes each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// The host's processor, and this tier of the engine: what manuals leave open may differ.
    Host(Tier),
    /// Both tiers of the engine, which differ in nothing, whatever the host is.
    Tiers,
}

/// What became of one form.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Which.
    pub form: Form,
    /// Cases compared.
    pub cases: u64,
    /// Cases among them that raise an exception on the host.
    pub faults: u64,
    /// Cases that differed.
    pub divergences: usize,
    /// Cases lost because they ended the host's child.
    pub lost: usize,
    /// The engine raises #UD for it.
    pub missing: bool,
}

/// What came of a run.
#[derive(Default)]
pub struct Summary {
    /// Every form wanted.
    pub tallies: Vec<Tally>,
    /// Forms left out.
    pub omissions: Vec<(Code, Omission)>,
    /// Some divergences of each form.
    pub divergences: Vec<Divergence>,
}

impl Summary {
    /// All divergences, shown or not.
    pub fn divergence_count(&self) -> usize {
        self.tallies.iter().map(|tally| tally.divergences).sum()
    }

    /// Tallies of one family.
    pub fn family(&self, family: Family) -> impl Iterator<Item = &Tally> {
        self.tallies.iter().filter(move |tally| tally.form.family == family)
    }
}

/// The VM of the engine's side, with the extensions of the host's processor.
pub fn probe_vm() -> io::Result<ProbeVm> {
    ProbeVm::new(host_cpuid::features(), &PAGES).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// The VM of a processor with what guests are offered, whatever the host has.
pub fn offered_vm() -> io::Result<ProbeVm> {
    ProbeVm::offered(&PAGES).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

fn vm(sides: Sides) -> io::Result<ProbeVm> {
    match sides {
        Sides::Host(_) => probe_vm(),
        Sides::Tiers => offered_vm(),
    }
}

/// All forms, as far as `vm` has them.
pub fn forms(vm: &ProbeVm) -> Vec<Result<Form, (Code, Omission)>> {
    forms::all(|feature| vm.has(feature), ProbeVm::is_offered)
}

/// Runs `plan`; `progress` hears of every form that is done, and of how many there are.
pub fn run(plan: &Plan, progress: impl Fn(usize, usize) + Sync) -> io::Result<Summary> {
    let all = forms(&vm(plan.sides)?);
    let (mut wanted, mut allowed, mut summary) = (Vec::new(), Vec::new(), Summary::default());
    for form in all {
        match form {
            Ok(form) => {
                allowed.push(form.code);
                if (plan.wanted)(form) {
                    wanted.push(form);
                }
            }
            Err(omission) => summary.omissions.push(omission),
        }
    }
    let work = Work { plan, wanted, allowed, next: AtomicUsize::new(0), summary: Mutex::new(summary) };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.workers.max(1)).map(|_| scope.spawn(|| work.run(&progress))).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let mut summary = work.summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.tallies.sort_by_key(|tally| tally.form.code);
    summary.divergences.sort_by_key(|divergence| (divergence.form.code, divergence.seed));
    Ok(summary)
}

struct Work<'p> {
    plan: &'p Plan,
    wanted: Vec<Form>,
    allowed: Vec<Code>,
    next: AtomicUsize,
    summary: Mutex<Summary>,
}

/// What a worker has of its own.
struct Bench<'v> {
    generator: Generator,
    reference: Reference<'v>,
    engine: Engine<'v>,
    records: Vec<Record>,
    mine: Box<Record>,
}

/// What the engine is compared with.
enum Reference<'v> {
    Host(Host),
    Interpreter(Box<Engine<'v>>),
}

impl Reference<'_> {
    fn run(&mut self, cases: &[Case], records: &mut Vec<Record>) -> io::Result<()> {
        match self {
            Reference::Host(host) => host.run(cases, records),
            Reference::Interpreter(engine) => {
                records.clear();
                records.extend(cases.iter().map(|case| {
                    let mut record = Record::new(&case.state);
                    engine.run(case, &mut record);
                    record
                }));
                Ok(())
            }
        }
    }
}

impl Work<'_> {
    fn run(&self, progress: &(impl Fn(usize, usize) + Sync)) -> io::Result<()> {
        let (mut vm, mut other_vm) = (vm(self.plan.sides)?, vm(self.plan.sides)?);
        let (reference, tier) = match self.plan.sides {
            Sides::Host(tier) => (Reference::Host(Host::start()?), tier),
            Sides::Tiers => {
                (Reference::Interpreter(Box::new(Engine::new(other_vm.probe(Tier::Interpreter)))), Tier::Jit)
            }
        };
        let first = soft_engine::probe::UserState::default();
        let mut bench = Bench {
            generator: Generator::default(),
            reference,
            engine: Engine::new(vm.probe(tier)),
            records: Vec::with_capacity(BATCH),
            mine: Box::new(Record::new(&first)),
        };
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(form) = self.wanted.get(index) else { return Ok(()) };
            let (tally, divergences) = self.run_form(*form, &mut bench)?;
            {
                let mut summary = self.summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                summary.tallies.push(tally);
                summary.divergences.extend(divergences);
            }
            progress(index + 1, self.wanted.len());
        }
    }

    fn run_form(&self, form: Form, bench: &mut Bench<'_>) -> io::Result<(Tally, Vec<Divergence>)> {
        let mut tally = Tally { form, cases: 0, faults: 0, divergences: 0, lost: 0, missing: false };
        let mut divergences = Vec::new();
        let allowed = |code: Code| self.allowed.binary_search(&code).is_ok();
        let mut seeds = (0..self.plan.cases).map(|index| self.plan.seed.wrapping_add(index));
        loop {
            let batch: Vec<(u64, Generated)> = seeds
                .by_ref()
                .take(BATCH)
                .filter_map(|seed| Some((seed, bench.generator.generate(form.code, seed, allowed)?)))
                .collect();
            // What prefixes have turned into something else tells nothing of this form.
            let own = batch.iter().find(|(_, generated)| generated.insn.code() == form.code);
            if own.is_some_and(|(_, generated)| !bench.engine.executes(&generated.case, &generated.insn)) {
                tally.missing = true;
            }
            if batch.is_empty() || tally.missing || tally.divergences >= ENOUGH {
                return Ok((tally, divergences));
            }
            let cases: Vec<_> = batch.iter().map(|(_, generated)| generated.case).collect();
            bench.reference.run(&cases, &mut bench.records)?;
            for (index, (seed, generated)) in batch.into_iter().enumerate() {
                let Some(found) = bench.compare(&generated, index, &mut tally) else { continue };
                tally.divergences += 1;
                if divergences.len() < SHOWN_PER_FORM {
                    divergences.push(Divergence {
                        form,
                        seed,
                        case: Box::new(generated.case),
                        insn: generated.insn,
                        found,
                    });
                }
            }
        }
    }
}

impl Bench<'_> {
    /// What the processors differ in on case `index` of the batch; `None` if in nothing, or if they cannot be compared.
    fn compare(&mut self, generated: &Generated, index: usize, tally: &mut Tally) -> Option<Vec<Difference>> {
        let Generated { case, insn } = generated;
        let host = &self.records[index];
        if host.lost {
            tally.lost += 1;
            return None;
        }
        if !self.engine.executes(case, insn) {
            return None;
        }
        tally.cases += 1;
        tally.faults += u64::from(host.outcome != Outcome::Done);
        self.engine.run(case, &mut self.mine);
        let found = match self.reference {
            Reference::Host(_) => compare::differences(case, insn, host, &self.mine),
            Reference::Interpreter(_) => compare::tier_differences(case, insn, host, &self.mine),
        };
        (!found.is_empty()).then_some(found)
    }
}
