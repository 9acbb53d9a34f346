//! Special cases whose answers the manual gives. Every operation is compared with the host's by the package
//! `host_float`.

use super::*;

const ONE: F32 = F32(0x3f80_0000);
const INFINITY: F32 = F32(0x7f80_0000);
const INDEFINITE: F32 = F32(0xffc0_0000);
const SIGNALING: F32 = F32(0x7f80_0001);
const QUIET: F32 = F32(0x7fc0_0002);
const DENORMAL: F32 = F32(3);

fn f80(sign_exponent: u16, significand: u64) -> F80 {
    F80 { sign_exponent, significand }
}

/// The value and the flags of an operation in the default environment.
fn run<T>(operation: impl FnOnce(&mut Env) -> T) -> (T, u8) {
    run_in(Env::DEFAULT, operation)
}

fn run_in<T>(mut env: Env, operation: impl FnOnce(&mut Env) -> T) -> (T, u8) {
    let result = operation(&mut env);
    (result, env.reported())
}

#[test]
fn sse_takes_the_first_nan_and_x87_the_larger() {
    assert_eq!(run(|env| add(env, QUIET, SIGNALING)), (QUIET, flag::INVALID));
    assert_eq!(run(|env| add(env, SIGNALING, QUIET)), (F32(0x7fc0_0001), flag::INVALID));
    assert_eq!(run(|env| add(env, ONE, QUIET)), (QUIET, 0));
    let (small, large) = (f80(0x7fff, 0xc000_0000_0000_0001), f80(0xffff, 0xc000_0000_0000_0002));
    assert_eq!(run(|env| add(env, small, large)), (large, 0));
    assert_eq!(run(|env| add(env, large, small)), (large, 0));
}

#[test]
fn invalid_operations_give_the_indefinite_value() {
    let minus_infinity = F32(0xff80_0000);
    assert_eq!(run(|env| add(env, INFINITY, minus_infinity)), (INDEFINITE, flag::INVALID));
    assert_eq!(run(|env| mul(env, INFINITY, F32(0))), (INDEFINITE, flag::INVALID));
    assert_eq!(run(|env| div(env, F32(0), F32(0))), (INDEFINITE, flag::INVALID));
    assert_eq!(run(|env| sqrt(env, F32(0xbf80_0000))), (INDEFINITE, flag::INVALID));
    assert_eq!(run(|env| to_i32(env, INFINITY, Rounding::Zero)), (i32::MIN, flag::INVALID));
    assert_eq!(run(|env| to_i16(env, f80(0x400e, 1 << 63), Rounding::Zero)), (i16::MIN, flag::INVALID));
}

#[test]
fn unnormals_are_invalid_and_pseudo_denormals_are_denormal() {
    let (unnormal, pseudo_denormal) = (f80(0x3fff, 1), f80(0, 1 << 63));
    assert_eq!(run(|env| add(env, unnormal, F80::ONE)), (F80::indefinite(), flag::INVALID));
    assert_eq!(run(|env| mul(env, pseudo_denormal, F80::ONE)), (f80(1, 1 << 63), flag::DENORMAL));
}

#[test]
fn division_by_zero_goes_before_a_denormal_operand() {
    assert_eq!(run(|env| div(env, DENORMAL, F32(0))), (INFINITY, flag::DIVIDE_BY_ZERO));
    assert_eq!(run(|env| div(env, INFINITY, DENORMAL)), (INFINITY, flag::DENORMAL));
}

/// Masked and unmasked underflow and overflow of a product, the unmasked flags as processors leave them with #XM.
#[test]
fn tiny_and_huge_products() {
    let smallest = F32(0x0080_0000);
    let half = F32(0x3f00_0000);
    let cases = [
        // Unmasked, FTZ, operands, flags.
        (0, false, smallest, half, 0),
        (0, true, smallest, half, flag::UNDERFLOW | flag::PRECISION),
        (flag::UNDERFLOW, false, smallest, half, flag::UNDERFLOW),
        (flag::UNDERFLOW, true, smallest, half, flag::UNDERFLOW),
        (flag::UNDERFLOW, false, F32(0x0080_0001), half, flag::UNDERFLOW),
        (flag::UNDERFLOW, false, F32(0x0080_0001), F32(0x3f00_0001), flag::UNDERFLOW | flag::PRECISION),
        (0, false, F32(0x0080_0001), half, flag::UNDERFLOW | flag::PRECISION),
        (flag::OVERFLOW, false, F32(0x7f00_0000), F32(0x7f00_0000), flag::OVERFLOW),
        (flag::OVERFLOW, false, F32(0x7f7f_ffff), F32(0x7f7f_ffff), flag::OVERFLOW | flag::PRECISION),
        (flag::PRECISION, false, F32(0x7f00_0000), F32(0x7f00_0000), flag::OVERFLOW | flag::PRECISION),
        (flag::DENORMAL, false, DENORMAL, F32(0x3f00_0001), flag::DENORMAL),
        (flag::DENORMAL | flag::UNDERFLOW, false, DENORMAL, F32(0x3f00_0001), flag::DENORMAL),
    ];
    for (unmasked, ftz, a, b, flags) in cases {
        let env = Env { unmasked, ftz, ..Env::DEFAULT };
        assert_eq!(run_in(env, |env| mul(env, a, b)).1, flags, "{unmasked} {ftz} {a:x?} {b:x?}");
    }
}

#[test]
fn unmasked_x87_results_wrap_their_exponent() {
    let env = Env { unmasked: flag::OVERFLOW, ..Env::DEFAULT };
    let largest = f80(0x7ffe, 1 << 63);
    let wrapped = f80(0x7ffe + 0x3fff - 24576, 1 << 63);
    assert_eq!(run_in(env, |env| mul(env, largest, largest)), (wrapped, flag::OVERFLOW));
    assert_eq!(run_in(env, |env| convert::<F80, F32>(env, largest)).1, flag::OVERFLOW);
}

#[test]
fn what_is_set_already_need_not_be_found_again() {
    let third = |env: &mut Env| div(env, ONE, F32(0x4040_0000));
    assert_eq!(run(third), (F32(0x3eaa_aaab), flag::PRECISION));
    let (result, flags) = run_in(Env { sticky: flag::PRECISION, ..Env::DEFAULT }, third);
    assert_eq!((result, flags | flag::PRECISION), (F32(0x3eaa_aaab), flag::PRECISION));
}

#[test]
fn minimum_and_maximum_prefer_the_second() {
    let minus_zero = F32(0x8000_0000);
    assert_eq!(run(|env| min(env, F32(0), minus_zero)), (minus_zero, 0));
    assert_eq!(run(|env| max(env, minus_zero, F32(0))), (F32(0), 0));
    assert_eq!(run(|env| max(env, ONE, SIGNALING)), (SIGNALING, flag::INVALID));
    assert_eq!(run(|env| compare(env, ONE, QUIET, true)), (Relation::Unordered, 0));
    assert_eq!(run(|env| compare(env, ONE, QUIET, false)), (Relation::Unordered, flag::INVALID));
}

#[test]
fn a_distant_remainder_is_partial() {
    let distant = f80(0x3fff + 100, 3 << 62);
    let (step, flags) = run(|env| remainder(env, RemainderKind::Truncated, distant, f80(0x4000, 0xe << 60)));
    assert!(step.incomplete && step.quotient == 0 && flags == 0);
    let (rest, _) =
        run(|env| remainder(env, RemainderKind::Nearest, f80(0x4001, 7 << 61), f80(0x4000, 1 << 63)));
    // 7 = 4 · 2 − 1.
    assert_eq!(rest, Remainder { value: f80(0xbfff, 1 << 63), quotient: 4, incomplete: false });
}

#[test]
fn decimal_integers() {
    let bytes = [0x56, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0x80];
    let number = bcd_load(bytes);
    assert_eq!(run(|env| to_i64(env, number, Rounding::Nearest)), (-123_456, 0));
    assert_eq!(run(|env| bcd_store(env, number)), (bytes, 0));
    let (stored, flags) = run(|env| bcd_store(env, f80(0x403a, 0xde0b_6b3a_7640_0000)));
    assert_eq!((stored[7..].to_vec(), flags), (vec![0xc0, 0xff, 0xff], flag::INVALID));
}

#[test]
fn angles_out_of_range_are_left_alone() {
    assert_eq!(run(|env| sine(env, f80(0x403e, 1 << 63))), (None, 0));
    assert_eq!(run(|env| tangent(env, F80::zero(true))), (Some((F80::zero(true), F80::ONE)), 0));
    assert_eq!(run(|env| cosine(env, F80::infinity(false))), (Some(F80::indefinite()), flag::INVALID));
    // π/2 of 66 bits: what is left of π to 64 bits is exact.
    let pi = f80(0x4000, 0xc90f_daa2_2168_c235);
    assert_eq!(run(|env| sine(env, pi)), (Some(f80(0xbfbf, 1 << 63)), flag::PRECISION));
}

#[test]
fn the_environment_is_read_from_its_registers() {
    let env = Env::from_mxcsr(0x1f80 | 1 << 6 | 2 << 13 | 0x20);
    assert!(env.daz && !env.ftz && env.rounding == Rounding::Up && env.unmasked == 0 && env.sticky == 0x20);
    let env = Env::from_control_word(0x0e7b);
    assert!(
        env.precision == Precision::Double
            && env.rounding == Rounding::Zero
            && env.unmasked == flag::DIVIDE_BY_ZERO
    );
}
