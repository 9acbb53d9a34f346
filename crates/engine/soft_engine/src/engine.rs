//! The engine: makes VMs.

use arch_model::x86_64::CpuModel;
use arch_model::x86_64::cpuid::{self, Cpuid};
use guest_memory::GuestMemory;
use vcpu_model::{Engine, EngineError, MAX_VCPUS, VmConfig, check_cpuid};

use crate::features;
use crate::tiers::Tiers;
use crate::vm::SoftVm;

/// Guest code in software.
#[derive(Clone, Copy, Debug)]
pub struct SoftEngine {
    tiers: Tiers,
}

/// Most code of a boot runs once or twice, and translating costs more than that.
const COLD_RUNS: u16 = 4;
/// Heap that a vCPU takes at most for decoded blocks, TLBs, and what is known of translated code.
const KNOWN_BYTES: u64 = 64 << 20;
/// Room for some thousand units.
const SMALL_CODE_BYTES: usize = 512 << 10;

impl Default for SoftEngine {
    fn default() -> SoftEngine {
        SoftEngine { tiers: Tiers { cold_runs: Some(COLD_RUNS), ..Tiers::INTERPRETER } }
    }
}

impl SoftEngine {
    /// An engine that interprets everything: slower, and what the translator is compared with.
    pub fn interpreter() -> SoftEngine {
        SoftEngine { tiers: Tiers::INTERPRETER }
    }

    /// An engine that interprets everything and executes one vCPU at a time, as it does on hosts that order memory
    /// accesses less strictly than x86's: for tests of that on any host.
    pub fn one_vcpu_at_a_time() -> SoftEngine {
        SoftEngine { tiers: Tiers { in_turn: true, ..Tiers::INTERPRETER } }
    }

    /// An engine that translates everything at once: for tests of the translator.
    pub fn eager() -> SoftEngine {
        SoftEngine { tiers: Tiers { cold_runs: Some(0), ..Tiers::INTERPRETER } }
    }

    /// An engine that compares translated code with the interpreter while guests run, and stops at the first
    /// difference: for tests of the translator with one vCPU, and slow.
    pub fn lockstep() -> SoftEngine {
        SoftEngine { tiers: Tiers { cold_runs: Some(0), lockstep: true, ..Tiers::INTERPRETER } }
    }

    /// An engine that translates everything at once into a code cache that is soon full: for tests of what is dropped
    /// then.
    pub fn cramped() -> SoftEngine {
        SoftEngine { tiers: Tiers { cold_runs: Some(0), code_bytes: SMALL_CODE_BYTES, ..Tiers::INTERPRETER } }
    }

    /// Address space that a VM with `vcpus` vCPUs may come to take beside its RAM, in bytes: code memory, which is mapped
    /// twice, and what is known of code.
    pub fn mapped_bytes_max(&self, vcpus: u32) -> u64 {
        let code = if self.tiers.cold_runs.is_some() { 2 * self.tiers.code_bytes as u64 } else { 0 };
        u64::from(vcpus) * (code + KNOWN_BYTES)
    }

    /// The highest named CPU model that this engine offers.
    pub fn highest_cpu_model(&self) -> Option<CpuModel> {
        cpuid::highest_level(&features::offered())
    }
}

impl Engine for SoftEngine {
    type Vm = SoftVm;

    fn name(&self) -> &'static str {
        "soft"
    }

    fn offered_cpuid(&self) -> Result<Cpuid, EngineError> {
        Ok(features::offered())
    }

    /// The highest whose instructions need not be interpreted one by one, as a guest's libraries take them for the fast
    /// ones.
    fn default_cpu_model(&self) -> Result<CpuModel, EngineError> {
        Ok(if crate::jit::has_v3_vectors() { CpuModel::V3 } else { CpuModel::V2 })
    }

    fn create_vm(&self, config: &VmConfig, memory: &GuestMemory) -> Result<SoftVm, EngineError> {
        if !(1..=MAX_VCPUS).contains(&config.vcpus) {
            let asked = config.vcpus;
            return Err(EngineError::Unsupported(format!(
                "{asked} vCPUs: the soft engine takes 1 to {MAX_VCPUS}"
            )));
        }
        check_cpuid(self.name(), &config.cpuid, &features::offered())?;
        Ok(SoftVm::new(memory.clone(), config.cpuid.clone(), config.vcpus, self.tiers))
    }
}
