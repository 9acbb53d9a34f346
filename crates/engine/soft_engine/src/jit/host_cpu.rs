//! What the host's processor can execute: guest instructions are emitted as they are only where it has them.

use iced_x86::CpuidFeature;

/// Whether generated code runs here at all.
pub const IS_X86_64: bool = cfg!(target_arch = "x86_64");

/// Whether the host has what an instruction needs. Asked only for instructions that have a template; those that every
/// x86-64 processor has need nothing else.
#[cfg(target_arch = "x86_64")]
pub fn has(feature: CpuidFeature) -> bool {
    use std::arch::is_x86_feature_detected as detected;
    match feature {
        CpuidFeature::SSE3 => detected!("sse3"),
        CpuidFeature::SSSE3 => detected!("ssse3"),
        CpuidFeature::SSE4_1 => detected!("sse4.1"),
        CpuidFeature::SSE4_2 => detected!("sse4.2"),
        CpuidFeature::POPCNT => detected!("popcnt"),
        CpuidFeature::LZCNT => detected!("lzcnt"),
        CpuidFeature::BMI1 => detected!("bmi1"),
        CpuidFeature::AES => detected!("aes"),
        CpuidFeature::PCLMULQDQ => detected!("pclmulqdq"),
        CpuidFeature::SHA => detected!("sha"),
        CpuidFeature::MOVBE => detected!("movbe"),
        CpuidFeature::BMI2 => detected!("bmi2"),
        CpuidFeature::XSAVE => detected!("xsave"),
        CpuidFeature::AVX => detected!("avx"),
        CpuidFeature::AVX2 => detected!("avx2"),
        CpuidFeature::FMA => detected!("fma"),
        CpuidFeature::F16C => detected!("f16c"),
        _ => true,
    }
}

/// No template is ever used.
#[cfg(not(target_arch = "x86_64"))]
pub fn has(_feature: CpuidFeature) -> bool {
    false
}

/// Whether the host executes all of x86-64-v3's vector instructions by itself.
pub fn has_v3_vectors() -> bool {
    use CpuidFeature as F;
    [F::AVX, F::AVX2, F::FMA, F::F16C, F::BMI1, F::BMI2, F::MOVBE, F::LZCNT].into_iter().all(has)
}
