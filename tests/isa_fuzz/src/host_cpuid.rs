//! What the host's processor says of itself.

use std::arch::x86_64::{__cpuid_count, __get_cpuid_max};

use arch_model::x86_64::cpuid::{Cpuid, CpuidLeaf};

/// Leaves that tell of instruction-set extensions (SDM vol. 2A, CPUID).
const LEAVES: [(u32, u32); 5] = [(0, 0), (1, 0), (7, 0), (0xd, 1), (0x8000_0001, 0)];

/// The host's feature words.
pub fn features() -> Cpuid {
    LEAVES.iter().map(|(function, index)| leaf(*function, *index)).collect()
}

/// Whether the host's processor is AMD's.
pub fn is_amd() -> bool {
    let CpuidLeaf { ebx, ecx, edx, .. } = leaf(0, 0);
    [ebx, edx, ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}

fn leaf(function: u32, index: u32) -> CpuidLeaf {
    let highest = __get_cpuid_max(function & 0x8000_0000).0;
    if function > highest {
        return CpuidLeaf { function, index: Some(index), ..CpuidLeaf::default() };
    }
    let answer = __cpuid_count(function, index);
    CpuidLeaf {
        function,
        index: Some(index),
        eax: answer.eax,
        ebx: answer.ebx,
        ecx: answer.ecx,
        edx: answer.edx,
    }
}
