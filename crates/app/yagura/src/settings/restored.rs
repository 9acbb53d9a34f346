//! A VM that goes on from a snapshot: what a person may say of it, and what is settled.

use vm_spec::{
    BootSpec, ConsoleSpec, CpuCount, DiskSpec, KernelSpec, MemorySize, NetSpec, OnPanic, OnReset, VmName,
    VmSpec,
};
use yagura_vmm::EngineChoice;

use super::values::Switch;
use super::{GivenSettings, Request, SettingsError, values};

/// What a snapshot says of its machine.
#[derive(Debug)]
pub struct RestoredVm {
    /// What it is called now.
    pub name: VmName,
    /// What it starts with after a reset.
    pub kernel: KernelSpec,
    /// Its vCPUs.
    pub cpus: CpuCount,
    /// Its RAM.
    pub memory: MemorySize,
    /// Its disks, where they are now.
    pub disks: Vec<DiskSpec>,
    /// Its network cards, where they were.
    pub nets: Vec<NetSpec>,
    /// Whether it has a virtio console.
    pub virtio_console: bool,
    /// Whether its pages were merged with others'.
    pub merge: bool,
    /// What a reset did.
    pub on_reset: OnReset,
    /// What a panic did.
    pub on_panic: OnPanic,
}

impl GivenSettings {
    /// Those of a VM that nobody sits in front of.
    pub fn of_clone(engine: Option<EngineChoice>, console: ConsoleSpec) -> GivenSettings {
        GivenSettings { engine, console: Some(console), ..GivenSettings::default() }
    }

    /// The name that was given.
    pub fn name(&self) -> Option<&VmName> {
        self.name.as_ref()
    }

    /// Whether anything is said of what a snapshot has settled.
    ///
    /// # Errors
    /// Something is.
    pub fn check_restored(&self) -> Result<(), SettingsError> {
        let said = [
            (self.boot_protocol.is_some(), "boot-protocol"),
            (!self.initrds.is_empty(), "initrd"),
            (!self.modules.is_empty(), "module"),
            (self.cmdline.is_some(), "cmdline"),
            (self.cpus.is_some(), "cpus"),
            (self.memory.is_some(), "memory"),
            (!self.disks.is_empty(), "disk"),
            (self.cpu_model.is_some(), "cpu-model"),
            (self.debug_exit.is_some(), "debug-exit"),
        ];
        match said.into_iter().find(|(is_said, _)| *is_said) {
            Some((_, what)) => Err(SettingsError::Settled(what)),
            None => Ok(()),
        }
    }

    /// The VM of a snapshot, where nothing is said of what that has settled.
    ///
    /// # Errors
    /// Settings do not fit together.
    pub fn restored_request(self, vm: RestoredVm) -> Result<Request, SettingsError> {
        let nets = if self.nets.is_empty() { vm.nets } else { values::cards(self.nets)? };
        let spec = VmSpec {
            cpus: vm.cpus,
            memory: vm.memory,
            merge: self.merge.map_or(vm.merge, |merge| merge == Switch::On),
            disks: vm.disks,
            nets,
            console: self.console.unwrap_or(ConsoleSpec::Stdio),
            virtio_console: self.virtio_console.or(vm.virtio_console.then_some(ConsoleSpec::None)),
            on_reset: self.on_reset.unwrap_or(vm.on_reset),
            on_panic: self.on_panic.unwrap_or(vm.on_panic),
            ..VmSpec::new(vm.name, BootSpec::Kernel(vm.kernel))
        };
        Ok(Request {
            spec: spec.validate()?,
            another_name_will_do: false,
            engine: self.engine.unwrap_or(EngineChoice::Auto),
            jit: self.jit.unwrap_or_default(),
            control: self.control,
        })
    }
}
