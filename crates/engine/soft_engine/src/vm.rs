//! One VM, as whoever builds a machine has it.

use std::sync::{Arc, Mutex};

use arch_model::x86_64::PlatformState;
use arch_model::x86_64::cpuid::{self, Cpuid};
use device_model::{Doorbells, IrqLine, MsiController, lock};
use guest_memory::{DirtyPages, GuestMemory};
use vcpu_model::{EngineError, VcpuIndex, Vm};

use crate::features::Features;
use crate::platform::{SoftIrqLine, SoftMsi};
use crate::shared::Shared;
use crate::tiers::Tiers;
use crate::vcpu::SoftVcpu;

/// A virtual machine on the soft engine.
pub struct SoftVm {
    shared: Arc<Shared>,
    /// Held by whoever has vCPUs follow a change of memory.
    following: Mutex<()>,
}

impl SoftVm {
    pub(crate) fn new(memory: GuestMemory, cpuid: Cpuid, vcpus: u32, tiers: Tiers) -> SoftVm {
        SoftVm { shared: Shared::new(memory, cpuid, vcpus, tiers), following: Mutex::default() }
    }
}

impl Vm for SoftVm {
    type Vcpu = SoftVcpu;

    fn create_vcpu(&self, index: VcpuIndex) -> Result<SoftVcpu, EngineError> {
        let count = self.shared.vcpus() as u32;
        if index.0 >= count {
            return Err(EngineError::Unsupported(format!("vCPU {index} of {count}")));
        }
        let mut cpuid = self.shared.cpuid().clone();
        cpuid::set_topology(&mut cpuid, index.0, count);
        let features = Features::of(&cpuid);
        Ok(SoftVcpu::new(Arc::clone(&self.shared), index, cpuid, features))
    }

    fn irq_line(&self, gsi: u32) -> Arc<dyn IrqLine> {
        Arc::new(SoftIrqLine::new(Arc::clone(&self.shared.platform), gsi))
    }

    fn msi(&self) -> Arc<dyn MsiController> {
        Arc::new(SoftMsi::new(Arc::clone(&self.shared.platform)))
    }

    fn doorbells(&self) -> Arc<dyn Doorbells> {
        Arc::clone(&self.shared.doorbells) as Arc<dyn Doorbells>
    }

    fn follow_memory(&self) -> Result<(), EngineError> {
        let _one_at_a_time = lock(&self.following);
        self.shared.follow_memory();
        Ok(())
    }

    fn start_dirty_log(&self) -> Result<(), EngineError> {
        let space = self.shared.space();
        space.log.take();
        space.log.set(true);
        self.shared.protect_all();
        Ok(())
    }

    fn take_dirty_log(&self) -> Result<DirtyPages, EngineError> {
        // Taken first: a write that goes on unseen until its vCPU has answered is to a page in this set.
        let pages = self.shared.space().log.take();
        self.shared.protect_all();
        Ok(pages)
    }

    fn stop_dirty_log(&self) -> Result<(), EngineError> {
        self.shared.space().log.set(false);
        Ok(())
    }

    fn platform_state(&self) -> Result<PlatformState, EngineError> {
        Ok(self.shared.platform.save())
    }

    fn set_platform_state(&self, state: &PlatformState) -> Result<(), EngineError> {
        self.shared.platform.restore(state);
        Ok(())
    }
}
