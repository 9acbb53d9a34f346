//! Loops over registers, and branches.

use std::arch::asm;
use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::Random;

const STEPS: u64 = 10_000;
/// Enough for a branch predictor not to learn them by heart.
const CHOICES: usize = 1 << 16;

/// A generator of numbers and a sum: shifts, exclusive or, multiplication, in registers.
pub fn integer() -> io::Result<Work> {
    Work::compute(STEPS, || {
        let (mut state, mut sum) = (black_box(0x2545_f491_4f6c_dd1du64), 0u64);
        for step in 0..STEPS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            sum = sum.wrapping_add(state.wrapping_mul(step | 1));
        }
        sum
    })
}

/// Division, 64 bits by 32.
pub fn divide() -> io::Result<Work> {
    Work::compute(STEPS, || {
        let mut dividend = black_box(u64::MAX / 3);
        let mut sum = 0u64;
        for step in 0..STEPS {
            let divisor = black_box(step | 3);
            sum = sum.wrapping_add(dividend / divisor).rotate_left(5) ^ (dividend % divisor);
            dividend = dividend.wrapping_add(sum);
        }
        sum
    })
}

/// Branches that go one way with a period of four.
pub fn branch_predictable() -> io::Result<Work> {
    let choices: Vec<u8> = (0..CHOICES).map(|index| u8::from(index % 4 == 3)).collect();
    Work::compute(CHOICES as u64, move || branches(black_box(&choices)))
}

/// Branches that nobody can foresee.
pub fn branch_random() -> io::Result<Work> {
    let choices: Vec<u8> = Random::new(1).bytes(CHOICES).iter().map(|byte| byte & 1).collect();
    Work::compute(CHOICES as u64, move || branches(black_box(&choices)))
}

fn branches(choices: &[u8]) -> u64 {
    let (mut one, mut other) = (1u64, 2u64);
    for choice in choices {
        if *choice != 0 {
            stay_a_branch();
            one = one.wrapping_mul(3) ^ other;
        } else {
            stay_a_branch();
            other = other.rotate_left(7).wrapping_add(one);
        }
    }
    one ^ other
}

/// Keeps the compiler from making a conditional move of a branch.
#[inline(always)]
fn stay_a_branch() {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("", options(nomem, nostack, preserves_flags)) };
}
