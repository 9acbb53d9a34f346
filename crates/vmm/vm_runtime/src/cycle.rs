//! One power cycle: from a machine that is put together, with its vCPUs, to its end.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use guest_memory::{DirtyPages, GuestMemory};
use machine::{Backends, BuildError, GenerationId, Machine, Sinks, boot};
use vcpu_model::{CodeFigure, Engine, EngineError, ExitKind, Vcpu, VcpuIndex, Vm, VmConfig};
use vm_spec::blueprint::PciDevice;
use vm_spec::{Blueprint, VmSpec};
use vm_state::VmState;

use crate::error::{RunError, SaveError};
use crate::listener::Listener;
use crate::power::PowerLatch;
use crate::vcpu_thread::VcpuThread;

/// How a machine comes to run.
pub enum PowerOn<'s> {
    /// As after a press of the power button: the machine of this blueprint, in this life, with fresh RAM into which is
    /// loaded what it starts with.
    Cold(&'s Arc<Blueprint>, &'s GenerationId),
    /// A machine that goes on where it was saved, as if nothing had been between: in this state, which was checked, and
    /// with the RAM that belongs to it.
    State(&'s VmState, GuestMemory),
    /// A machine that goes on from a snapshot, from which others may have gone on: likewise, but its clocks show what they
    /// would have come to by now, and its guest is told that this is another life.
    Snapshot(&'s VmState, GuestMemory, &'s GenerationId),
}

/// [`PowerOn`] without RAM.
enum Origin<'s> {
    Kernel(&'s GenerationId),
    State(&'s VmState),
    Snapshot(&'s VmState, &'s GenerationId),
}

/// A machine and the threads that run it. Dropping it stops them and tears the machine down.
pub struct PowerCycle<V> {
    // Dropped in this order: first whoever executes, then what it executes on.
    vcpus: Vec<VcpuThread>,
    pub(crate) machine: Machine,
    power: Arc<PowerLatch>,
    vm: V,
    blueprint: Arc<Blueprint>,
}

impl<V: Vm> PowerCycle<V> {
    /// Puts a machine together and starts the threads of its vCPUs, paused. `spec` says what is done about it from
    /// outside; `listener` is told what happens.
    pub fn power_on<E: Engine<Vm = V>>(
        engine: &E,
        spec: &VmSpec,
        backends: &Backends,
        how: PowerOn<'_>,
        listener: &Arc<dyn Listener>,
    ) -> Result<PowerCycle<V>, RunError> {
        let (blueprint, memory, origin) = match how {
            PowerOn::Cold(blueprint, id) => {
                let memory = Machine::allocate_ram(&blueprint.memory, spec.merge)?;
                (Arc::clone(blueprint), memory, Origin::Kernel(id))
            }
            PowerOn::State(state, memory) => {
                (Arc::new(state.blueprint.clone()), memory, Origin::State(state))
            }
            PowerOn::Snapshot(state, memory, id) => {
                (Arc::new(state.blueprint.clone()), memory, Origin::Snapshot(state, id))
            }
        };
        let config = VmConfig { vcpus: blueprint.cpus.get(), cpuid: blueprint.cpuid.clone() };
        let vm = engine.create_vm(&config, &memory)?;
        let power = Arc::new(PowerLatch::new(Arc::clone(listener), spec.on_panic));
        let sinks = Sinks::all_to(Arc::clone(&power));
        let machine = Machine::assemble(&blueprint, &vm, &memory, backends, sinks)?;
        let indexes = (0..config.vcpus).map(VcpuIndex);
        let mut vcpus = indexes.clone().map(|index| vm.create_vcpu(index)).collect::<Result<Vec<_>, _>>()?;
        match origin {
            Origin::Kernel(id) => {
                begin(&mut vcpus, &blueprint, &boot::load(&blueprint, &memory.slots(), backends)?)?;
                machine.begin_life(id)?;
            }
            Origin::State(state) => go_on(&mut vcpus, &vm, &machine, state)?,
            Origin::Snapshot(state, id) => {
                let mut state = state.clone();
                state.let_pass(state.age_ns(now_ns()));
                go_on(&mut vcpus, &vm, &machine, &state)?;
                machine.begin_other_life(id)?;
            }
        }
        let threads = indexes.zip(vcpus).map(|(index, vcpu)| {
            let bus = Arc::clone(machine.bus());
            let thread = VcpuThread::start(index, vcpu, bus, Arc::clone(&power), Arc::clone(listener));
            thread.map_err(|source| RunError::Thread { index, source })
        });
        let vcpus = threads.collect::<Result<Vec<_>, _>>()?;
        power.set_vcpus(vcpus.iter().map(VcpuThread::kicker).collect());
        Ok(PowerCycle { vcpus, machine, power, vm, blueprint })
    }

    /// Lets devices and vCPUs go.
    pub fn resume(&self) {
        self.machine.resume();
        self.vcpus.iter().for_each(VcpuThread::run);
    }

    /// Stops vCPUs, then devices. When it returns, nothing touches guest memory.
    ///
    /// # Errors
    /// A vCPU cannot be brought to a state that can be saved. Then all go on.
    pub fn pause(&self) -> Result<(), EngineError> {
        let answers: Vec<_> = self.vcpus.iter().map(VcpuThread::begin_pause).collect();
        // All are waited for. A thread that is gone has told why already.
        let settled = answers.into_iter().map(|answer| answer.recv().unwrap_or(Ok(())));
        let settled = settled.fold(Ok(()), Result::and);
        match &settled {
            Ok(()) => self.machine.pause(),
            Err(_) => self.vcpus.iter().for_each(VcpuThread::run),
        }
        settled
    }

    /// Puts a device into the running machine, which is that of `blueprint` then.
    ///
    /// # Errors
    /// As [`Machine::attach`].
    pub(crate) fn attach(
        &mut self,
        device: &PciDevice,
        backends: &Backends,
        blueprint: &Arc<Blueprint>,
    ) -> Result<(), BuildError> {
        self.machine.attach(device, backends)?;
        self.blueprint = Arc::clone(blueprint);
        Ok(())
    }

    /// A device was taken out: the machine is that of `blueprint` now.
    pub(crate) fn follow(&mut self, blueprint: &Arc<Blueprint>) {
        self.blueprint = Arc::clone(blueprint);
    }

    /// The state of a machine that is paused, but for its RAM. It can be resumed afterwards.
    pub fn save(&self) -> Result<VmState, SaveError> {
        let answers: Vec<_> = self.vcpus.iter().map(VcpuThread::begin_save).collect();
        let mut vcpus = Vec::with_capacity(answers.len());
        for (answer, index) in answers.into_iter().zip(0..) {
            vcpus.push(answer.recv().map_err(|_| SaveError::Vcpu(VcpuIndex(index)))??);
        }
        let (platform, devices) = (self.vm.platform_state()?, self.machine.save()?);
        Ok(VmState { blueprint: (*self.blueprint).clone(), devices, platform, vcpus })
    }

    /// The guest's RAM. It stands still while the machine is paused.
    pub fn memory(&self) -> &GuestMemory {
        self.machine.memory()
    }

    /// Records from now on what is written to the guest's RAM.
    pub(crate) fn start_dirty_log(&self) -> Result<(), EngineError> {
        self.vm.start_dirty_log()?;
        // Devices' writes are always recorded: what was before counts no more.
        let _before = self.memory().slots().take_device_dirty();
        Ok(())
    }

    /// Pages that vCPUs and devices wrote since the last call.
    pub(crate) fn take_dirty_log(&self) -> Result<DirtyPages, EngineError> {
        let mut dirty = self.vm.take_dirty_log()?;
        dirty.merge(&self.memory().slots().take_device_dirty());
        Ok(dirty)
    }

    pub(crate) fn stop_dirty_log(&self) -> Result<(), EngineError> {
        self.vm.stop_dirty_log()
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

/// vCPU 0 begins at `entry`, the others wait for it to start them.
fn begin(vcpus: &mut [impl Vcpu], blueprint: &Blueprint, entry: &boot::Entry) -> Result<(), EngineError> {
    for (index, vcpu) in vcpus.iter_mut().enumerate() {
        // The power-on state is right for all others.
        if index > 0 && blueprint.tsc_khz.is_none() {
            break;
        }
        let mut state = vcpu.state()?;
        state.tsc_khz = blueprint.tsc_khz.or(state.tsc_khz);
        if index == 0 {
            entry.apply(&mut state);
        }
        vcpu.set_state(&state)?;
    }
    Ok(())
}

/// Brings a machine that was just put together, and whose RAM is as it was, into `state`.
fn go_on<V: Vm>(vcpus: &mut [V::Vcpu], vm: &V, machine: &Machine, state: &VmState) -> Result<(), RunError> {
    machine.pause();
    // The clock before the vCPUs, whose timers count from it.
    vm.set_platform_state(&state.platform)?;
    machine.restore(&state.devices)?;
    for (vcpu, state) in vcpus.iter_mut().zip(&state.vcpus) {
        vcpu.set_state(state)?;
        vcpu.tell_of_standstill()?;
    }
    Ok(())
}

/// The host's time since 1970 in nanoseconds; zero where it has none that is right.
pub(crate) fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or_default()
}
