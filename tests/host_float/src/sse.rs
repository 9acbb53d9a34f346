//! One SSE, FMA or F16C instruction on the host. All exceptions have to be masked in the given MXCSR.

use std::arch::asm;

/// Everything masked, round to nearest.
pub const MXCSR_DEFAULT: u32 = 0x1f80;
/// The flags of MXCSR.
const FLAGS: u32 = 0x3f;

/// Result and flags.
pub type Outcome<T> = (T, u8);

macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident($($operand:ident: $from:ty),*) -> $to:ty, $($line:expr),+) => {
        $(#[$doc])*
        pub fn $name(mxcsr: u32, $($operand: $from),*) -> Outcome<$to> {
            assert_eq!(mxcsr & MXCSR_DEFAULT, MXCSR_DEFAULT, "exceptions would trap");
            let start = mxcsr & !FLAGS;
            let (mut before, mut after) = (0u32, 0u32);
            let result: u64;
            // SAFETY: only xmm0 to xmm2 and the result change besides the two words on the stack; MXCSR is put
            // back before the end, and with everything masked no instruction traps.
            unsafe {
                asm!(
                    "stmxcsr [{before}]",
                    $(concat!("movq ", register!($operand), ", {", stringify!($operand), "}"),)*
                    "ldmxcsr [{start}]",
                    $($line,)+
                    "stmxcsr [{after}]",
                    "ldmxcsr [{before}]",
                    before = in(reg) &mut before,
                    after = in(reg) &mut after,
                    start = in(reg) &start,
                    $($operand = in(reg) u64::from($operand),)*
                    out("rax") result,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _,
                );
            }
            (result as $to, (after & FLAGS) as u8)
        }
    };
}

macro_rules! register {
    (a) => {
        "xmm0"
    };
    (b) => {
        "xmm1"
    };
    (c) => {
        "xmm2"
    };
}

macro_rules! both_precisions {
    ($($single:ident, $double:ident, ($($operand:ident),*), $name:literal, $operands:literal;)*) => {$(
        instruction!(
            #[doc = concat!("`", $name, "ss`.")]
            $single($($operand: u32),*) -> u32, concat!($name, "ss ", $operands), "movd eax, xmm0");
        instruction!(
            #[doc = concat!("`", $name, "sd`.")]
            $double($($operand: u64),*) -> u64, concat!($name, "sd ", $operands), "movq rax, xmm0");
    )*};
}

both_precisions! {
    add_single, add_double, (a, b), "add", "xmm0, xmm1";
    sub_single, sub_double, (a, b), "sub", "xmm0, xmm1";
    mul_single, mul_double, (a, b), "mul", "xmm0, xmm1";
    div_single, div_double, (a, b), "div", "xmm0, xmm1";
    min_single, min_double, (a, b), "min", "xmm0, xmm1";
    max_single, max_double, (a, b), "max", "xmm0, xmm1";
    sqrt_single, sqrt_double, (a), "sqrt", "xmm0, xmm0";
    fmadd132_single, fmadd132_double, (a, b, c), "vfmadd132", "xmm0, xmm2, xmm1";
    fmadd213_single, fmadd213_double, (a, b, c), "vfmadd213", "xmm0, xmm1, xmm2";
    fmsub_single, fmsub_double, (a, b, c), "vfmsub132", "xmm0, xmm2, xmm1";
    fnmadd_single, fnmadd_double, (a, b, c), "vfnmadd132", "xmm0, xmm2, xmm1";
    fnmsub_single, fnmsub_double, (a, b, c), "vfnmsub132", "xmm0, xmm2, xmm1";
    round_nearest_single, round_nearest_double, (a), "round", "xmm0, xmm0, 0";
    round_down_single, round_down_double, (a), "round", "xmm0, xmm0, 1";
    round_up_single, round_up_double, (a), "round", "xmm0, xmm0, 2";
    round_zero_single, round_zero_double, (a), "round", "xmm0, xmm0, 3";
    round_current_single, round_current_double, (a), "round", "xmm0, xmm0, 4";
    round_quiet_single, round_quiet_double, (a), "round", "xmm0, xmm0, 12";
}

macro_rules! comparison {
    ($($name:ident, $from:ty, $instruction:literal;)*) => {$(
        instruction!(
            #[doc = concat!("`", $instruction, "`: CF in bit 0, ZF in bit 1, PF in bit 2.")]
            $name(a: $from, b: $from) -> u8,
            concat!($instruction, " xmm0, xmm1"),
            "pushfq", "pop rax",
            // CF is bit 0, PF bit 2, ZF bit 6.
            "and eax, 69");
    )*};
}

comparison! {
    comi_single, u32, "comiss";
    comi_double, u64, "comisd";
    ucomi_single, u32, "ucomiss";
    ucomi_double, u64, "ucomisd";
}

macro_rules! conversion {
    ($($name:ident, $from:ty => $to:ty, $($line:literal),+;)*) => {$(
        instruction!(
            #[doc = concat!("`", stringify!($name), "`.")]
            $name(a: $from) -> $to, $($line),+);
    )*};
}

conversion! {
    cvtss2sd, u32 => u64, "cvtss2sd xmm0, xmm0", "movq rax, xmm0";
    cvtsd2ss, u64 => u32, "cvtsd2ss xmm0, xmm0", "movd eax, xmm0";
    vcvtph2ps, u16 => u32, "vcvtph2ps xmm0, xmm0", "movd eax, xmm0";
    vcvtps2ph, u32 => u16, "vcvtps2ph xmm0, xmm0, 4", "movd eax, xmm0";
    cvtss2si32, u32 => u32, "cvtss2si eax, xmm0";
    cvtss2si64, u32 => u64, "cvtss2si rax, xmm0";
    cvtsd2si32, u64 => u32, "cvtsd2si eax, xmm0";
    cvtsd2si64, u64 => u64, "cvtsd2si rax, xmm0";
    cvttss2si32, u32 => u32, "cvttss2si eax, xmm0";
    cvttss2si64, u32 => u64, "cvttss2si rax, xmm0";
    cvttsd2si32, u64 => u32, "cvttsd2si eax, xmm0";
    cvttsd2si64, u64 => u64, "cvttsd2si rax, xmm0";
    cvtsi2ss32, u32 => u32, "movd eax, xmm0", "cvtsi2ss xmm0, eax", "movd eax, xmm0";
    cvtsi2ss64, u64 => u32, "movq rax, xmm0", "cvtsi2ss xmm0, rax", "movd eax, xmm0";
    cvtsi2sd32, u32 => u64, "movd eax, xmm0", "cvtsi2sd xmm0, eax", "movq rax, xmm0";
    cvtsi2sd64, u64 => u64, "movq rax, xmm0", "cvtsi2sd xmm0, rax", "movq rax, xmm0";
}
