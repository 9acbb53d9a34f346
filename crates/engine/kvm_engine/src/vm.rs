//! One KVM virtual machine: memory, interrupt controllers, clock.

use std::sync::Arc;

use arch_model::x86_64::cpuid::{self, Cpuid};
use arch_model::x86_64::layout::{KVM_IDENTITY_MAP_ADDRESS, KVM_TSS_ADDRESS};
use arch_model::x86_64::{PlatformState, msr};
use device_model::{Doorbells, IrqLine, MsiController};
use guest_memory::{DirtyPages, GuestMemory};
use kvm_ioctls::{Kvm, VmFd};
use vcpu_model::{EngineError, VcpuIndex, Vm};

use crate::capabilities::Capabilities;
use crate::doorbells::KvmDoorbells;
use crate::failed;
use crate::interrupts::{KvmIrqLine, KvmMsi};
use crate::memory::Slots;
use crate::state;
use crate::vcpu::KvmVcpu;

/// A KVM virtual machine.
pub struct KvmVm {
    fd: Arc<VmFd>,
    slots: Slots,
    capabilities: Capabilities,
    msi: KvmMsi,
    cpuid: Cpuid,
    vcpus: u32,
    /// MSRs that are part of a vCPU's state: those of ours that this KVM has.
    saved_msrs: Arc<[u32]>,
}

impl KvmVm {
    pub(crate) fn create(
        kvm: &Kvm,
        capabilities: Capabilities,
        cpuid: Cpuid,
        vcpus: u32,
        memory: &GuestMemory,
    ) -> Result<KvmVm, EngineError> {
        let fd = Arc::new(create_fd(kvm)?);
        // Before the interrupt controllers: with those in place, KVM waits milliseconds for its readers each
        // time that memory changes.
        let slots = Slots::map(&fd, &capabilities, memory)?;
        fd.set_tss_address(KVM_TSS_ADDRESS as usize).map_err(failed("KVM_SET_TSS_ADDR"))?;
        if capabilities.identity_map_address {
            fd.set_identity_map_address(KVM_IDENTITY_MAP_ADDRESS)
                .map_err(failed("KVM_SET_IDENTITY_MAP_ADDR"))?;
        }
        fd.create_irq_chip().map_err(failed("KVM_CREATE_IRQCHIP"))?;
        host_sys::signals::install_interrupt_handler()
            .map_err(|source| EngineError::Operation { operation: "installing the kick signal", source })?;
        let supported = kvm.get_msr_index_list().map_err(failed("KVM_GET_MSR_INDEX_LIST"))?;
        let saved_msrs = msr::saved().filter(|index| supported.as_slice().contains(index)).collect();
        let msi = KvmMsi::new(Arc::clone(&fd), &capabilities);
        Ok(KvmVm { fd, slots, capabilities, msi, cpuid, vcpus, saved_msrs })
    }
}

/// `KVM_CREATE_VM` answers EINTR when a signal arrives while it works; then it is asked again.
fn create_fd(kvm: &Kvm) -> Result<VmFd, EngineError> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            result => return result.map_err(failed("KVM_CREATE_VM")),
        }
    }
}

impl Vm for KvmVm {
    type Vcpu = KvmVcpu;

    fn create_vcpu(&self, index: VcpuIndex) -> Result<KvmVcpu, EngineError> {
        let fd = self.fd.create_vcpu(index.0.into()).map_err(failed("KVM_CREATE_VCPU"))?;
        let mut cpuid = self.cpuid.clone();
        cpuid::set_topology(&mut cpuid, index.0, self.vcpus);
        fd.set_cpuid2(&crate::cpuid::to_kvm(&cpuid)?).map_err(failed("KVM_SET_CPUID2"))?;
        // KVM's map of APIC IDs is made anew when a LAPIC is set, and knows this vCPU only from then on.
        let lapic = fd.get_lapic().map_err(failed("KVM_GET_LAPIC"))?;
        fd.set_lapic(&lapic).map_err(failed("KVM_SET_LAPIC"))?;
        let components = cpuid::xsave_components(&self.cpuid).unwrap_or(0);
        let msrs = Arc::clone(&self.saved_msrs);
        Ok(KvmVcpu::new(Arc::clone(&self.fd), fd, index, self.capabilities, components, msrs))
    }

    fn irq_line(&self, gsi: u32) -> Arc<dyn IrqLine> {
        Arc::new(KvmIrqLine { vm: Arc::clone(&self.fd), gsi })
    }

    fn msi(&self) -> Arc<dyn MsiController> {
        Arc::new(self.msi.clone())
    }

    fn doorbells(&self) -> Arc<dyn Doorbells> {
        let available = self.capabilities.ioeventfd && self.capabilities.ioeventfd_any_length;
        Arc::new(KvmDoorbells { vm: Arc::clone(&self.fd), available })
    }

    fn follow_memory(&self) -> Result<(), EngineError> {
        self.slots.follow(&self.fd)
    }

    fn start_dirty_log(&self) -> Result<(), EngineError> {
        self.slots.set_logging(&self.fd, true)
    }

    fn take_dirty_log(&self) -> Result<DirtyPages, EngineError> {
        self.slots.take_dirty(&self.fd)
    }

    fn stop_dirty_log(&self) -> Result<(), EngineError> {
        self.slots.set_logging(&self.fd, false)
    }

    fn platform_state(&self) -> Result<PlatformState, EngineError> {
        state::platform::save(&self.fd, &self.capabilities)
    }

    fn set_platform_state(&self, platform: &PlatformState) -> Result<(), EngineError> {
        state::platform::restore(&self.fd, &self.capabilities, platform)
    }
}
