//! Each unit of translated code against the interpreter, while a guest runs: for tests of the translator.
//!
//! ```text
//!  state, journal ─► one unit, translated ─► undone ─► the interpreter, instruction by instruction, until it is where
//!                                                      the unit ended: everything has to be the same
//! ```
//!
//! What cannot be done twice (device accesses, clocks, MSRs, control registers, stores to decoded code, buffers that the
//! host kernel has) is left out and counted. Devices are kept out of RAM meanwhile. A unit is compared its first times, and then once in a while.

use std::collections::HashMap;
use std::fmt::Write as _;

use iced_x86::{Decoder, FlowControl};
use vcpu_model::Halt;

use crate::cpu::{Core, Cpu, Exception, Exec, gpr};
use crate::decode::OPTIONS;
use crate::decode::block::BlockCache;
use crate::decode::keys::KeyHasher;
use crate::jit::{Jit, Ran};
use crate::memory::journal::Page;

/// Times that a unit is compared before it is trusted for a while.
const FIRST: u32 = 256;
/// From then on it is compared once in so many times.
const LATER: u32 = 16;
/// Instructions in which the interpreter has to arrive where the unit ended: more than a unit and its plain variant have.
const INSNS_MAX: u64 = 128;
/// Longest instruction in bytes.
const INSN_MAX: usize = 15;

/// What was compared so far.
#[derive(Default)]
pub struct Lockstep {
    runs: HashMap<u64, u32, KeyHasher>,
    compared: u64,
    insns: u64,
    unrepeatable: u64,
    trusted: u64,
    interpreted: u64,
    divergence: Option<String>,
}

/// Where a unit ended.
struct Ending<'m> {
    cpu: Cpu,
    fault: Option<Exception>,
    pages: Vec<Page<'m>>,
}

impl Lockstep {
    /// The first divergence, once there was one.
    pub fn take_divergence(&mut self) -> Option<String> {
        self.divergence.take()
    }

    /// Runs one unit at RIP, compared or not.
    pub fn step(&mut self, core: &mut Core<'_>, jit: &mut Jit, blocks: &BlockCache) -> Exec<Ran> {
        let gpa = core.code_address(core.rip)?;
        let runs = self.runs.entry(gpa).or_default();
        *runs += 1;
        let wanted = *runs <= FIRST || runs.is_multiple_of(LATER);
        if !wanted {
            self.trusted += 1;
            return jit.run_unit(core);
        }
        core.journal.keep_out(core.shared.memory.gate());
        let ran = self.run(core, jit, blocks);
        core.journal.let_in();
        ran
    }

    /// Runs one unit at RIP and compares it, if that can be.
    fn run(&mut self, core: &mut Core<'_>, jit: &mut Jit, blocks: &BlockCache) -> Exec<Ran> {
        let before = core.cpu.clone();
        core.translations.flush_data();
        core.journal.begin();
        let ran = jit.run_unit(core);
        core.journal.end();
        let ran = ran?;
        if matches!(ran, Ran::Cold) && core.rip == before.rip {
            self.interpreted += 1;
            return Ok(ran);
        }
        if core.journal.is_unrepeatable() || !core.stale_code.is_empty() || core.all_code_is_stale {
            self.unrepeatable += 1;
            return Ok(ran);
        }
        self.compare(core, blocks, before)?;
        Ok(ran)
    }

    fn compare(&mut self, core: &mut Core<'_>, blocks: &BlockCache, before: Cpu) -> Exec {
        let unit = Ending { cpu: core.cpu.clone(), fault: core.fault, pages: core.journal.now() };
        core.journal.undo();
        let start = before.rip;
        core.cpu = before;
        core.fault = None;
        core.update_mode();
        core.translations.flush_data();
        core.journal.begin();
        let arrived = self.interpret(core, blocks, &unit);
        core.journal.end();
        self.compared += 1;
        match arrived {
            Ok(insns) => self.insns += insns,
            Err(found) => {
                self.divergence = Some(report(core, start, &unit, &found));
                core.dead = Some(Halt::TripleFault);
                core.attention = true;
            }
        }
        Ok(())
    }

    /// Executes instructions until everything is as the unit left it. Answers how many; else what is different where
    /// the unit ended, at each time that the interpreter came by.
    fn interpret<'m>(
        &self,
        core: &mut Core<'m>,
        blocks: &BlockCache,
        unit: &Ending<'m>,
    ) -> Result<u64, Vec<String>> {
        let mut found = Vec::new();
        for done in 1..=INSNS_MAX {
            let raised = interpret_one(core, blocks).is_err();
            if core.rip == unit.cpu.rip && raised == unit.fault.is_some() {
                let differences = differences(core, unit);
                if differences.is_empty() {
                    return Ok(done);
                }
                found.push(format!("after {done} instructions:"));
                found.extend(differences);
            }
            if raised {
                found.push(format!("the interpreter raised {:x?} at {:#x}", core.fault, core.rip));
                return Err(found);
            }
        }
        found.push(format!("the interpreter went on to {:#x}", core.rip));
        Err(found)
    }

    /// One line for a person.
    pub fn summary(&self) -> String {
        let Lockstep { compared, insns, unrepeatable, trusted, interpreted, runs, .. } = self;
        format!(
            "lockstep: {compared} runs of {} units compared, {insns} instructions; not compared: {unrepeatable} that \
             cannot be repeated, {trusted} of units that were compared before; {interpreted} left to the interpreter",
            runs.len()
        )
    }
}

fn interpret_one(core: &mut Core<'_>, blocks: &BlockCache) -> Exec {
    let insn = blocks.one_at_rip(core)?;
    let shadow = core.shadow;
    core.cpu.gpr[gpr::NEXT_RIP] = core.cpu.rip.wrapping_add(insn.len.into());
    (insn.run)(core, &insn)?;
    core.cpu.rip = core.next_rip();
    if core.shadow == shadow {
        core.cpu.shadow = 0;
    }
    Ok(())
}

fn differences<'m>(core: &Core<'m>, unit: &Ending<'m>) -> Vec<String> {
    let mut found = registers(&core.cpu, &unit.cpu);
    if core.fault != unit.fault {
        found.push(format!("fault: interpreter {:x?}, unit {:x?}", core.fault, unit.fault));
    }
    // What the unit wrote is as the unit left it, and what it did not write is as it was.
    let written = unit.pages.iter().map(|page| (page, page.first_change()));
    for (page, change) in written {
        if let Some(offset) = change {
            found.push(format!("memory at {:#x}", page.gpa() + offset as u64));
        }
    }
    for page in core.journal.others(&unit.pages) {
        found.push(format!("only the interpreter wrote to the page at {page:#x}"));
    }
    found
}

fn registers(mine: &Cpu, unit: &Cpu) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: &str, is_same: bool, values: &dyn Fn(&Cpu) -> String| {
        if !is_same {
            found.push(format!("{what}: interpreter {}, unit {}", values(mine), values(unit)));
        }
    };
    macro_rules! fields {
        ($($field:ident),*) => {
            $(note(stringify!($field), mine.$field == unit.$field, &|cpu| format!("{:x?}", cpu.$field));)*
        };
    }
    note("registers", mine.gpr[..16] == unit.gpr[..16], &|cpu| format!("{:x?}", &cpu.gpr[..16]));
    note("flags", mine.flags.get() == unit.flags.get(), &|cpu| format!("{:#x}", cpu.flags.get()));
    fields!(
        rip, segments, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, efer, xcr0, debug, msrs, fpu, vectors, mxcsr
    );
    fields!(run_state, unhalted, shadow, nmi_masked, nmi_pending, sipi_vector, tsc, mode, cpl, bases);
    found
}

fn report(core: &mut Core<'_>, start: u64, unit: &Ending<'_>, found: &[String]) -> String {
    let mut text = format!(
        "lockstep: the unit at {start:#x} ended at {:#x} and differs, fault {:x?}\n",
        unit.cpu.rip, unit.fault
    );
    let mut bytes = [0; INSN_MAX * 48];
    if let Ok(gpa) = core.code_address(start)
        && let Some(frame) = core.space.slots.frame(gpa)
    {
        let offset = (gpa % guest_memory::PAGE_SIZE) as usize;
        let len = bytes.len().min(guest_memory::PAGE_SIZE as usize - offset);
        frame.read(offset, &mut bytes[..len]);
    }
    for insn in Decoder::with_ip(64, &bytes, start, OPTIONS).iter().take(48) {
        let at = (insn.ip() - start) as usize;
        let code: Vec<String> = bytes[at..at + insn.len()].iter().map(|byte| format!("{byte:02x}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:#x}  {:?}   [{}]", insn.ip(), insn.code(), code.join(" "));
        if !matches!(insn.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch) {
            break;
        }
    }
    text + &found.join("\n")
}

// Where there is no translator, there is nothing to compare.
#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::exec::program;
    use crate::probe::Tier;

    /// add rax, 1; mov [rbx], rax; inc ecx; jmp 0
    const CODE: &[u8] = &[0x48, 0x83, 0xc0, 1, 0x48, 0x89, 0x03, 0xff, 0xc1, 0xeb, 0];

    /// Runs the unit of `CODE`, with `change` made to its bytes after it was translated.
    fn run(change: (usize, u8)) -> (Option<String>, u64) {
        let mut found = (None, 0);
        program::with_probe_on(Tier::Jit, |probe| {
            let mut state = program::state();
            state.gpr[gpr::RBX] = program::DATA;
            probe.write(program::CODE, CODE);
            let mut lockstep = Lockstep::default();
            for (turn, (at, byte)) in [(0, CODE[0]), change].into_iter().enumerate() {
                // Not by way of the guest, so that nobody hears of it.
                probe.write(program::CODE + at as u64, &[byte]);
                let Some((core, jit, blocks)) = probe.parts(&state) else { return };
                lockstep.step(core, jit, blocks).expect("code in RAM");
                assert_eq!(lockstep.compared, turn as u64 + 1);
            }
            found = (lockstep.take_divergence(), lockstep.insns);
        });
        found
    }

    #[test]
    fn tiers_that_agree_are_not_told_of() {
        assert_eq!(run((0, CODE[0])), (None, 8));
    }

    #[test]
    fn a_register_that_differs_is_told() {
        let text = run((8, 0xc2)).0.unwrap();
        assert!(text.contains("registers") && !text.contains("memory"), "{text}");
    }

    #[test]
    fn memory_that_differs_is_told() {
        let text = run((6, 0x0b)).0.unwrap();
        assert!(text.contains("memory at") && !text.contains("registers"), "{text}");
    }
}
