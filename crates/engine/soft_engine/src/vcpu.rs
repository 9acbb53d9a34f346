//! One vCPU: the run loop.
//!
//! ```text
//!          ┌──────────► Running ──HLT──► Halted ─────event────────┐
//!          │               ▲ └────────────────────────────────────┘
//!   start-up IPI           │ INIT (boot processor)
//!          │               │
//!     InitReceived ◄──INIT─┴── any state
//! ```
//!
//! An event that is delivered ends HLT: an interrupt, an NMI, or the debug trap of HLT itself.
//!
//! At each block's edge the loop looks at what others posted and at what the last instructions changed; then it
//! executes the block at RIP. Exceptions are delivered between instructions.

use std::sync::Arc;

use arch_model::x86_64::cpuid::Cpuid;
use arch_model::x86_64::{CpuState, RunState};
use vcpu_model::{EngineError, ExitCounters, ExitKind, GuestIo, Halt, Kick, Vcpu, VcpuIndex};

use crate::cpu::{Core, Cpu, Surroundings, gpr, shadow, vector};
use crate::decode::block::BlockCache;
use crate::features::Features;
use crate::jit::{Jit, Ran};
use crate::lockstep::Lockstep;
use crate::platform::{Lapic, Request};
use crate::shared::Shared;
use crate::tiers::Tiers;

/// Blocks between two looks at the clock for timers.
const BLOCKS_PER_CLOCK: u32 = 256;

/// A vCPU of the soft engine.
pub struct SoftVcpu {
    shared: Arc<Shared>,
    index: VcpuIndex,
    cpuid: Arc<Cpuid>,
    cpu: Cpu,
    lapic: Lapic,
    blocks: BlockCache,
    /// None: the interpreter does all.
    jit: Option<Jit>,
    /// Set: translated code is compared with the interpreter.
    lockstep: Option<Lockstep>,
    counters: Arc<ExitCounters>,
    /// Generation of the memory that code was made from.
    generation: u64,
    /// The state was set: what kvmclock tells the guest about its TSC no longer holds.
    is_restored: bool,
    /// The guest is to be told that it stood still.
    stood_still: bool,
}

impl SoftVcpu {
    pub(crate) fn new(shared: Arc<Shared>, index: VcpuIndex, cpuid: Cpuid, features: Features) -> SoftVcpu {
        let number = index.0 as usize;
        let lapic = Lapic::new(Arc::clone(&shared.platform), number);
        let cpu = Cpu::power_on(number, shared.cpuid_words.leaf1_eax);
        let counters = Arc::default();
        let vcpus = shared.vcpus();
        let Tiers { cold_runs, code_bytes, lockstep, .. } = shared.tiers;
        let jit = cold_runs.and_then(|cold_runs| Jit::new(features.clone(), vcpus, cold_runs, code_bytes));
        let lockstep = lockstep.then(Lockstep::default);
        SoftVcpu {
            shared,
            index,
            cpuid: Arc::new(cpuid),
            cpu,
            lapic,
            jit,
            lockstep,
            blocks: BlockCache::new(features),
            counters,
            generation: 0,
            is_restored: false,
            stood_still: false,
        }
    }

    /// Runs `work` with a core that has this vCPU's state and sees guest memory as it is now, and takes the state back.
    fn with_core<R>(&mut self, io: &dyn GuestIo, work: impl FnOnce(&mut Core<'_>, &mut Code<'_>) -> R) -> R {
        let SoftVcpu { shared, index, cpuid, cpu, lapic, counters, .. } = self;
        let index = index.0 as usize;
        let space = shared.enter_space(index);
        let mut code =
            Code { blocks: &mut self.blocks, jit: self.jit.as_mut(), lockstep: self.lockstep.as_mut() };
        if std::mem::replace(&mut self.generation, space.slots.generation()) != space.slots.generation() {
            code.clear();
        }
        let result = {
            let around = Surroundings { index, shared, space: &space, cpuid, io, counters };
            let mut core = Core::new(cpu.clone(), lapic, around);
            let result = work(&mut core, &mut code);
            *cpu = core.cpu;
            result
        };
        drop(space);
        shared.leave_space(index);
        result
    }
}

/// What was made of the guest's code.
struct Code<'c> {
    blocks: &'c mut BlockCache,
    jit: Option<&'c mut Jit>,
    lockstep: Option<&'c mut Lockstep>,
}

impl Code<'_> {
    fn clear(&mut self) {
        self.blocks.clear();
        if let Some(jit) = &mut self.jit {
            jit.clear();
        }
    }

    fn invalidate(&mut self, gpa: u64, grains: u64) {
        self.blocks.invalidate(gpa, grains);
        if let Some(jit) = &mut self.jit {
            jit.invalidate(gpa, grains);
        }
    }
}

/// Why the run loop stops.
enum Stop {
    Halt(Halt),
    /// It goes on in other memory.
    MemoryChanged,
}

/// Posts a kick to a vCPU.
struct SoftKick {
    shared: Arc<Shared>,
    index: usize,
}

impl Kick for SoftKick {
    fn kick(&self) {
        self.shared.platform.mailbox(self.index).post(Request::KICK);
    }
}

impl Vcpu for SoftVcpu {
    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::new(SoftKick { shared: Arc::clone(&self.shared), index: self.index.0 as usize })
    }

    fn run(&mut self, io: &impl GuestIo) -> Result<Halt, EngineError> {
        let number = self.index.0 as usize;
        self.shared.platform.clock().resume();
        let halt = loop {
            let is_restored = std::mem::take(&mut self.is_restored);
            let stood_still = std::mem::take(&mut self.stood_still);
            let stop = self.with_core(io, |core, code| {
                if is_restored || stood_still {
                    core.publish_system_time(stood_still);
                }
                if is_restored {
                    core.clear_preempted();
                }
                core.shared.begin_executing(number);
                let stop = run(core, code);
                core.shared.end_executing(number);
                core.shared.alarm.set(number, None);
                stop
            });
            match stop {
                Stop::Halt(halt) => break halt,
                Stop::MemoryChanged => {}
            }
        };
        if let Some(source) = self.shared.alarm.take_failure() {
            return Err(EngineError::Operation {
                operation: "starting the thread for the guest's timers",
                source,
            });
        }
        if let Some(jit) = &self.jit {
            let (used_bytes, drops) = jit.usage();
            tracing::debug!(vcpu = number, used_bytes, drops, "code cache");
        }
        if let Some(lockstep) = &mut self.lockstep {
            tracing::warn!("{}", lockstep.summary());
            if let Some(reason) = lockstep.take_divergence() {
                return Err(EngineError::Stuck { index: self.index, rip: self.cpu.rip, reason });
            }
        }
        Ok(halt)
    }

    fn tell_of_standstill(&mut self) -> Result<(), EngineError> {
        self.stood_still = true;
        Ok(())
    }

    fn settle(&mut self, io: &impl GuestIo) -> Result<(), EngineError> {
        // Accesses to devices are carried out in mid-instruction: there is never one half-way. But what others have
        // posted since the kick (NMI, INIT, start-up) belongs to the state. A second kick finds the vCPU stopped.
        self.with_core(io, |core, code| {
            let _stopped_already = take_requests(core);
            drop_stale_code(core, code);
        });
        Ok(())
    }

    fn state(&self) -> Result<CpuState, EngineError> {
        // What counts from the clock is to be saved as of one moment.
        self.shared.platform.clock().hold();
        Ok(crate::cpu::state::save(&self.cpu, &self.lapic, &self.shared))
    }

    fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError> {
        crate::cpu::state::restore(&mut self.cpu, &mut self.lapic, &self.shared, state);
        Code { blocks: &mut self.blocks, jit: self.jit.as_mut(), lockstep: None }.clear();
        self.is_restored = true;
        Ok(())
    }

    fn counters(&self) -> Arc<ExitCounters> {
        Arc::clone(&self.counters)
    }
}

/// Runs until there is a reason to stop.
fn run(core: &mut Core<'_>, code: &mut Code<'_>) -> Stop {
    if let Some(jit) = &mut code.jit {
        jit.begin(core);
    }
    let mut until_clock = BLOCKS_PER_CLOCK;
    loop {
        until_clock -= 1;
        if until_clock == 0 || core.attention || core.has_requests() {
            until_clock = BLOCKS_PER_CLOCK;
            core.shared.turn.pass();
            if let Some(stop) = attend(core, code) {
                return stop;
            }
        }
        execute(core, code);
    }
}

/// Executes the block at RIP, or one instruction where each has to be looked at.
#[inline]
fn execute(core: &mut Core<'_>, code: &mut Code<'_>) {
    if core.is_stepping() || core.shadow != 0 {
        return execute_one(core, code);
    }
    if let Some(jit) = &mut code.jit {
        if core.is_alarm_stale() {
            core.set_alarm();
        }
        let ran = match &mut code.lockstep {
            None => jit.run(core),
            Some(lockstep) => lockstep.step(core, jit, code.blocks),
        };
        match ran {
            Ok(Ran::Cold) => {}
            Ok(Ran::Next) => return,
            Ok(Ran::Raised) | Err(_) => return core.deliver_fault(),
        }
    }
    let Ok(block) = code.blocks.at_rip(core) else { return core.deliver_fault() };
    for insn in block {
        core.cpu.gpr[gpr::NEXT_RIP] = core.cpu.rip.wrapping_add(insn.len.into());
        if (insn.run)(core, insn).is_err() {
            return core.deliver_fault();
        }
        core.cpu.rip = core.cpu.gpr[gpr::NEXT_RIP];
        if core.attention {
            return;
        }
    }
}

/// Executes one instruction, with breakpoints, single step, and the end of an interrupt shadow.
#[cold]
fn execute_one(core: &mut Core<'_>, code: &mut Code<'_>) {
    let before = core.begin_alone();
    let done = core.fetch_address().and_then(|address| {
        core.check_instruction_breakpoints(address)?;
        // In the shadow of STI, which kernels execute all the time, the block that is there will do.
        let insn = if before.stepping { code.blocks.one_at_rip(core)? } else { code.blocks.at_rip(core)?[0] };
        core.cpu.gpr[gpr::NEXT_RIP] = core.cpu.rip.wrapping_add(insn.len.into());
        (insn.run)(core, &insn)?;
        let repeats = insn.is_repeated_string() && core.next_rip() == core.rip;
        core.end_alone(before, repeats)
    });
    if done.is_err() {
        core.deliver_fault();
    }
}

/// Looks at requests, timers and interrupts; sleeps while the vCPU is halted.
fn attend(core: &mut Core<'_>, code: &mut Code<'_>) -> Option<Stop> {
    loop {
        core.attention = false;
        if let Some(halt) = core.dead {
            return Some(Stop::Halt(halt));
        }
        let stop = take_requests(core);
        // Before it stops, too: what was told of code is forgotten with the core.
        drop_stale_code(core, code);
        if stop.is_some() {
            return stop;
        }
        core.lapic.poll_errors();
        core.lapic.poll_timer();
        deliver_interrupts(core);
        if core.run_state == RunState::Halted && std::mem::take(&mut core.cpu.unhalted) {
            core.run_state = RunState::Running;
        }
        match core.run_state {
            RunState::Running if core.dead.is_none() => return None,
            RunState::Running => {}
            _ => sleep(core),
        }
    }
}

fn drop_stale_code(core: &mut Core<'_>, code: &mut Code<'_>) {
    if std::mem::take(&mut core.all_code_is_stale) {
        code.clear();
    }
    for (gpa, grains) in std::mem::take(&mut core.stale_code) {
        code.invalidate(gpa, grains);
    }
}

/// Does what others asked for; a kick is a reason to stop.
fn take_requests(core: &mut Core<'_>) -> Option<Stop> {
    let requests = core.shared.platform.mailbox(core.index).take(Request::ALL);
    if requests == Request::default() {
        return None;
    }
    if requests.has(Request::STAND_STILL) {
        core.shared.exclusive.stand_still(core.index);
    }
    if requests.has(Request::INVALIDATE_CODE) {
        core.take_notices();
    }
    if requests.has(Request::PROTECT) {
        let asked = core.shared.protection_asked(core.index);
        core.translations.protect_all();
        core.shared.protected(core.index, asked);
    }
    if requests.has(Request::FLUSH_TLB) {
        core.translations.flush();
    }
    if requests.has(Request::INIT) {
        let signature = core.shared.cpuid_words.leaf1_eax;
        core.init(signature);
    }
    if requests.has(Request::SIPI) {
        let vector = core.shared.platform.mailbox(core.index).sipi_vector();
        core.start_up(vector);
    }
    if requests.has(Request::NMI) {
        core.cpu.nmi_pending = true;
    }
    if requests.has(Request::UNHALT) {
        core.cpu.unhalted = true;
    }
    if requests.has(Request::KICK) {
        core.counters().count(ExitKind::Interrupted);
        // What else was asked for stays noted in the state.
        return Some(Stop::Halt(Halt::Kicked));
    }
    requests.has(Request::CHANGE_MEMORY).then_some(Stop::MemoryChanged)
}

fn deliver_interrupts(core: &mut Core<'_>) {
    let can_take = matches!(core.run_state, RunState::Running | RunState::Halted);
    if !can_take || core.shadow & shadow::MOV_SS != 0 {
        return;
    }
    if core.nmi_pending && !core.nmi_masked && core.shadow == 0 {
        core.cpu.nmi_pending = false;
        core.cpu.nmi_masked = true;
        core.interrupt(vector::NMI);
    } else if core.interrupts_enabled()
        && let Some(number) = core.lapic.accept()
    {
        core.interrupt(number);
    }
}

/// Sleeps until a request arrives or the timer is due.
fn sleep(core: &mut Core<'_>) {
    core.shared.end_executing(core.index);
    let mailbox = core.shared.platform.mailbox(core.index);
    match core.run_state {
        RunState::Halted if core.interrupts_enabled() && core.lapic.has_work() => {}
        RunState::Halted => core.lapic.sleep(),
        // Only INIT and a start-up IPI count.
        _ => mailbox.sleep_until(None, core.shared.platform.clock()),
    }
    core.shared.begin_executing(core.index);
}
