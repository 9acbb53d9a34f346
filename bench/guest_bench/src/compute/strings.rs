//! String instructions: `rep movsb`, `rep movsq`, `rep stosb`.

use std::arch::asm;
use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::Random;

const SMALL_BYTES: usize = 48;
const SMALL_COPIES: usize = 256;
const LARGE_BYTES: usize = 64 << 10;
/// Bytes looked at after a round, so that looking costs little.
const SAMPLE_STEP: usize = 4097;

/// An instruction that copies or fills whole quadwords or bytes.
type Move = fn(&[u8], &mut [u8]);

/// `rep movsb` of 48 bytes.
pub fn movsb_small() -> io::Result<Work> {
    small(movsb)
}

/// `rep movsb` of 64 KiB.
pub fn movsb_large() -> io::Result<Work> {
    large(movsb)
}

/// `rep movsq` of 48 bytes.
pub fn movsq_small() -> io::Result<Work> {
    small(movsq)
}

/// `rep movsq` of 64 KiB.
pub fn movsq_large() -> io::Result<Work> {
    large(movsq)
}

/// `rep stosb` of 48 bytes.
pub fn stosb_small() -> io::Result<Work> {
    small(stosb)
}

/// `rep stosb` of 64 KiB.
pub fn stosb_large() -> io::Result<Work> {
    large(stosb)
}

fn small(instruction: Move) -> io::Result<Work> {
    let from = Random::new(6).bytes(SMALL_BYTES * SMALL_COPIES);
    let mut to = vec![0; from.len()];
    Work::compute(SMALL_COPIES as u64, move || {
        let pieces = from.chunks_exact(SMALL_BYTES).zip(to.chunks_exact_mut(SMALL_BYTES));
        pieces.fold(0, |sum: u64, (from, to)| {
            to[SMALL_BYTES - 1] = 0;
            instruction(black_box(from), to);
            sum.rotate_left(7) ^ u64::from(to[SMALL_BYTES - 1]) ^ u64::from(to[0]) << 8
        })
    })
}

fn large(instruction: Move) -> io::Result<Work> {
    let from = Random::new(7).bytes(LARGE_BYTES);
    let mut to = vec![0; LARGE_BYTES];
    Work::compute(1, move || {
        to.iter_mut().step_by(SAMPLE_STEP).for_each(|byte| *byte = 0);
        instruction(black_box(&from), black_box(&mut to));
        to.iter().step_by(SAMPLE_STEP).fold(0, |sum, byte| sum.rotate_left(7) ^ u64::from(*byte))
    })
}

fn movsb(from: &[u8], to: &mut [u8]) {
    assert_eq!(from.len(), to.len());
    // SAFETY: both slices are this long.
    unsafe {
        asm!("rep movsb", inout("rcx") to.len() => _, inout("rsi") from.as_ptr() => _,
            inout("rdi") to.as_mut_ptr() => _, options(nostack, preserves_flags));
    }
}

fn movsq(from: &[u8], to: &mut [u8]) {
    assert_eq!(from.len(), to.len());
    // SAFETY: both slices are this long, or up to seven bytes longer.
    unsafe {
        asm!("rep movsq", inout("rcx") to.len() / 8 => _, inout("rsi") from.as_ptr() => _,
            inout("rdi") to.as_mut_ptr() => _, options(nostack, preserves_flags));
    }
}

fn stosb(from: &[u8], to: &mut [u8]) {
    // SAFETY: the slice is this long.
    unsafe {
        asm!("rep stosb", inout("rcx") to.len() => _, inout("rdi") to.as_mut_ptr() => _, in("al") from[0],
            options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_move_every_byte() {
        let from = Random::new(8).bytes(64);
        for copy in [movsb as Move, movsq] {
            let mut to = vec![0; 64];
            copy(&from, &mut to);
            assert_eq!(to, from);
        }
        let mut to = vec![0; 64];
        stosb(&from, &mut to);
        assert_eq!(to, [from[0]; 64]);
    }
}
