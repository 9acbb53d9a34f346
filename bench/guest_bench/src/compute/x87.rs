//! x87: 80-bit arithmetic.

use std::arch::asm;
use std::hint::black_box;
use std::io;

use crate::measure::Work;

const STEPS: u64 = 1000;
/// Start, factor, addend.
const NUMBERS: [f64; 3] = [0.75, 1.25, 0.5];

/// Multiplication, addition, square root and division on the stack.
pub fn x87() -> io::Result<Work> {
    Work::compute(STEPS, || {
        let result = chain(black_box(&NUMBERS));
        let (low, high) = result.split_at(8);
        low.iter().chain(high).fold(0, |sum: u64, byte| sum.rotate_left(8) ^ u64::from(*byte))
    })
}

/// `x = sqrt(x * factor + addend) + addend / x`, so many times; the last as 80 bits.
fn chain(numbers: &[f64; 3]) -> [u8; 10] {
    let mut result = [0; 10];
    // SAFETY: it reads the three numbers and writes ten bytes; it leaves the x87 stack as empty as it found it.
    unsafe {
        asm!(
            "fld qword ptr [{numbers}]",
            "2:",
            "fld st(0)",
            "fmul qword ptr [{numbers} + 8]",
            "fadd qword ptr [{numbers} + 16]",
            "fsqrt",
            "fxch st(1)",
            "fdivr qword ptr [{numbers} + 16]",
            "faddp st(1), st",
            "dec {steps}",
            "jnz 2b",
            "fstp tbyte ptr [{result}]",
            numbers = in(reg) numbers,
            result = in(reg) &raw mut result,
            steps = inout(reg) STEPS => _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_settles_at_the_fixed_point() {
        let bytes = chain(&NUMBERS);
        let mantissa = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let exponent = i32::from(u16::from_le_bytes([bytes[8], bytes[9]])) - 16383;
        let value = mantissa as f64 / 2f64.powi(63 - exponent);
        let next = (value * NUMBERS[1] + NUMBERS[2]).sqrt() + NUMBERS[2] / value;
        assert!((next - value).abs() < 1e-12, "{value} {next}");
    }
}
