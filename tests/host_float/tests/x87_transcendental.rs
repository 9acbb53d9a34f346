//! The soft engine's transcendental x87 instructions against the host's: flags and special cases are the same, other
//! results at most one unit in the last place away.
#![cfg(target_arch = "x86_64")]

use host_float::cases::pairs;
use host_float::x87::{self, Outcome};
use soft_engine::softfloat::{self, Class, Env, F80, Format, flag};

type Host = fn(u16, F80, F80, [u8; 10]) -> Outcome;

/// C2: the operand is out of range.
const C2: u16 = 1 << 10;
const PRECISION_EXTENDED: u16 = 3 << 8;

fn is_amd() -> bool {
    let std::arch::x86_64::CpuidResult { ebx, ecx, edx, .. } = std::arch::x86_64::__cpuid(0);
    [ebx, edx, ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}

/// A position on the line of all numbers of the format, consecutive ones one apart.
fn position(number: F80) -> i128 {
    let magnitude =
        i128::from(number.sign_exponent & 0x7fff) << 63 | i128::from(number.significand & !(1 << 63));
    if number.sign_exponent & 0x8000 != 0 { -magnitude } else { magnitude }
}

fn is_ordinary(number: F80) -> bool {
    matches!(number.unpack().class, Class::Normal | Class::Denormal)
}

/// Whether what the host answered is what was computed, or next to it. At the ends of the range the neighbour of a
/// finite number may be an infinity or a zero.
fn agree(host: F80, soft: F80) -> bool {
    if is_ordinary(host) || is_ordinary(soft) {
        (position(host) - position(soft)).abs() <= 1
    } else {
        host == soft
    }
}

/// Compares; `soft` gives ST(0) and ST(1), if they are compared, or C2.
fn each(name: &str, host: Host, soft: impl Fn(&mut Env, F80, F80) -> Option<(F80, Option<F80>)>) {
    if !is_amd() {
        println!(
            "SKIPPED: the host's processor is not AMD's: others tell of underflow, and round, in their own way"
        );
        return;
    }
    let (mut count, mut equal) = (0, 0);
    pairs(name, |random, a, b| {
        let control = (random.below(4) as u16) << 10 | PRECISION_EXTENDED | 0x3f;
        let mut env = Env::from_control_word(control);
        let result = soft(&mut env, a, b);
        let outcome = host(control, a, b, [0; 10]);
        let same = match result {
            None => outcome.status & C2 != 0 && outcome.st0 == a,
            Some((st0, st1)) => {
                outcome.status & C2 == 0
                    && agree(outcome.st0, st0)
                    && st1.is_none_or(|st1| agree(outcome.st1, st1))
            }
        };
        let flags = outcome.status as u8 & flag::ALL;
        assert!(
            same && flags == env.raised,
            "{name} {control:#x} {a:x?} {b:x?}:\nhost {outcome:x?}\nsoft {result:x?} flags {:#x}",
            env.raised
        );
        count += 1;
        let identical =
            |(st0, st1): (F80, Option<F80>)| st0 == outcome.st0 && st1.is_none_or(|st1| st1 == outcome.st1);
        equal += usize::from(result.is_none_or(identical));
    });
    println!("{name}: {count} cases, {equal} the same to the last bit");
}

#[test]
fn sine() {
    each("fsin", x87::fsin, |env, a, _| Some((softfloat::sine(env, a)?, None)));
}

#[test]
fn cosine() {
    each("fcos", x87::fcos, |env, a, _| Some((softfloat::cosine(env, a)?, None)));
}

#[test]
fn sine_cosine() {
    each("fsincos", x87::fsincos, |env, a, _| {
        let (sine, cosine) = softfloat::sine_cosine(env, a)?;
        Some((cosine, Some(sine)))
    });
}

#[test]
fn tangent() {
    each("fptan", x87::fptan, |env, a, _| {
        let (tangent, one) = softfloat::tangent(env, a)?;
        Some((one, Some(tangent)))
    });
}

#[test]
fn arctangent() {
    each("fpatan", x87::fpatan, |env, x, y| Some((softfloat::arctangent(env, x, y), None)));
}

#[test]
fn exponential() {
    each("f2xm1", x87::f2xm1, |env, x, _| Some((softfloat::exponential_minus_one(env, x), None)));
}

#[test]
fn logarithm() {
    each("fyl2x", x87::fyl2x, |env, x, y| Some((softfloat::logarithm(env, x, y), None)));
}

#[test]
fn logarithm_plus_one() {
    each("fyl2xp1", x87::fyl2xp1, |env, x, y| Some((softfloat::logarithm_plus_one(env, x, y), None)));
}
