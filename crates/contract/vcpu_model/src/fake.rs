//! A scripted engine, for tests of the machine and the runtime without any virtualization.
//!
//! Each vCPU carries out a list of [`Step`]s instead of guest code and then sleeps until it is kicked.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use arch_model::x86_64::cpuid::Cpuid;
use arch_model::x86_64::layout::IOAPIC_PINS;
use arch_model::x86_64::{
    CpuModel, CpuState, ExtendedState, IoApicPin, IoApicState, LapicState, PlatformState, RunState,
};
use device_model::fake::{FakeIrqLine, FakeMsi, NoDoorbells};
use device_model::{Doorbells, IrqLine, MsiController, lock};
use guest_memory::{DirtyPages, GuestMemory};

use crate::{
    Engine, EngineError, ExitCounters, ExitKind, GuestIo, Halt, Kick, Vcpu, VcpuIndex, Vm, VmConfig,
};

/// What a scripted vCPU does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `in` of this many bytes; what was read goes to [`FakeEngine::reads`].
    PortRead(u16, usize),
    /// `out`.
    PortWrite(u16, Vec<u8>),
    /// A load of this many bytes outside RAM; what was read goes to [`FakeEngine::reads`].
    MmioRead(u64, usize),
    /// A store outside RAM.
    MmioWrite(u64, Vec<u8>),
    /// Leaves guest code for this reason.
    Halt(Halt),
    /// The engine cannot go on.
    Fail(String),
}

/// The engine. Scripts are given for each vCPU; a vCPU without one sleeps. A script runs once: after a reset
/// the vCPU of the new VM goes on with the rest.
#[derive(Clone, Default)]
pub struct FakeEngine {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    scripts: Mutex<Vec<VecDeque<Step>>>,
    reads: Mutex<Vec<Vec<u8>>>,
    kicks: Mutex<Vec<Arc<FakeKick>>>,
    lines: Mutex<Vec<(u32, Arc<FakeIrqLine>)>>,
    msi: FakeMsi,
    vms: Mutex<u32>,
    /// vCPUs that are executing.
    running: Mutex<u32>,
    refuses_to_settle: Mutex<bool>,
    /// vCPUs that were to tell their guest that it stood still, one after another.
    told: Mutex<Vec<VcpuIndex>>,
}

impl FakeEngine {
    /// An engine whose vCPU `n` carries out `scripts[n]`.
    pub fn new(scripts: Vec<Vec<Step>>) -> FakeEngine {
        let engine = FakeEngine::default();
        *lock(&engine.shared.scripts) = scripts.into_iter().map(VecDeque::from).collect();
        engine
    }

    /// Has vCPU `index` carry out these steps besides, at once where it runs.
    pub fn then(&self, index: usize, steps: impl IntoIterator<Item = Step>) {
        {
            let scripts = &mut *lock(&self.shared.scripts);
            scripts.resize(scripts.len().max(index + 1), VecDeque::new());
            scripts[index].extend(steps);
        }
        lock(&self.shared.kicks).iter().for_each(|kick| kick.kick());
    }

    /// What the scripts have read so far.
    pub fn reads(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.reads).clone()
    }

    /// The line of input `gsi`, if the machine wired it.
    pub fn line(&self, gsi: u32) -> Option<Arc<FakeIrqLine>> {
        lock(&self.shared.lines)
            .iter()
            .rev()
            .find(|(number, _)| *number == gsi)
            .map(|(_, line)| Arc::clone(line))
    }

    /// How many VMs were made.
    pub fn vms(&self) -> u32 {
        *lock(&self.shared.vms)
    }

    /// How many vCPUs are executing now.
    pub fn running(&self) -> u32 {
        *lock(&self.shared.running)
    }

    /// vCPUs that were to tell their guest that it stood still, since the last call.
    pub fn take_told(&self) -> Vec<VcpuIndex> {
        std::mem::take(&mut *lock(&self.shared.told))
    }

    /// From now on no vCPU can be brought to a state that can be saved, or each again.
    pub fn refuse_to_settle(&self, refuses: bool) {
        *lock(&self.shared.refuses_to_settle) = refuses;
    }
}

impl Engine for FakeEngine {
    type Vm = FakeVm;

    fn name(&self) -> &'static str {
        "fake"
    }

    fn offered_cpuid(&self) -> Result<Cpuid, EngineError> {
        Ok(Cpuid::new())
    }

    fn default_cpu_model(&self) -> Result<CpuModel, EngineError> {
        Ok(CpuModel::V1)
    }

    fn guest_cpuid(&self, _model: Option<CpuModel>) -> Result<Cpuid, EngineError> {
        self.offered_cpuid()
    }

    fn create_vm(&self, config: &VmConfig, _memory: &GuestMemory) -> Result<FakeVm, EngineError> {
        *lock(&self.shared.vms) += 1;
        let scripts = &mut *lock(&self.shared.scripts);
        scripts.resize(scripts.len().max(config.vcpus as usize), VecDeque::new());
        let pins = vec![IoApicPin(0); IOAPIC_PINS as usize];
        let ioapic = IoApicState { pins, ..IoApicState::default() };
        let platform = Mutex::new(PlatformState { ioapic, ..PlatformState::default() });
        Ok(FakeVm { shared: Arc::clone(&self.shared), platform })
    }
}

/// A VM of the [`FakeEngine`].
pub struct FakeVm {
    shared: Arc<Shared>,
    platform: Mutex<PlatformState>,
}

impl Vm for FakeVm {
    type Vcpu = FakeVcpu;

    fn create_vcpu(&self, index: VcpuIndex) -> Result<FakeVcpu, EngineError> {
        let run_state = if index.0 == 0 { RunState::Running } else { RunState::Uninitialized };
        let state = CpuState {
            extended: ExtendedState { xsave: vec![0; 576], xcr0: 1 },
            lapic: LapicState { registers: vec![0; 64] },
            run_state,
            ..CpuState::default()
        };
        let kick = Arc::<FakeKick>::default();
        lock(&self.shared.kicks).push(Arc::clone(&kick));
        Ok(FakeVcpu { shared: Arc::clone(&self.shared), index, state, kick, counters: Arc::default() })
    }

    fn irq_line(&self, gsi: u32) -> Arc<dyn IrqLine> {
        let line = Arc::new(FakeIrqLine::default());
        lock(&self.shared.lines).push((gsi, Arc::clone(&line)));
        line
    }

    fn msi(&self) -> Arc<dyn MsiController> {
        Arc::new(self.shared.msi.clone())
    }

    fn doorbells(&self) -> Arc<dyn Doorbells> {
        Arc::new(NoDoorbells)
    }

    fn follow_memory(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn start_dirty_log(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn take_dirty_log(&self) -> Result<DirtyPages, EngineError> {
        Ok(DirtyPages::default())
    }

    fn stop_dirty_log(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn platform_state(&self) -> Result<PlatformState, EngineError> {
        Ok(lock(&self.platform).clone())
    }

    fn set_platform_state(&self, state: &PlatformState) -> Result<(), EngineError> {
        *lock(&self.platform) = state.clone();
        Ok(())
    }
}

/// A vCPU of the [`FakeEngine`].
pub struct FakeVcpu {
    shared: Arc<Shared>,
    index: VcpuIndex,
    state: CpuState,
    kick: Arc<FakeKick>,
    counters: Arc<ExitCounters>,
}

#[derive(Default)]
struct FakeKick {
    pending: Mutex<bool>,
    changed: Condvar,
}

impl Kick for FakeKick {
    fn kick(&self) {
        *lock(&self.pending) = true;
        self.changed.notify_all();
    }
}

impl FakeKick {
    fn take(&self) -> bool {
        std::mem::take(&mut *lock(&self.pending))
    }

    fn wait(&self) {
        let pending = lock(&self.pending);
        let mut pending =
            self.changed.wait_while(pending, |pending| !*pending).unwrap_or_else(|e| e.into_inner());
        *pending = false;
    }
}

impl FakeVcpu {
    fn execute(&self, io: &impl GuestIo) -> Result<Halt, EngineError> {
        loop {
            if self.kick.take() {
                return Ok(Halt::Kicked);
            }
            let next =
                lock(&self.shared.scripts).get_mut(self.index.0 as usize).and_then(VecDeque::pop_front);
            let Some(step) = next else {
                self.kick.wait();
                return Ok(Halt::Kicked);
            };
            if let Some(halt) = self.step(step, io)? {
                return Ok(halt);
            }
        }
    }

    fn step(&self, step: Step, io: &impl GuestIo) -> Result<Option<Halt>, EngineError> {
        let read = |len: usize, read: &dyn Fn(&mut [u8])| {
            let mut data = vec![0; len];
            read(&mut data);
            lock(&self.shared.reads).push(data);
        };
        match step {
            Step::PortRead(port, len) => {
                self.counters.count(ExitKind::PortRead);
                read(len, &|data| io.port_read(port, data));
            }
            Step::PortWrite(port, data) => {
                self.counters.count(ExitKind::PortWrite);
                io.port_write(port, &data);
            }
            Step::MmioRead(address, len) => {
                self.counters.count(ExitKind::MmioRead);
                read(len, &|data| io.mmio_read(address, data));
            }
            Step::MmioWrite(address, data) => {
                self.counters.count(ExitKind::MmioWrite);
                io.mmio_write(address, &data);
            }
            Step::Halt(halt) => return Ok(Some(halt)),
            Step::Fail(reason) => return Err(EngineError::Stuck { index: self.index, rip: 0, reason }),
        }
        Ok(None)
    }
}

impl Vcpu for FakeVcpu {
    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::clone(&self.kick) as Arc<dyn Kick>
    }

    fn run(&mut self, io: &impl GuestIo) -> Result<Halt, EngineError> {
        *lock(&self.shared.running) += 1;
        let reason = self.execute(io);
        *lock(&self.shared.running) -= 1;
        reason
    }

    fn tell_of_standstill(&mut self) -> Result<(), EngineError> {
        lock(&self.shared.told).push(self.index);
        Ok(())
    }

    fn settle(&mut self, _io: &impl GuestIo) -> Result<(), EngineError> {
        if *lock(&self.shared.refuses_to_settle) {
            let reason = "it was told not to settle".to_owned();
            return Err(EngineError::Stuck { index: self.index, rip: 0, reason });
        }
        Ok(())
    }

    fn state(&self) -> Result<CpuState, EngineError> {
        Ok(self.state.clone())
    }

    fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError> {
        self.state = state.clone();
        Ok(())
    }

    fn counters(&self) -> Arc<ExitCounters> {
        Arc::clone(&self.counters)
    }
}
