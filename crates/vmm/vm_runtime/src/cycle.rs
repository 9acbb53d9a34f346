//! One power cycle: from a built machine with its vCPUs to its end.

use std::sync::Arc;

use arch_model::x86_64::cpuid::Cpuid;
use machine::{Backends, Machine};
use vcpu_model::{CodeFigure, Engine, EngineError, ExitKind, Vcpu, VcpuIndex, Vm, VmConfig};
use vm_spec::VmSpec;

use crate::driver::RunError;
use crate::inbox::Outbox;
use crate::power::PowerLatch;
use crate::vcpu_thread::VcpuThread;

/// A machine and the threads that run it. Dropping it stops them and tears the machine down.
pub(crate) struct PowerCycle<V> {
    // Dropped in this order: first whoever executes, then what it executes on.
    vcpus: Vec<VcpuThread>,
    pub(crate) machine: Machine,
    power: Arc<PowerLatch>,
    _vm: V,
}

impl<V: Vm> PowerCycle<V> {
    /// Builds the machine and starts its vCPUs, which answer `cpuid`, paused.
    pub(crate) fn prepare<E: Engine<Vm = V>>(
        engine: &E,
        (spec, cpuid): (&VmSpec, &Cpuid),
        backends: &Backends,
        outbox: &Outbox,
    ) -> Result<PowerCycle<V>, RunError> {
        let count = spec.cpus.get();
        let memory = Machine::allocate_ram(spec)?;
        let vm = engine.create_vm(&VmConfig { vcpus: count, cpuid: cpuid.clone() }, &memory)?;
        let power = Arc::new(PowerLatch::new(outbox.clone(), spec.on_panic));
        let machine = Machine::build(spec, &vm, &memory, backends, power.clone(), power.clone())?;
        let mut vcpus = Vec::with_capacity(count as usize);
        for index in (0..count).map(VcpuIndex) {
            let mut vcpu = vm.create_vcpu(index)?;
            if index == VcpuIndex(0) {
                let mut state = vcpu.state()?;
                machine.enter_kernel(&mut state);
                vcpu.set_state(&state)?;
            }
            let bus = Arc::clone(machine.bus());
            let thread = VcpuThread::start(index, vcpu, bus, Arc::clone(&power), outbox.clone());
            vcpus.push(thread.map_err(|source| RunError::Thread { index, source })?);
        }
        power.set_vcpus(vcpus.iter().map(VcpuThread::kicker).collect());
        Ok(PowerCycle { vcpus, machine, power, _vm: vm })
    }

    /// Lets devices and vCPUs go.
    pub(crate) fn resume(&self) {
        self.machine.resume();
        self.vcpus.iter().for_each(VcpuThread::run);
    }

    /// Stops vCPUs, then devices. When it returns, nothing touches guest memory.
    ///
    /// # Errors
    /// A vCPU cannot be brought to a state that can be saved. Then all go on.
    pub(crate) fn pause(&self) -> Result<(), EngineError> {
        let answers: Vec<_> = self.vcpus.iter().map(VcpuThread::begin_pause).collect();
        // A thread that is gone has told why already.
        let settled = answers.into_iter().map(|answer| answer.recv().unwrap_or(Ok(())));
        match settled.collect::<Vec<_>>().into_iter().collect::<Result<(), _>>() {
            Ok(()) => self.machine.pause(),
            Err(error) => {
                self.vcpus.iter().for_each(VcpuThread::run);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Holds vCPUs no longer that were held since the guest told of its panic: they go on when they are resumed.
    pub(crate) fn release(&self) {
        self.power.release();
    }

    /// Exits of all vCPUs by kind.
    pub(crate) fn exits(&self) -> Vec<(&'static str, u64)> {
        let total = |kind| self.vcpus.iter().map(|vcpu| vcpu.counters().get(kind)).sum();
        ExitKind::ALL.into_iter().map(|kind| (kind.name(), total(kind))).collect()
    }

    /// What is kept of guest code, by figure, of all vCPUs.
    pub(crate) fn code(&self) -> Vec<(&'static str, u64)> {
        let total = |figure| self.vcpus.iter().map(|vcpu| vcpu.counters().code(figure)).sum();
        CodeFigure::ALL.into_iter().map(|figure| (figure.name(), total(figure))).collect()
    }
}
