//! Scalar double precision.

use std::hint::black_box;
use std::io;

use crate::measure::Work;

const SIDE: u32 = 32;
const LIMIT: u32 = 50;
const STEPS: u64 = 4096;

/// The Mandelbrot set: multiplication, addition, comparison.
pub fn float_scalar() -> io::Result<Work> {
    Work::compute(u64::from(SIDE * SIDE), || {
        let scale = black_box(2.5 / f64::from(SIDE));
        let mut sum = 0u64;
        for row in 0..SIDE {
            for column in 0..SIDE {
                let escape = escape(f64::from(column) * scale - 2.0, f64::from(row) * scale - 1.25);
                sum = sum.rotate_left(3) ^ u64::from(escape);
            }
        }
        sum
    })
}

fn escape(real: f64, imaginary: f64) -> u32 {
    let (mut x, mut y) = (0.0, 0.0);
    for step in 0..LIMIT {
        let (xx, yy) = (x * x, y * y);
        if xx + yy > 4.0 {
            return step;
        }
        y = 2.0 * x * y + imaginary;
        x = xx - yy + real;
    }
    LIMIT
}

/// Newton's iteration: division, square root, conversion.
pub fn float_divide() -> io::Result<Work> {
    Work::compute(STEPS, || {
        let (mut guess, mut sum) = (black_box(1.5f64), 0.0);
        for step in 0..STEPS {
            let target = step as f64 + 2.0;
            guess = (guess + target / guess) * 0.5;
            sum += guess.sqrt();
        }
        sum.to_bits()
    })
}
