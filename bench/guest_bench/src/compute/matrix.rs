//! The product of two matrices of doubles.

use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::{Random, digest};

const SIDE: usize = 48;

/// Row by row, so that the innermost loop runs along memory.
pub fn matrix() -> io::Result<Work> {
    let mut random = Random::new(14);
    let mut matrix = || (0..SIDE * SIDE).map(|_| random.below(1000) as f64 / 8.0).collect::<Vec<f64>>();
    let (left, right, mut product) = (matrix(), matrix(), vec![0.0; SIDE * SIDE]);
    Work::compute((SIDE * SIDE * SIDE) as u64, move || {
        multiply(black_box(&left), black_box(&right), &mut product);
        digest(product.iter().step_by(97).map(|value| value.to_bits()))
    })
}

fn multiply(left: &[f64], right: &[f64], product: &mut [f64]) {
    product.fill(0.0);
    for (sums, factors) in product.chunks_exact_mut(SIDE).zip(left.chunks_exact(SIDE)) {
        for (factor, row) in factors.iter().zip(right.chunks_exact(SIDE)) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += factor * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_one_changes_nothing() {
        let values: Vec<f64> = (0..SIDE * SIDE).map(|value| value as f64).collect();
        let one: Vec<f64> = (0..SIDE * SIDE).map(|at| f64::from(u8::from(at / SIDE == at % SIDE))).collect();
        let mut product = vec![1.0; SIDE * SIDE];
        multiply(&values, &one, &mut product);
        assert_eq!(product, values);
    }
}
