//! SHA-256 in scalar code. FIPS 180-4, section 6.2.

use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::Random;

const BLOCK_BYTES: usize = 64;
const BLOCKS: usize = 32;

/// Digests 2 KiB.
pub fn sha256() -> io::Result<Work> {
    let data = Random::new(13).bytes(BLOCKS * BLOCK_BYTES);
    Work::compute(BLOCKS as u64, move || {
        let state = blocks(black_box(&data));
        u64::from(state[0]) << 32 | u64::from(state[7])
    })
}

/// The state after whole blocks.
fn blocks(data: &[u8]) -> [u32; 8] {
    data.chunks_exact(BLOCK_BYTES).fold(INITIAL, compress)
}

fn compress(state: [u32; 8], block: &[u8]) -> [u32; 8] {
    let mut schedule = [0u32; 64];
    for (word, bytes) in schedule.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for at in 16..64 {
        let (w15, w2) = (schedule[at - 15], schedule[at - 2]);
        let s0 = w15.rotate_right(7) ^ w15.rotate_right(18) ^ (w15 >> 3);
        let s1 = w2.rotate_right(17) ^ w2.rotate_right(19) ^ (w2 >> 10);
        schedule[at] = schedule[at - 16].wrapping_add(s0).wrapping_add(schedule[at - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    for (word, constant) in schedule.iter().zip(CONSTANTS) {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let first = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(constant).wrapping_add(*word);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(s0).wrapping_add(majority));
    }
    let mut next = state;
    for (word, add) in next.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
    next
}

/// Section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes.
const CONSTANTS: [u32; 64] = constants();

/// The cube roots, found by bisection in integers of 128 bits: floor(cbrt(p) * 2^32) is the greatest r with
/// r^3 <= p * 2^96.
const fn constants() -> [u32; 64] {
    let mut constants = [0; 64];
    let (mut prime, mut count) = (2u128, 0);
    while count < 64 {
        if is_prime(prime) {
            constants[count] = cube_root_fraction(prime);
            count += 1;
        }
        prime += 1;
    }
    constants
}

const fn is_prime(number: u128) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    true
}

const fn cube_root_fraction(prime: u128) -> u32 {
    // The root is below 8, so that r < 2^35 and r^3 < 2^105.
    let (mut low, mut high) = (0u128, 1u128 << 35);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if middle * middle * middle <= prime << 96 {
            low = middle;
        } else {
            high = middle;
        }
    }
    low as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_the_examples_of_the_standard() {
        let mut block = [0; 64];
        block[..4].copy_from_slice(b"abc\x80");
        block[63] = 24;
        let hex: String = blocks(&block).iter().map(|word| format!("{word:08x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
