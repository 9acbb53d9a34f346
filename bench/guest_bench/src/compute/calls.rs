//! Calls, direct and through pointers.

use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::Random;

const DEPTH: u64 = 18;
const INDIRECT: usize = 8192;

/// A function that calls itself twice.
pub fn call_direct() -> io::Result<Work> {
    Work::compute(calls(DEPTH), || tree(black_box(DEPTH)))
}

/// Calls that [`tree`] makes, itself one.
fn calls(depth: u64) -> u64 {
    if depth < 2 { 1 } else { 1 + calls(depth - 1) + calls(depth - 2) }
}

#[inline(never)]
fn tree(depth: u64) -> u64 {
    if depth < 2 {
        return depth + 1;
    }
    // Not associative, so that neither call becomes a loop.
    (tree(depth - 1) ^ tree(depth - 2)).wrapping_mul(3)
}

/// One of eight functions by a pointer, in no order.
pub fn call_indirect() -> io::Result<Work> {
    let mut random = Random::new(2);
    let order: Vec<u8> = (0..INDIRECT).map(|_| random.below(FUNCTIONS.len()) as u8).collect();
    Work::compute(INDIRECT as u64, move || {
        let functions = black_box(&FUNCTIONS);
        let order = black_box(&order);
        order.iter().fold(1, |value, index| functions[usize::from(*index)](value))
    })
}

static FUNCTIONS: [fn(u64) -> u64; 8] = [
    |value| value.wrapping_add(7),
    |value| value.wrapping_mul(5),
    |value| value.rotate_left(3),
    |value| value ^ 0x55aa,
    |value| value ^ (value >> 9),
    |value| value.wrapping_sub(value << 4),
    |value| !value,
    |value| value.swap_bytes(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_calls() {
        assert_eq!((calls(1), calls(2), calls(3)), (1, 3, 5));
    }
}
