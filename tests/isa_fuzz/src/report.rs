//! What a person reads.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use iced_x86::{Formatter, Instruction, IntelFormatter, Register};

use crate::case::Case;
use crate::compare::Difference;
use crate::forms::{Family, Form};
use crate::run::Summary;

/// A case in which the processors do not agree.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The form it was made for.
    pub form: Form,
    /// The seed that makes it again.
    pub seed: u64,
    /// Inputs.
    pub case: Box<Case>,
    /// The instruction.
    pub insn: Instruction,
    /// What differs.
    pub found: Vec<Difference>,
}

impl Display for Divergence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        IntelFormatter::new().format(&self.insn, &mut text);
        let bytes: Vec<String> = self.case.insn().iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{:?}: {text}   [{}]", self.form.code, bytes.join(" "))?;
        for difference in &self.found {
            writeln!(out, "    {difference}")?;
        }
        let state = &self.case.state;
        let word = |at: usize| u16::from_le_bytes([state.fxsave[at], state.fxsave[at + 1]]);
        writeln!(out, "  with rflags {:#x}, rip {:#x}", state.rflags, state.rip)?;
        match self.insn.memory_segment() {
            Register::FS => writeln!(out, "       FS at {:#x}", state.fs_base)?,
            Register::GS => writeln!(out, "       GS at {:#x}", state.gs_base)?,
            _ => {}
        }
        if self.form.family == Family::X87 {
            let (control, status, tags) = (word(0), word(2), state.fxsave[4]);
            writeln!(out, "       control {control:#x}, status {status:#x}, tags {tags:#x}")?;
        }
        if self.form.family == Family::Vector {
            writeln!(out, "       mxcsr {:#x}", word(24))?;
        }
        self.operands(out)?;
        writeln!(out, "  again: --forms '^{:?}$' --cases 1 --seed {}", self.form.code, self.seed)
    }
}

impl Divergence {
    /// The registers that the instruction names, as they were.
    fn operands(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.case.state;
        let mut factory = iced_x86::InstructionInfoFactory::new();
        let info = factory.info(&self.insn);
        for used in info.used_registers() {
            let register = used.register();
            if register.is_gpr() {
                let full = register.full_register();
                writeln!(out, "       {full:?} {:#x}", state.gpr[full.number()])?;
            } else if register.is_vector_register() {
                let number = register.number() % 16;
                let low = &state.fxsave[160 + 16 * number..][..16];
                writeln!(out, "       XMM{number} {}", hex(low))?;
            } else if register.is_mm() || register.is_st() {
                let number = register.number();
                writeln!(out, "       {register:?} {}", hex(&state.fxsave[32 + 16 * number..][..10]))?;
            }
        }
        for memory in info.used_memory() {
            writeln!(out, "       {memory:?}")?;
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

impl Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for divergence in &self.divergences {
            writeln!(out, "{divergence}")?;
        }
        writeln!(out, "family    forms     cases    faults  diverging  (cases)  lost  not implemented")?;
        for family in Family::ALL {
            let covered = self.family(family).filter(|tally| !tally.missing);
            let (mut forms, mut cases, mut faults, mut bad, mut bad_cases, mut lost) = (0, 0, 0, 0, 0, 0);
            for tally in covered {
                forms += 1;
                cases += tally.cases;
                faults += tally.faults;
                bad += usize::from(tally.divergences > 0);
                bad_cases += tally.divergences;
                lost += tally.lost;
            }
            let missing = self.family(family).filter(|tally| tally.missing).count();
            let name = family.to_string();
            writeln!(
                out,
                "{name:8} {forms:6} {cases:9} {faults:9} {bad:10} {bad_cases:8} {lost:5} {missing:16}"
            )?;
        }
        let covered = self.tallies.iter().filter(|tally| !tally.missing).count();
        let offered = self.tallies.iter().filter(|tally| !tally.missing && tally.form.offered).count();
        writeln!(out, "{covered} forms covered, {offered} of them offered to guests")?;
        let mut reasons = BTreeMap::<_, usize>::new();
        for (_, reason) in &self.omissions {
            *reasons.entry(*reason).or_default() += 1;
        }
        for (reason, count) in reasons {
            writeln!(out, "left out: {count} ({reason})")?;
        }
        self.diverging(out)
    }
}

impl Summary {
    fn diverging(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tally in self.tallies.iter().filter(|tally| tally.missing && tally.form.offered) {
            writeln!(out, "offered, not implemented: {:?}", tally.form.code)?;
        }
        for tally in self.tallies.iter().filter(|tally| tally.cases == 0 && !tally.missing) {
            writeln!(out, "no case could be built: {:?}", tally.form.code)?;
        }
        for tally in self.tallies.iter().filter(|tally| tally.divergences > 0) {
            writeln!(out, "diverges: {:?} ({} of {})", tally.form.code, tally.divergences, tally.cases)?;
        }
        Ok(())
    }
}
