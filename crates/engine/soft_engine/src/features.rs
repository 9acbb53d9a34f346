//! What this engine's CPU offers: the CPUID answers before a model cuts them down, and which instruction-set
//! extensions follow from the answers that are left.

use arch_model::x86_64::cpuid::{Cpuid, CpuidLeaf};
use iced_x86::CpuidFeature;

use crate::memory::paging::PHYSICAL_BITS;
use crate::platform::TSC_KHZ;

/// Leaf 1 ECX: SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, PCID, SSE4.1, SSE4.2, x2APIC, MOVBE, POPCNT, TSC deadline, AES,
/// XSAVE, AVX, F16C, RDRAND, hypervisor.
const LEAF1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 31]);
/// Leaf 1 EDX: FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, CLFLUSH, MMX, FXSR,
/// SSE, SSE2.
const LEAF1_EDX: u32 = bits(&[0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26]);
/// Leaf 6 EAX: ARAT, the APIC timer goes on whatever the CPU sleeps in. Without it Linux has neither timers of high
/// resolution nor an idle without ticks.
const LEAF6_EAX: u32 = bits(&[2]);
/// Leaf 7 EBX: FSGSBASE, TSC_ADJUST, BMI1, AVX2, SMEP, BMI2, ERMS, INVPCID, no x87 CS and DS, RDSEED, SMAP, SHA.
const LEAF7_EBX: u32 = bits(&[0, 1, 3, 5, 7, 8, 9, 10, 13, 18, 20, 29]);
/// Leaf 7 ECX: UMIP.
const LEAF7_ECX: u32 = bits(&[2]);
/// Leaf 7 EDX: FSRM, SPEC_CTRL (IBRS), STIBP, ARCH_CAPABILITIES, SSBD.
const LEAF7_EDX: u32 = bits(&[4, 26, 27, 29, 31]);
/// Leaf 0xd sub-leaf 1 EAX: XSAVEOPT, XSAVEC, XGETBV with ECX of 1.
const LEAF_D_EAX: u32 = bits(&[0, 1, 2]);
/// Leaf 0x80000001 ECX: LAHF in 64-bit mode, LZCNT, PREFETCHW.
const EXT1_ECX: u32 = bits(&[0, 5, 8]);
/// Leaf 0x80000001 EDX: SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
const EXT1_EDX: u32 = bits(&[11, 20, 26, 27, 29]);
/// KVM features (Linux, `Documentation/virt/kvm/x86/cpuid.rst`): CLOCKSOURCE, NOP_IO_DELAY, CLOCKSOURCE2, PV_UNHALT,
/// PV_SEND_IPI, CLOCKSOURCE_STABLE. Not PV_TLB_FLUSH: a guest with it leaves the flush of a vCPU that is preempted to the
/// hypervisor, which has to say who is (in the page of steal time). A thread does not learn that it was preempted; and
/// one that sleeps in HLT has an idle guest, which Linux spares the flush anyway.
const KVM_FEATURES: u32 = bits(&[0, 1, 3, 7, 11, 24]);

const fn bits(list: &[u32]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < list.len() {
        bits |= 1 << list[index];
        index += 1;
    }
    bits
}

/// All that this engine offers, for [`arch_model::x86_64::cpuid::restrict`].
pub fn offered() -> Cpuid {
    let leaf =
        |function, [eax, ebx, ecx, edx]: [u32; 4]| CpuidLeaf { function, index: None, eax, ebx, ecx, edx };
    let sub = |function, index, [eax, ebx, ecx, edx]: [u32; 4]| CpuidLeaf {
        function,
        index: Some(index),
        eax,
        ebx,
        ecx,
        edx,
    };
    let text = |bytes: &[u8; 16]| {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        [word(0), word(4), word(8), word(12)]
    };
    let vendor = text(b"GenuntelineI\0\0\0\0");
    let kvm = text(b"KVMKVMKVM\0\0\0\0\0\0\0");
    vec![
        leaf(0, [0x16, vendor[0], vendor[1], vendor[2]]),
        leaf(1, [SIGNATURE, CLFLUSH_WORDS << 8, LEAF1_ECX, LEAF1_EDX]),
        // Cache and TLB descriptors: "see leaf 4".
        leaf(2, [0x00ff_0001, 0, 0, 0]),
        // One core's caches (type, ways, sets): 32 KiB data and code, 1 MiB unified, 16 MiB shared.
        sub(4, 0, cache(1, 1, 8, 64)),
        sub(4, 1, cache(2, 1, 8, 64)),
        sub(4, 2, cache(3, 2, 16, 1024)),
        sub(4, 3, cache(3, 3, 16, 16384)),
        sub(4, 4, [0; 4]),
        leaf(6, [LEAF6_EAX, 0, 0, 0]),
        sub(7, 0, [0, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX]),
        // XSAVE: x87, SSE, AVX, whose part is of 256 bytes at 576. EBX of the first two follows XCR0.
        sub(0xd, 0, [7, 832, 832, 0]),
        sub(0xd, 1, [LEAF_D_EAX, 832, 0, 0]),
        sub(0xd, 2, [256, 576, 0, 0]),
        // TSC and crystal: the same 1 GHz, unless a state says that the TSC has another frequency.
        leaf(0x15, [1, 1, TSC_KHZ * 1000, 0]),
        leaf(0x16, [TSC_KHZ / 1000, TSC_KHZ / 1000, 100, 0]),
        leaf(0x4000_0000, [0x4000_0001, kvm[0], kvm[1], kvm[2]]),
        leaf(0x4000_0001, [KVM_FEATURES, 0, 0, 0]),
        leaf(0x8000_0000, [0x8000_0008, 0, 0, 0]),
        leaf(0x8000_0001, [0, 0, EXT1_ECX, EXT1_EDX]),
        leaf(0x8000_0002, text(b"Yagura software ")),
        leaf(0x8000_0003, text(b"engine\0\0\0\0\0\0\0\0\0\0")),
        leaf(0x8000_0004, [0; 4]),
        leaf(0x8000_0005, [0; 4]),
        leaf(0x8000_0006, [0, 0, 0x0400_8040, 0]),
        // Invariant TSC.
        leaf(0x8000_0007, [0, 0, 0, 1 << 8]),
        leaf(0x8000_0008, [PHYSICAL_BITS | 48 << 8, 0, 0, 0]),
    ]
}

/// Family 6, model 0x6a, stepping 6: a model whose known errata the capabilities MSR rules out.
const SIGNATURE: u32 = 0x0006_06a6;
/// CLFLUSH line size in units of 8 bytes.
const CLFLUSH_WORDS: u32 = 8;

/// Deterministic cache parameters (SDM vol. 2A, CPUID leaf 4).
fn cache(kind: u32, level: u32, ways: u32, sets: u32) -> [u32; 4] {
    [kind | level << 5 | 1 << 8, 63 | (ways - 1) << 22, sets - 1, 0]
}

/// IA32_ARCH_CAPABILITIES (SDM vol. 4, table 2-2): not subject to the known speculation attacks.
pub const ARCH_CAPABILITIES: u64 = {
    let no = [0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 23, 24, 26, 27, 62];
    let mut value = 0;
    let mut index = 0;
    while index < no.len() {
        value |= 1 << no[index];
        index += 1;
    }
    value
};

/// Where CPUID tells of an extension.
#[derive(Clone, Copy)]
enum Told {
    Always,
    Leaf1Ecx(u32),
    Leaf7Ebx(u32),
    Leaf7Ecx(u32),
    Ext1Ecx(u32),
    Ext1Edx(u32),
    LeafDSub1Eax(u32),
}

use CpuidFeature as F;
use Told::{Always, Ext1Ecx, Ext1Edx, Leaf1Ecx, Leaf7Ebx, Leaf7Ecx, LeafDSub1Eax};

/// Extensions that this engine executes. ENDBR and CLDEMOTE are hints, which CPUs without them ignore.
const EXTENSIONS: &[(CpuidFeature, Told)] = &[
    (F::INTEL8086, Always),
    (F::INTEL186, Always),
    (F::INTEL286, Always),
    (F::INTEL386, Always),
    (F::INTEL486, Always),
    (F::X64, Always),
    (F::FPU, Always),
    (F::FPU287, Always),
    (F::FPU387, Always),
    (F::CPUID, Always),
    (F::CX8, Always),
    (F::CMOV, Always),
    (F::MULTIBYTENOP, Always),
    (F::PAUSE, Always),
    (F::MSR, Always),
    (F::TSC, Always),
    (F::SYSCALL, Always),
    (F::SEP, Always),
    (F::CLFSH, Always),
    (F::FXSR, Always),
    (F::MMX, Always),
    (F::SSE, Always),
    (F::SSE2, Always),
    (F::RDPMC, Always),
    (F::CET_IBT, Always),
    (F::CLDEMOTE, Always),
    (F::SSE3, Leaf1Ecx(0)),
    (F::PCLMULQDQ, Leaf1Ecx(1)),
    (F::SSSE3, Leaf1Ecx(9)),
    (F::FMA, Leaf1Ecx(12)),
    (F::CMPXCHG16B, Leaf1Ecx(13)),
    (F::SSE4_1, Leaf1Ecx(19)),
    (F::SSE4_2, Leaf1Ecx(20)),
    (F::MOVBE, Leaf1Ecx(22)),
    (F::POPCNT, Leaf1Ecx(23)),
    (F::AES, Leaf1Ecx(25)),
    (F::XSAVE, Leaf1Ecx(26)),
    (F::AVX, Leaf1Ecx(28)),
    (F::F16C, Leaf1Ecx(29)),
    (F::RDRAND, Leaf1Ecx(30)),
    (F::FSGSBASE, Leaf7Ebx(0)),
    (F::BMI1, Leaf7Ebx(3)),
    (F::AVX2, Leaf7Ebx(5)),
    (F::BMI2, Leaf7Ebx(8)),
    (F::INVPCID, Leaf7Ebx(10)),
    (F::RDSEED, Leaf7Ebx(18)),
    (F::ADX, Leaf7Ebx(19)),
    (F::SMAP, Leaf7Ebx(20)),
    (F::SHA, Leaf7Ebx(29)),
    (F::RDPID, Leaf7Ecx(22)),
    (F::LZCNT, Ext1Ecx(5)),
    (F::PREFETCHW, Ext1Ecx(8)),
    (F::RDTSCP, Ext1Edx(27)),
    (F::XSAVEOPT, LeafDSub1Eax(0)),
    (F::XSAVEC, LeafDSub1Eax(1)),
];

/// The set of instruction-set extensions that a vCPU has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    bits: [u64; 4],
}

impl Features {
    /// The extensions that `cpuid` tells of.
    pub fn of(cpuid: &Cpuid) -> Features {
        let mut features = Features { bits: [0; 4] };
        for (feature, told) in EXTENSIONS {
            if told.is_set(cpuid) {
                let number = *feature as usize;
                features.bits[number / 64] |= 1 << (number % 64);
            }
        }
        features
    }

    /// Whether `feature` is among them.
    pub fn has(&self, feature: CpuidFeature) -> bool {
        let number = feature as usize;
        self.bits.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

impl Told {
    fn is_set(self, cpuid: &Cpuid) -> bool {
        let leaf = |function, index: u32| {
            cpuid.iter().find(|leaf| leaf.function == function && leaf.index.unwrap_or(0) == index)
        };
        let (word, bit) = match self {
            Always => return true,
            Leaf1Ecx(bit) => (leaf(1, 0).map(|leaf| leaf.ecx), bit),
            Leaf7Ebx(bit) => (leaf(7, 0).map(|leaf| leaf.ebx), bit),
            Leaf7Ecx(bit) => (leaf(7, 0).map(|leaf| leaf.ecx), bit),
            Ext1Ecx(bit) => (leaf(0x8000_0001, 0).map(|leaf| leaf.ecx), bit),
            Ext1Edx(bit) => (leaf(0x8000_0001, 0).map(|leaf| leaf.edx), bit),
            LeafDSub1Eax(bit) => (leaf(0xd, 1).map(|leaf| leaf.eax), bit),
        };
        word.unwrap_or(0) >> bit & 1 == 1
    }
}
