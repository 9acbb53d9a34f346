//! CPUID: feature words, what each named CPU model allows of them, and per-vCPU fields.
//!
//! Everything here is a pure function of what an engine offers, so both engines give a guest the same
//! answers (SDM vol. 2A, CPUID; APM vol. 3, appendix E).

use serde::{Deserialize, Serialize};

use super::CpuModel;

/// One CPUID answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidLeaf {
    /// EAX asked for.
    pub function: u32,
    /// ECX asked for, where the function depends on it.
    pub index: Option<u32>,
    /// Answer.
    pub eax: u32,
    /// Answer.
    pub ebx: u32,
    /// Answer.
    pub ecx: u32,
    /// Answer.
    pub edx: u32,
}

/// What a vCPU answers to CPUID.
pub type Cpuid = Vec<CpuidLeaf>;

/// The register of an answer that holds a feature word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Leaf1Ecx,
    Leaf1Edx,
    Leaf7Ebx,
    Leaf7Ecx,
    Leaf7Edx,
    Leaf7Sub1Eax,
    LeafDSub1Eax,
    Ext1Ecx,
    Ext1Edx,
    Ext8Ebx,
}

/// A feature bit and the lowest model that has it. `Needed` bits make up the model; `Offered` ones are
/// given where the host has them, since they change how a system runs but not what its programs may use.
struct Feature {
    name: &'static str,
    word: Word,
    bit: u32,
    level: CpuModel,
    duty: Duty,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    Needed,
    Offered,
}

const fn needed(name: &'static str, word: Word, bit: u32, level: CpuModel) -> Feature {
    Feature { name, word, bit, level, duty: Duty::Needed }
}

const fn offered(name: &'static str, word: Word, bit: u32) -> Feature {
    Feature { name, word, bit, level: CpuModel::V1, duty: Duty::Offered }
}

use CpuModel::{V1, V2, V3, V4};
use Word::{
    Ext1Ecx, Ext1Edx, Ext8Ebx, Leaf1Ecx, Leaf1Edx, Leaf7Ebx, Leaf7Ecx, Leaf7Edx, Leaf7Sub1Eax, LeafDSub1Eax,
};

/// Features of the named models. A bit that is not listed is hidden from every named model.
const FEATURES: &[Feature] = &[
    // x86-64 psABI, table 3.1, baseline; and what every long-mode system takes for granted.
    needed("fpu", Leaf1Edx, 0, V1),
    offered("vme", Leaf1Edx, 1),
    needed("de", Leaf1Edx, 2, V1),
    needed("pse", Leaf1Edx, 3, V1),
    needed("tsc", Leaf1Edx, 4, V1),
    needed("msr", Leaf1Edx, 5, V1),
    needed("pae", Leaf1Edx, 6, V1),
    needed("mce", Leaf1Edx, 7, V1),
    needed("cx8", Leaf1Edx, 8, V1),
    needed("apic", Leaf1Edx, 9, V1),
    needed("sep", Leaf1Edx, 11, V1),
    needed("mtrr", Leaf1Edx, 12, V1),
    needed("pge", Leaf1Edx, 13, V1),
    needed("mca", Leaf1Edx, 14, V1),
    needed("cmov", Leaf1Edx, 15, V1),
    needed("pat", Leaf1Edx, 16, V1),
    needed("pse36", Leaf1Edx, 17, V1),
    needed("clflush", Leaf1Edx, 19, V1),
    needed("mmx", Leaf1Edx, 23, V1),
    needed("fxsr", Leaf1Edx, 24, V1),
    needed("sse", Leaf1Edx, 25, V1),
    needed("sse2", Leaf1Edx, 26, V1),
    needed("syscall", Ext1Edx, 11, V1),
    needed("nx", Ext1Edx, 20, V1),
    needed("lm", Ext1Edx, 29, V1),
    offered("ht", Leaf1Edx, 28),
    // v2
    needed("sse3", Leaf1Ecx, 0, V2),
    needed("ssse3", Leaf1Ecx, 9, V2),
    needed("cx16", Leaf1Ecx, 13, V2),
    needed("sse4.1", Leaf1Ecx, 19, V2),
    needed("sse4.2", Leaf1Ecx, 20, V2),
    needed("popcnt", Leaf1Ecx, 23, V2),
    needed("lahf", Ext1Ecx, 0, V2),
    // v3, with the AES and carry-less multiply that every such CPU has
    needed("fma", Leaf1Ecx, 12, V3),
    needed("movbe", Leaf1Ecx, 22, V3),
    needed("xsave", Leaf1Ecx, 26, V3),
    needed("avx", Leaf1Ecx, 28, V3),
    needed("f16c", Leaf1Ecx, 29, V3),
    needed("bmi1", Leaf7Ebx, 3, V3),
    needed("avx2", Leaf7Ebx, 5, V3),
    needed("bmi2", Leaf7Ebx, 8, V3),
    needed("lzcnt", Ext1Ecx, 5, V3),
    needed("pclmulqdq", Leaf1Ecx, 1, V3),
    needed("aes", Leaf1Ecx, 25, V3),
    // v4
    needed("avx512f", Leaf7Ebx, 16, V4),
    needed("avx512dq", Leaf7Ebx, 17, V4),
    needed("avx512cd", Leaf7Ebx, 28, V4),
    needed("avx512bw", Leaf7Ebx, 30, V4),
    needed("avx512vl", Leaf7Ebx, 31, V4),
    // What a kernel uses to run better and safer; no user program depends on it.
    offered("pcid", Leaf1Ecx, 17),
    offered("x2apic", Leaf1Ecx, 21),
    offered("tsc-deadline", Leaf1Ecx, 24),
    offered("rdrand", Leaf1Ecx, 30),
    offered("hypervisor", Leaf1Ecx, 31),
    offered("fsgsbase", Leaf7Ebx, 0),
    offered("tsc-adjust", Leaf7Ebx, 1),
    offered("smep", Leaf7Ebx, 7),
    offered("erms", Leaf7Ebx, 9),
    offered("invpcid", Leaf7Ebx, 10),
    offered("no-x87-selectors", Leaf7Ebx, 13),
    offered("rdseed", Leaf7Ebx, 18),
    offered("smap", Leaf7Ebx, 20),
    offered("umip", Leaf7Ecx, 2),
    offered("fsrm", Leaf7Edx, 4),
    offered("md-clear", Leaf7Edx, 10),
    offered("spec-ctrl", Leaf7Edx, 26),
    offered("stibp", Leaf7Edx, 27),
    offered("arch-capabilities", Leaf7Edx, 29),
    offered("ssbd", Leaf7Edx, 31),
    offered("fzrm", Leaf7Sub1Eax, 10),
    offered("fsrs", Leaf7Sub1Eax, 11),
    offered("fsrc", Leaf7Sub1Eax, 12),
    offered("cr8-legacy", Ext1Ecx, 4),
    offered("3dnowprefetch", Ext1Ecx, 8),
    offered("pdpe1gb", Ext1Edx, 26),
    offered("rdtscp", Ext1Edx, 27),
    offered("amd-ibpb", Ext8Ebx, 12),
    offered("amd-ibrs", Ext8Ebx, 14),
    offered("amd-stibp", Ext8Ebx, 15),
    offered("amd-ssbd", Ext8Ebx, 24),
    offered("virt-ssbd", Ext8Ebx, 25),
];

/// AMD repeats part of leaf 1 EDX in leaf 0x80000001 EDX (APM vol. 3, E.4.2).
const EXT1_EDX_COPIES_OF_LEAF1: u32 = 0x0183_f3ff;
/// Bits of leaf 0xd sub-leaf 1 EAX that a guest with XSAVE may see: XSAVEOPT, XSAVEC, XGETBV with ECX=1.
/// XSAVES (bit 3) stays hidden: supervisor state would not travel between engines.
const XSAVE_EXTENSIONS: u32 = 0b0111;

impl Word {
    const ALL: [Word; 10] = [
        Leaf1Ecx,
        Leaf1Edx,
        Leaf7Ebx,
        Leaf7Ecx,
        Leaf7Edx,
        Leaf7Sub1Eax,
        LeafDSub1Eax,
        Ext1Ecx,
        Ext1Edx,
        Ext8Ebx,
    ];

    fn of(self, cpuid: &mut [CpuidLeaf]) -> Option<&mut u32> {
        let (function, index) = match self {
            Leaf1Ecx | Leaf1Edx => (1, 0),
            Leaf7Ebx | Leaf7Ecx | Leaf7Edx => (7, 0),
            Leaf7Sub1Eax => (7, 1),
            LeafDSub1Eax => (0xd, 1),
            Ext1Ecx | Ext1Edx => (0x8000_0001, 0),
            Ext8Ebx => (0x8000_0008, 0),
        };
        let leaf =
            cpuid.iter_mut().find(|leaf| leaf.function == function && leaf.index.unwrap_or(0) == index)?;
        Some(match self {
            Leaf7Sub1Eax | LeafDSub1Eax => &mut leaf.eax,
            Leaf7Ebx | Ext8Ebx => &mut leaf.ebx,
            Leaf1Ecx | Leaf7Ecx | Ext1Ecx => &mut leaf.ecx,
            Leaf1Edx | Leaf7Edx | Ext1Edx => &mut leaf.edx,
        })
    }

    /// The bits of this word that `model` may see.
    fn allowed(self, model: CpuModel) -> u32 {
        let listed = FEATURES
            .iter()
            .filter(|feature| feature.word == self && feature.level <= model)
            .fold(0, |bits, feature| bits | 1 << feature.bit);
        match self {
            Ext1Edx => listed | EXT1_EDX_COPIES_OF_LEAF1,
            LeafDSub1Eax if model >= V3 => XSAVE_EXTENSIONS,
            _ => listed,
        }
    }
}

/// The host lacks features that a model consists of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this host cannot offer CPU model {model}: it lacks {}", missing.join(", "))]
pub struct ModelNotOffered {
    /// The model asked for.
    pub model: CpuModel,
    /// Names of the features that the host lacks.
    pub missing: Vec<&'static str>,
}

/// Cuts what an engine offers down to `model`. `Host` passes everything.
pub fn restrict(mut offered: Cpuid, model: CpuModel) -> Result<Cpuid, ModelNotOffered> {
    if model == CpuModel::Host {
        return Ok(offered);
    }
    let missing = missing_features(&mut offered, model);
    if !missing.is_empty() {
        return Err(ModelNotOffered { model, missing });
    }
    for word in Word::ALL {
        if let Some(bits) = word.of(&mut offered) {
            *bits &= word.allowed(model);
        }
    }
    restrict_xsave(&mut offered, model);
    Ok(offered)
}

/// KVM's features (Linux, `Documentation/virt/kvm/x86/cpuid.rst`).
const KVM_FEATURES: u32 = 0x4000_0001;
/// Those for which a guest calls KVM, by an instruction that differs between makers: PV_UNHALT, PV_SEND_IPI,
/// PV_SCHED_YIELD, MAP_GPA_RANGE, and MIGRATION_CONTROL.
const KVM_HYPERCALLS: u32 = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16 | 1 << 17;

/// `cpuid`, cut down to what an engine can give, too, that offers `other`: a guest that is told of it can move there.
pub fn common(mut cpuid: Cpuid, other: &[CpuidLeaf]) -> Cpuid {
    let mut other = other.to_vec();
    for word in Word::ALL {
        if let Some(bits) = word.of(&mut cpuid) {
            *bits &= word.of(&mut other).map_or(0, |bits| *bits);
        }
    }
    let leaf = |cpuid: &[CpuidLeaf], function| cpuid.iter().find(|leaf| leaf.function == function).copied();
    let vendor = |cpuid: &[CpuidLeaf]| leaf(cpuid, 0).map(|leaf| (leaf.ebx, leaf.edx, leaf.ecx));
    let same_maker = vendor(&cpuid) == vendor(&other);
    let theirs = leaf(&other, KVM_FEATURES).map_or(0, |leaf| leaf.eax);
    if let Some(leaf) = cpuid.iter_mut().find(|leaf| leaf.function == KVM_FEATURES) {
        leaf.eax &= theirs & if same_maker { !0 } else { !KVM_HYPERCALLS };
    }
    cpuid
}

/// Names of the features in `wanted` that an engine lacks which offers `offered`: a guest that was told of them cannot
/// run there. What is no feature of a named model (sizes, names, topology) may differ.
pub fn lacking(wanted: &[CpuidLeaf], offered: &[CpuidLeaf]) -> Vec<&'static str> {
    let (mut wanted, mut offered) = (wanted.to_vec(), offered.to_vec());
    let has = |cpuid: &mut [CpuidLeaf], feature: &Feature| {
        feature.word.of(cpuid).is_some_and(|bits| *bits >> feature.bit & 1 == 1)
    };
    let lacks = |feature: &&Feature| has(&mut wanted, feature) && !has(&mut offered, feature);
    FEATURES.iter().filter(lacks).map(|feature| feature.name).collect()
}

/// The highest named level that an engine offers in full.
pub fn highest_level(offered: &[CpuidLeaf]) -> Option<CpuModel> {
    let mut copy = offered.to_vec();
    [V4, V3, V2, V1].into_iter().find(|level| missing_features(&mut copy, *level).is_empty())
}

fn missing_features(offered: &mut [CpuidLeaf], model: CpuModel) -> Vec<&'static str> {
    FEATURES
        .iter()
        .filter(|feature| feature.duty == Duty::Needed && feature.level <= model)
        .filter(|feature| feature.word.of(offered).is_none_or(|bits| *bits >> feature.bit & 1 == 0))
        .map(|feature| feature.name)
        .collect()
}

/// XCR0 bits that a model may enable: x87, SSE, AVX, and the three AVX-512 components (SDM vol. 1, 13.1).
fn xcr0_of(model: CpuModel) -> u32 {
    match model {
        V1 | V2 => 0,
        V3 => 0b111,
        V4 | CpuModel::Host => 0b1110_0111,
    }
}

fn restrict_xsave(cpuid: &mut Cpuid, model: CpuModel) {
    let xcr0 = xcr0_of(model);
    cpuid.retain(|leaf| {
        leaf.function != 0xd || (xcr0 != 0 && leaf.index.is_none_or(|i| i < 2 || xcr0 >> i & 1 == 1))
    });
    let end_of_components = cpuid
        .iter()
        .filter(|leaf| leaf.function == 0xd && leaf.index.is_some_and(|index| index >= 2))
        .map(|leaf| leaf.ebx + leaf.eax)
        .fold(576, u32::max);
    for leaf in cpuid.iter_mut().filter(|leaf| leaf.function == 0xd) {
        match leaf.index {
            Some(0) | None => {
                leaf.eax &= xcr0;
                leaf.edx = 0;
                leaf.ecx = end_of_components;
                leaf.ebx = leaf.ebx.min(end_of_components);
            }
            Some(1) => (leaf.ecx, leaf.edx) = (0, 0),
            Some(_) => {}
        }
    }
}

/// Components of the state that XSAVE saves on a processor with these leaves (SDM vol. 1, 13.2); nothing where it has no
/// XSAVE.
pub fn xsave_components(cpuid: &[CpuidLeaf]) -> Option<u64> {
    let leaf = cpuid.iter().find(|leaf| leaf.function == 0xd && leaf.index.unwrap_or(0) == 0)?;
    Some(u64::from(leaf.eax) | u64::from(leaf.edx) << 32)
}

/// Writes what differs between vCPUs: APIC IDs and the topology of one socket with `vcpus` cores.
pub fn set_topology(cpuid: &mut Cpuid, apic_id: u32, vcpus: u32) {
    let core_bits = vcpus.next_power_of_two().trailing_zeros();
    for leaf in cpuid.iter_mut() {
        match leaf.function {
            1 => {
                let cores = vcpus.next_power_of_two().min(255);
                leaf.ebx = (leaf.ebx & 0x0000_ffff) | (cores << 16) | (apic_id << 24);
                let multi = u32::from(vcpus > 1);
                leaf.edx = (leaf.edx & !(1 << 28)) | (multi << 28);
            }
            // Deterministic cache parameters: cores sharing each level (SDM vol. 2A, leaf 4).
            4 if leaf.eax & 0x1f != 0 => {
                let level = leaf.eax >> 5 & 7;
                let sharing = if level >= 3 { (1u32 << core_bits) - 1 } else { 0 };
                leaf.eax = (leaf.eax & 0x3fff) | (sharing << 14) | (((1u32 << core_bits) - 1) << 26);
            }
            // AMD's core count (APM vol. 3, E.4.7) and cache sharing (E.4.15).
            0x8000_0008 => leaf.ecx = (core_bits << 12) | (vcpus - 1),
            0x8000_001d if leaf.eax & 0x1f != 0 => {
                let level = leaf.eax >> 5 & 7;
                let sharing = if level >= 3 { vcpus - 1 } else { 0 };
                leaf.eax = (leaf.eax & !(0xfff << 14)) | (sharing << 14);
            }
            0x8000_001e => (leaf.eax, leaf.ebx, leaf.ecx) = (apic_id, apic_id & 0xff, 0),
            _ => {}
        }
    }
    cpuid.retain(|leaf| !matches!(leaf.function, 0xb | 0x1f));
    // Extended topology (SDM vol. 2A, leaf 0xb): one thread a core, `vcpus` cores a package.
    let level = |index, shift, count, kind: u32| CpuidLeaf {
        function: 0xb,
        index: Some(index),
        eax: shift,
        ebx: count,
        ecx: index | kind << 8,
        edx: apic_id,
    };
    cpuid.push(level(0, 0, 1, 1));
    cpuid.push(level(1, core_bits, vcpus, 2));
    cpuid.push(CpuidLeaf { ecx: 2, edx: apic_id, ..level(2, 0, 0, 0) });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Cpuid {
        let full = CpuidLeaf { eax: !0, ebx: !0, ecx: !0, edx: !0, ..CpuidLeaf::default() };
        let sub = |function, index| CpuidLeaf { function, index: Some(index), ..full };
        let xsave = |index, offset, size| CpuidLeaf {
            function: 0xd,
            index: Some(index),
            eax: size,
            ebx: offset,
            ecx: 0,
            edx: 0,
        };
        vec![
            CpuidLeaf { function: 1, ..full },
            sub(7, 0),
            sub(7, 1),
            CpuidLeaf { eax: 0x2e7, ebx: 0x988, ecx: 0x988, edx: 0, ..sub(0xd, 0) },
            sub(0xd, 1),
            xsave(2, 576, 256),
            xsave(5, 832, 64),
            xsave(6, 896, 512),
            xsave(7, 1408, 1024),
            xsave(9, 2432, 8),
            CpuidLeaf { function: 0x8000_0001, ..full },
            CpuidLeaf { function: 0x8000_0008, ..full },
        ]
    }

    #[test]
    fn each_level_holds_the_one_below() {
        for word in Word::ALL {
            for pair in [V1, V2, V3, V4].windows(2) {
                assert_eq!(word.allowed(pair[0]) & !word.allowed(pair[1]), 0, "{word:?}");
            }
        }
    }

    #[test]
    fn v2_has_no_avx_and_no_xsave() {
        let cpuid = restrict(everything(), V2).unwrap();
        let leaf1 = cpuid.iter().find(|leaf| leaf.function == 1).unwrap();
        assert_eq!(leaf1.ecx >> 28 & 1, 0);
        assert_eq!(leaf1.ecx >> 20 & 1, 1);
        assert!(!cpuid.iter().any(|leaf| leaf.function == 0xd));
    }

    #[test]
    fn v3_keeps_only_the_avx_component() {
        let cpuid = restrict(everything(), V3).unwrap();
        let leaf = |index| cpuid.iter().find(|leaf| leaf.function == 0xd && leaf.index == Some(index));
        assert_eq!((leaf(0).unwrap().eax, leaf(0).unwrap().ecx), (7, 832));
        assert_eq!(leaf(1).unwrap().eax, XSAVE_EXTENSIONS);
        assert!(leaf(2).is_some() && leaf(5).is_none() && leaf(9).is_none());
    }

    #[test]
    fn a_missing_feature_is_named() {
        let mut offered = everything();
        *Leaf7Ebx.of(&mut offered).unwrap() &= !(1 << 5);
        assert_eq!(highest_level(&offered), Some(V2));
        let error = restrict(offered, V3).unwrap_err();
        assert_eq!(error.missing, ["avx2"]);
        assert!(error.to_string().contains("x86-64-v3: it lacks avx2"));
    }

    #[test]
    fn what_another_engine_lacks_is_named() {
        let v3 = restrict(everything(), V3).unwrap();
        let mut offered = everything();
        assert!(lacking(&v3, &offered).is_empty());
        *Leaf1Ecx.of(&mut offered).unwrap() &= !(1 << 17 | 1 << 12);
        assert_eq!(lacking(&v3, &offered), ["fma", "pcid"]);
        assert_eq!(lacking(&restrict(everything(), V2).unwrap(), &offered), ["pcid"]);
        let both = common(v3.clone(), &offered);
        assert!(lacking(&both, &offered).is_empty() && lacking(&both, &v3).is_empty());
        assert_eq!(lacking(&v3, &both), ["fma", "pcid"]);
        assert_eq!(lacking(&v3, &[]).len(), FEATURES.iter().filter(|feature| feature.level <= V3).count());
    }

    #[test]
    fn hypercalls_are_told_of_between_processors_of_one_maker_only() {
        let engine = |maker, eax| {
            let leaf = |function| CpuidLeaf { function, ..CpuidLeaf::default() };
            vec![CpuidLeaf { ebx: maker, ..leaf(0) }, CpuidLeaf { eax, ..leaf(KVM_FEATURES) }]
        };
        let features = |one: Cpuid, other: Cpuid| common(one, &other)[1].eax;
        assert_eq!(features(engine(1, 0b1000_1011), engine(1, 0b1000_1001)), 0b1000_1001);
        assert_eq!(features(engine(1, 0b1000_1011), engine(2, 0b1000_1001)), 0b0000_1001);
        assert_eq!(features(engine(1, !0), Vec::new()), 0);
    }

    #[test]
    fn topology_names_every_core() {
        let mut cpuid = everything();
        set_topology(&mut cpuid, 2, 3);
        let leaf = |function, index| {
            *cpuid.iter().find(|leaf| leaf.function == function && leaf.index.unwrap_or(0) == index).unwrap()
        };
        assert_eq!(leaf(1, 0).ebx >> 16, 0x0204);
        assert_eq!((leaf(0xb, 1).eax, leaf(0xb, 1).ebx, leaf(0xb, 1).edx), (2, 3, 2));
        assert_eq!(leaf(0x8000_0008, 0).ecx, (2 << 12) | 2);
    }
}
