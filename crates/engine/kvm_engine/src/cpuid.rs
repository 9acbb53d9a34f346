//! CPUID between KVM's form and ours, and the bits that KVM leaves to its user.

use arch_model::x86_64::cpuid::{Cpuid, CpuidLeaf};
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;
use vcpu_model::EngineError;

use crate::capabilities::Capabilities;
use crate::failed;

/// CPUID.1:ECX bit 24 (SDM vol. 3, 11.5.4.1): KVM reports it by a capability of its own.
const TSC_DEADLINE: u32 = 1 << 24;
/// CPUID.1:ECX bit 31: reserved for hypervisors to say that there is one.
const HYPERVISOR: u32 = 1 << 31;

/// Everything that this host's KVM can give a guest.
pub(crate) fn offered(kvm: &Kvm, capabilities: &Capabilities) -> Result<Cpuid, EngineError> {
    let supported =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(failed("KVM_GET_SUPPORTED_CPUID"))?;
    let mut cpuid: Cpuid = supported.as_slice().iter().map(from_kvm).collect();
    if let Some(leaf) = cpuid.iter_mut().find(|leaf| leaf.function == 1) {
        leaf.ecx |= HYPERVISOR;
        if capabilities.tsc_deadline {
            leaf.ecx |= TSC_DEADLINE;
        }
    }
    Ok(cpuid)
}

fn from_kvm(entry: &kvm_cpuid_entry2) -> CpuidLeaf {
    let indexed = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
    CpuidLeaf {
        function: entry.function,
        index: indexed.then_some(entry.index),
        eax: entry.eax,
        ebx: entry.ebx,
        ecx: entry.ecx,
        edx: entry.edx,
    }
}

/// KVM's form of what a vCPU answers.
pub(crate) fn to_kvm(cpuid: &[CpuidLeaf]) -> Result<CpuId, EngineError> {
    let entries: Vec<kvm_cpuid_entry2> = cpuid
        .iter()
        .map(|leaf| kvm_cpuid_entry2 {
            function: leaf.function,
            index: leaf.index.unwrap_or(0),
            flags: if leaf.index.is_some() { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
            eax: leaf.eax,
            ebx: leaf.ebx,
            ecx: leaf.ecx,
            edx: leaf.edx,
            ..kvm_cpuid_entry2::default()
        })
        .collect();
    CpuId::from_entries(&entries)
        .map_err(|_| EngineError::Unsupported("more CPUID leaves than KVM takes".to_owned()))
}
