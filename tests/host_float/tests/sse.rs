//! The soft engine's SSE arithmetic against the host's: every result and every flag.
#![cfg(target_arch = "x86_64")]

use host_float::cases::{Operand, Random, pairs};
use host_float::sse::{self, MXCSR_DEFAULT, Outcome};
use soft_engine::softfloat::{self, Env, F16, F32, F64, Negate, Relation, Rounding, flag};

const DAZ: u32 = 1 << 6;

/// The sixteen combinations of rounding, DAZ and FTZ.
fn modes() -> impl Iterator<Item = u32> {
    (0..16)
        .map(|bits| MXCSR_DEFAULT | (bits & 3) << 13 | if bits & 4 != 0 { DAZ } else { 0 } | (bits & 8) << 12)
}

/// Whether the host has what `test` asks of it; says so where it has not.
fn is_possible(test: &str) -> bool {
    let (feature, has) = match test {
        _ if test.starts_with("fm") || test.starts_with("fnm") => ("FMA", is_x86_feature_detected!("fma")),
        _ if test.starts_with("vcvt") => ("F16C", is_x86_feature_detected!("f16c")),
        _ if test.starts_with("round") => ("SSE4.1", is_x86_feature_detected!("sse4.1")),
        _ => return true,
    };
    if !has {
        println!("SKIPPED: the host's processor lacks {feature}");
    }
    has
}

/// Compares one instruction, with and without PE set beforehand.
fn compare<T: Copy + PartialEq + std::fmt::LowerHex>(
    name: &str,
    mxcsr: u32,
    operands: &dyn std::fmt::Debug,
    host: Outcome<T>,
    soft: impl Fn(&mut Env) -> T,
) {
    for sticky in [0, flag::PRECISION] {
        let mut env = Env::from_mxcsr(mxcsr | u32::from(sticky));
        let result = soft(&mut env);
        let flags = env.raised | sticky;
        assert!(
            result == host.0 && flags == host.1 | sticky,
            "{name} mxcsr {mxcsr:#x} {operands:x?}: host {:#x} flags {:#x}, soft {result:#x} flags {flags:#x}",
            host.0,
            host.1,
        );
    }
}

/// Boundary pairs in all modes, random pairs in a random one.
fn each<T: Operand>(name: &str, mut check: impl FnMut(u32, T, T, T)) {
    let mut boundary_left = T::boundaries().len().pow(2);
    let mut count = 0;
    let thirds = T::boundaries();
    pairs(name, |random: &mut Random, a, b| {
        let third = thirds[random.below(thirds.len() as u64) as usize];
        if boundary_left > 0 {
            boundary_left -= 1;
            modes().for_each(|mxcsr| check(mxcsr, a, b, third));
            count += 16;
        } else {
            let c = if random.below(8) == 0 { third } else { T::random(random, true) };
            // Half of them in the mode that has a fast path.
            let bits = if random.below(2) == 0 { 0 } else { random.below(16) };
            check(modes().nth(bits as usize).unwrap_or(MXCSR_DEFAULT), a, b, c);
            count += 1;
        }
    });
    println!("{name}: {count} cases");
}

macro_rules! binary {
    ($($test:ident: $single:ident, $double:ident, $soft:path;)*) => {$(
        #[test]
        fn $test() {
            each(concat!(stringify!($test), " single"), |mxcsr, a: u32, b, _| {
                compare(stringify!($test), mxcsr, &(a, b), sse::$single(mxcsr, a, b), |env| {
                    $soft(env, F32(a), F32(b)).0
                });
            });
            each(concat!(stringify!($test), " double"), |mxcsr, a: u64, b, _| {
                compare(stringify!($test), mxcsr, &(a, b), sse::$double(mxcsr, a, b), |env| {
                    $soft(env, F64(a), F64(b)).0
                });
            });
        }
    )*};
}

binary! {
    add: add_single, add_double, softfloat::add;
    sub: sub_single, sub_double, softfloat::sub;
    mul: mul_single, mul_double, softfloat::mul;
    div: div_single, div_double, softfloat::div;
    min: min_single, min_double, softfloat::min;
    max: max_single, max_double, softfloat::max;
}

macro_rules! fused {
    ($($test:ident: $single:ident, $double:ident, $order:expr, $product:literal, $addend:literal;)*) => {$(
        #[test]
        fn $test() {
            if !is_possible(stringify!($test)) {
                return;
            }
            let negate = Negate { product: $product, addend: $addend };
            each(concat!(stringify!($test), " single"), |mxcsr, a: u32, b, c| {
                compare(stringify!($test), mxcsr, &(a, b, c), sse::$single(mxcsr, a, b, c), |env| {
                    let (x, y) = if $order { (a, b) } else { (b, a) };
                    softfloat::fused_multiply_add(env, F32(x), F32(y), F32(c), negate).0
                });
            });
            each(concat!(stringify!($test), " double"), |mxcsr, a: u64, b, c| {
                compare(stringify!($test), mxcsr, &(a, b, c), sse::$double(mxcsr, a, b, c), |env| {
                    let (x, y) = if $order { (a, b) } else { (b, a) };
                    softfloat::fused_multiply_add(env, F64(x), F64(y), F64(c), negate).0
                });
            });
        }
    )*};
}

fused! {
    fmadd132: fmadd132_single, fmadd132_double, true, false, false;
    fmadd213: fmadd213_single, fmadd213_double, false, false, false;
    fmsub: fmsub_single, fmsub_double, true, false, true;
    fnmadd: fnmadd_single, fnmadd_double, true, true, false;
    fnmsub: fnmsub_single, fnmsub_double, true, true, true;
}

macro_rules! unary {
    ($($test:ident: $from:ident $from_bits:ty => $host:ident, $soft:expr;)*) => {$(
        #[test]
        fn $test() {
            if !is_possible(stringify!($test)) {
                return;
            }
            each(stringify!($test), |mxcsr, a: $from_bits, _, _| {
                compare(stringify!($test), mxcsr, &a, sse::$host(mxcsr, a), |env| {
                    let soft: fn(&mut Env, $from) -> _ = $soft;
                    soft(env, $from(a))
                });
            });
        }
    )*};
}

unary! {
    sqrt_single: F32 u32 => sqrt_single, |env, a| softfloat::sqrt(env, a).0;
    sqrt_double: F64 u64 => sqrt_double, |env, a| softfloat::sqrt(env, a).0;
    cvtss2sd: F32 u32 => cvtss2sd, |env, a| softfloat::convert::<_, F64>(env, a).0;
    cvtsd2ss: F64 u64 => cvtsd2ss, |env, a| softfloat::convert::<_, F32>(env, a).0;
    vcvtph2ps: F16 u16 => vcvtph2ps, |env, a| softfloat::convert::<_, F32>(env, a).0;
    vcvtps2ph: F32 u32 => vcvtps2ph, |env, a| softfloat::convert::<_, F16>(env, a).0;
    round_nearest_single: F32 u32 => round_nearest_single,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Nearest, false).0;
    round_nearest_double: F64 u64 => round_nearest_double,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Nearest, false).0;
    round_down_single: F32 u32 => round_down_single,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Down, false).0;
    round_down_double: F64 u64 => round_down_double,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Down, false).0;
    round_up_single: F32 u32 => round_up_single,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Up, false).0;
    round_up_double: F64 u64 => round_up_double,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Up, false).0;
    round_zero_single: F32 u32 => round_zero_single,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Zero, false).0;
    round_zero_double: F64 u64 => round_zero_double,
        |env, a| softfloat::round_to_integral(env, a, Rounding::Zero, false).0;
    round_current_single: F32 u32 => round_current_single,
        |env, a| softfloat::round_to_integral(env, a, env.rounding, false).0;
    round_current_double: F64 u64 => round_current_double,
        |env, a| softfloat::round_to_integral(env, a, env.rounding, false).0;
    round_quiet_single: F32 u32 => round_quiet_single,
        |env, a| softfloat::round_to_integral(env, a, env.rounding, true).0;
    round_quiet_double: F64 u64 => round_quiet_double,
        |env, a| softfloat::round_to_integral(env, a, env.rounding, true).0;
    cvtss2si32: F32 u32 => cvtss2si32, |env, a| softfloat::to_i32(env, a, env.rounding) as u32;
    cvtss2si64: F32 u32 => cvtss2si64, |env, a| softfloat::to_i64(env, a, env.rounding) as u64;
    cvtsd2si32: F64 u64 => cvtsd2si32, |env, a| softfloat::to_i32(env, a, env.rounding) as u32;
    cvtsd2si64: F64 u64 => cvtsd2si64, |env, a| softfloat::to_i64(env, a, env.rounding) as u64;
    cvttss2si32: F32 u32 => cvttss2si32, |env, a| softfloat::to_i32(env, a, Rounding::Zero) as u32;
    cvttss2si64: F32 u32 => cvttss2si64, |env, a| softfloat::to_i64(env, a, Rounding::Zero) as u64;
    cvttsd2si32: F64 u64 => cvttsd2si32, |env, a| softfloat::to_i32(env, a, Rounding::Zero) as u32;
    cvttsd2si64: F64 u64 => cvttsd2si64, |env, a| softfloat::to_i64(env, a, Rounding::Zero) as u64;
    cvtsi2ss32: Signed32 u32 => cvtsi2ss32, |env, a| softfloat::from_i64::<F32>(env, a.value()).0;
    cvtsi2ss64: Signed64 u64 => cvtsi2ss64, |env, a| softfloat::from_i64::<F32>(env, a.value()).0;
    cvtsi2sd32: Signed32 u32 => cvtsi2sd32, |env, a| softfloat::from_i64::<F64>(env, a.value()).0;
    cvtsi2sd64: Signed64 u64 => cvtsi2sd64, |env, a| softfloat::from_i64::<F64>(env, a.value()).0;
}

/// Integers, from the bits of the operands made for the formats.
struct Signed32(u32);
struct Signed64(u64);

impl Signed32 {
    fn value(self) -> i64 {
        i64::from(self.0 as i32)
    }
}

impl Signed64 {
    fn value(self) -> i64 {
        self.0 as i64
    }
}

/// CF, PF and ZF as COMISS sets them.
fn relation_flags(relation: Relation) -> u8 {
    match relation {
        Relation::Greater => 0,
        Relation::Less => 1,
        Relation::Equal => 64,
        Relation::Unordered => 69,
    }
}

macro_rules! comparison {
    ($($test:ident: $format:ident $bits:ty, $quiet:literal;)*) => {$(
        #[test]
        fn $test() {
            each(stringify!($test), |mxcsr, a: $bits, b, _| {
                compare(stringify!($test), mxcsr, &(a, b), sse::$test(mxcsr, a, b), |env| {
                    relation_flags(softfloat::compare(env, $format(a), $format(b), $quiet))
                });
            });
        }
    )*};
}

comparison! {
    comi_single: F32 u32, false;
    comi_double: F64 u64, false;
    ucomi_single: F32 u32, true;
    ucomi_double: F64 u64, true;
}
