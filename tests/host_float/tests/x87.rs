//! The soft engine's x87 arithmetic against the host's: every result, every flag and C1.
#![cfg(target_arch = "x86_64")]

use host_float::cases::{Operand, Random, pairs};
use host_float::x87::{self, Outcome};
use soft_engine::softfloat::{self, Env, F32, F64, F80, Relation, RemainderKind, Rounding, flag};

type Host = fn(u16, F80, F80, [u8; 10]) -> Outcome;
type SignExtend = fn(u64) -> i64;

const C0: u16 = 1 << 8;
const C1: u16 = 1 << 9;
const C2: u16 = 1 << 10;
const C3: u16 = 1 << 14;

/// Control words: every rounding and precision, everything masked.
fn masked_controls() -> impl Iterator<Item = u16> {
    (0..4).flat_map(|rounding| [0u16, 2, 3].map(|precision| rounding << 10 | precision << 8 | 0x3f))
}

fn random_control(random: &mut Random) -> u16 {
    let control = masked_controls().nth(random.below(12) as usize).unwrap_or(0x37f);
    if random.below(4) == 0 { control & (0xffc0 | random.draw() as u16) } else { control }
}

/// What is compared of an instruction.
#[derive(Debug, PartialEq)]
struct Seen<T> {
    result: Option<T>,
    flags: u8,
    conditions: u16,
}

/// Runs boundary pairs and random ones; `host` and `soft` give the result and the condition bits to compare. An
/// exception found in the operands that is not masked leaves the flags alone to compare.
fn each<A: Operand + std::fmt::Debug, T: PartialEq + std::fmt::Debug>(
    name: &str,
    host: impl Fn(u16, A, A) -> (T, u16, u16),
    soft: impl Fn(&mut Env, A, A) -> (T, u16),
) {
    let mut boundary_left = A::boundaries().len().pow(2);
    let mut count = 0;
    let check = |control: u16, a: A, b: A| {
        let mut env = Env::from_control_word(control);
        let (result, conditions) = soft(&mut env, a, b);
        let stopped = env.raised & env.unmasked & flag::BEFORE_COMPUTATION != 0;
        let (host_result, host_status, considered) = host(control, a, b);
        let considered = if stopped { 0 } else { considered };
        let soft_seen = Seen {
            result: (!stopped).then_some(result),
            flags: env.reported(),
            conditions: conditions & considered,
        };
        let host_seen = Seen {
            result: (!stopped).then_some(host_result),
            flags: host_status as u8 & flag::ALL,
            conditions: host_status & considered,
        };
        assert!(
            soft_seen == host_seen,
            "{name} {control:#x} {a:x?} {b:x?}:\nhost {host_seen:x?}\nsoft {soft_seen:x?}"
        );
    };
    pairs(name, |random, a, b| {
        if boundary_left > 0 {
            boundary_left -= 1;
            masked_controls().for_each(|control| check(control, a, b));
            check(random_control(random), a, b);
            count += 13;
        } else {
            check(random_control(random), a, b);
            count += 1;
        }
    });
    println!("{name}: {count} cases");
}

fn c1(env: &Env) -> u16 {
    if env.rounded_up { C1 } else { 0 }
}

/// An instruction whose result is in ST(0).
fn register(name: &str, host: Host, soft: impl Fn(&mut Env, F80, F80) -> F80) {
    each(
        name,
        |control, a, b| {
            let outcome = host(control, a, b, [0; 10]);
            (outcome.st0, outcome.status, C1)
        },
        |env, a, b| {
            let result = soft(env, a, b);
            (result, c1(env))
        },
    );
}

#[test]
fn arithmetic() {
    register("fadd", x87::fadd, softfloat::add);
    register("fsub", x87::fsub, softfloat::sub);
    register("fmul", x87::fmul, softfloat::mul);
    register("fdiv", x87::fdiv, softfloat::div);
}

#[test]
fn square_root_and_rounding() {
    register("fsqrt", x87::fsqrt, |env, a, _| softfloat::sqrt(env, a));
    register("frndint", x87::frndint, |env, a, _| softfloat::round_to_integral(env, a, env.rounding, false));
}

#[test]
fn scale_and_extract() {
    register("fscale", x87::fscale, softfloat::scale);
    each(
        "fxtract",
        |control, a, b| {
            let outcome = x87::fxtract(control, a, b, [0; 10]);
            ((outcome.st0, outcome.st1), outcome.status, 0)
        },
        |env, a: F80, _| {
            let extracted = softfloat::extract(env, a);
            ((extracted.significand, extracted.exponent), 0)
        },
    );
}

/// By how many bits a remainder comes part of its way, from 32 to 63, is the processor's own (SDM vol. 2A, FPREM).
#[test]
fn remainder() {
    let instructions: [(&str, Host, RemainderKind); 2] =
        [("fprem", x87::fprem, RemainderKind::Truncated), ("fprem1", x87::fprem1, RemainderKind::Nearest)];
    for (name, host, kind) in instructions {
        each(
            name,
            |control, a, b| {
                let outcome = host(control, a, b, [0; 10]);
                let part = outcome.status & C2 != 0;
                let compared = if part { C2 } else { C0 | C1 | C2 | C3 };
                ((!part).then_some(outcome.st0), outcome.status, compared)
            },
            |env, a, b| {
                let remainder = softfloat::remainder(env, kind, a, b);
                let bit = |set, condition| if set { condition } else { 0 };
                let quotient = remainder.quotient;
                let conditions = bit(quotient & 4 != 0, C0)
                    | bit(quotient & 2 != 0, C3)
                    | bit(quotient & 1 != 0, C1)
                    | bit(remainder.incomplete, C2);
                ((!remainder.incomplete).then_some(remainder.value), conditions)
            },
        );
    }
}

#[test]
fn comparison() {
    let instructions: [(&str, Host, bool); 2] = [("fcom", x87::fcom, false), ("fucom", x87::fucom, true)];
    for (name, host, quiet) in instructions {
        each(
            name,
            |control, a, b| ((), host(control, a, b, [0; 10]).status, C0 | C2 | C3),
            |env, a: F80, b| {
                let conditions = match softfloat::compare(env, a, b, quiet) {
                    Relation::Greater => 0,
                    Relation::Less => C0,
                    Relation::Equal => C3,
                    Relation::Unordered => C0 | C2 | C3,
                };
                ((), conditions)
            },
        );
    }
}

fn wide<const N: usize>(bytes: [u8; N]) -> [u8; 10] {
    let mut memory = [0; 10];
    memory[..N].copy_from_slice(&bytes);
    memory
}

#[test]
fn loads() {
    each(
        "fld single",
        |control, a: u32, _| {
            let outcome = x87::fld_single(control, F80::ONE, F80::ONE, wide(a.to_le_bytes()));
            (outcome.st0, outcome.status, 0)
        },
        |env, a, _| (softfloat::convert(env, F32(a)), 0),
    );
    each(
        "fld double",
        |control, a: u64, _| {
            let outcome = x87::fld_double(control, F80::ONE, F80::ONE, wide(a.to_le_bytes()));
            (outcome.st0, outcome.status, 0)
        },
        |env, a, _| (softfloat::convert(env, F64(a)), 0),
    );
    let integers: [(&str, Host, SignExtend); 3] = [
        ("fild word", x87::fild_word, |bits| i64::from(bits as i16)),
        ("fild double word", x87::fild_double_word, |bits| i64::from(bits as i32)),
        ("fild quad word", x87::fild_quad_word, |bits| bits as i64),
    ];
    for (name, host, value) in integers {
        each(
            name,
            |control, a: u64, _| {
                let outcome = host(control, F80::ONE, F80::ONE, wide(a.to_le_bytes()));
                (outcome.st0, outcome.status, 0)
            },
            |env, a, _| (softfloat::from_i64(env, value(a)), 0),
        );
    }
}

/// An instruction that stores; what it stores when its result does not fit and that is unmasked is left out.
fn store<const N: usize>(name: &str, host: Host, soft: impl Fn(&mut Env, F80) -> [u8; N]) {
    each(
        name,
        |control, a, b| {
            let outcome = host(control, a, b, [0; 10]);
            let status = outcome.status;
            let trapped = status as u8 & !control as u8 & (flag::OVERFLOW | flag::UNDERFLOW) != 0;
            ((!trapped).then_some(outcome.memory), status, if trapped { 0 } else { C1 })
        },
        |env, a, _| {
            let bytes = soft(env, a);
            let trapped = env.raised & env.unmasked & (flag::OVERFLOW | flag::UNDERFLOW) != 0;
            ((!trapped).then_some(wide(bytes)), c1(env))
        },
    );
}

#[test]
fn stores() {
    store("fst single", x87::fst_single, |env, a| softfloat::convert::<_, F32>(env, a).0.to_le_bytes());
    store("fst double", x87::fst_double, |env, a| softfloat::convert::<_, F64>(env, a).0.to_le_bytes());
    store("fistp word", x87::fistp_word, |env, a| softfloat::to_i16(env, a, env.rounding).to_le_bytes());
    store("fistp double word", x87::fistp_double_word, |env, a| {
        softfloat::to_i32(env, a, env.rounding).to_le_bytes()
    });
    store("fistp quad word", x87::fistp_quad_word, |env, a| {
        softfloat::to_i64(env, a, env.rounding).to_le_bytes()
    });
    store("fisttp word", x87::fisttp_word, |env, a| softfloat::to_i16(env, a, Rounding::Zero).to_le_bytes());
    store("fisttp double word", x87::fisttp_double_word, |env, a| {
        softfloat::to_i32(env, a, Rounding::Zero).to_le_bytes()
    });
    store("fisttp quad word", x87::fisttp_quad_word, |env, a| {
        softfloat::to_i64(env, a, Rounding::Zero).to_le_bytes()
    });
    store("fbstp", x87::fbstp, softfloat::bcd_store);
}

#[test]
fn decimal_loads() {
    each(
        "fbld",
        |control, a: u64, b: u64| {
            let outcome = x87::fbld(control, F80::ONE, F80::ONE, decimal(a, b));
            (outcome.st0, outcome.status, 0)
        },
        |_, a, b| (softfloat::bcd_load(decimal(a, b)), 0),
    );
}

/// Eighteen valid digits and any sign byte.
fn decimal(digits: u64, sign: u64) -> [u8; 10] {
    let mut rest = digits;
    let mut bytes = [(sign >> 56) as u8; 10];
    for byte in &mut bytes[..9] {
        *byte = (rest / 10 % 10 * 16 + rest % 10) as u8;
        rest /= 100;
    }
    bytes
}
