//! A compressor of the LZ77 kind: matches found by a hash of four bytes.
//!
//! A token is the count of literals and the length of a match, a byte each; the literals follow, then the distance
//! of the match in two bytes. A match of no length ends the data.

use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::{Random, digest};

const DATA_BYTES: usize = 16 << 10;
const TABLE_BITS: u32 = 12;
const MATCH_MIN: usize = 4;
const MATCH_MAX: usize = 255;
const LITERALS_MAX: usize = 255;

/// Compresses text that was made up.
pub fn lz_compress() -> io::Result<Work> {
    let data = text();
    let mut packed = Vec::with_capacity(DATA_BYTES * 2);
    Work::compute(DATA_BYTES as u64, move || {
        packed.clear();
        compress(black_box(&data), &mut packed);
        digest(packed.iter().step_by(61).map(|byte| u64::from(*byte))) ^ packed.len() as u64
    })
}

/// Decompresses it.
pub fn lz_decompress() -> io::Result<Work> {
    let (mut packed, mut data) = (Vec::new(), Vec::with_capacity(DATA_BYTES));
    compress(&text(), &mut packed);
    Work::compute(DATA_BYTES as u64, move || {
        data.clear();
        decompress(black_box(&packed), &mut data);
        digest(data.iter().step_by(61).map(|byte| u64::from(*byte))) ^ data.len() as u64
    })
}

/// Words, of which some are far more frequent than others.
fn text() -> Vec<u8> {
    let mut random = Random::new(11);
    let word = |random: &mut Random| -> Vec<u8> {
        (0..2 + random.below(8)).map(|_| b'a' + random.below(26) as u8).collect()
    };
    let words: Vec<Vec<u8>> = (0..512).map(|_| word(&mut random)).collect();
    let mut text = Vec::with_capacity(DATA_BYTES + 16);
    while text.len() < DATA_BYTES {
        let bound = 1 + random.below(words.len());
        text.extend_from_slice(&words[random.below(bound)]);
        text.push(b' ');
    }
    text.truncate(DATA_BYTES);
    text
}

fn compress(data: &[u8], out: &mut Vec<u8>) {
    let mut table = [0u16; 1 << TABLE_BITS];
    let (mut at, mut literals) = (0, 0);
    while at + MATCH_MIN <= data.len() {
        let slot = &mut table[hash(&data[at..])];
        let candidate = usize::from(*slot);
        *slot = at as u16;
        let length = if candidate < at { match_length(data, candidate, at) } else { 0 };
        if length < MATCH_MIN {
            at += 1;
            if at - literals == LITERALS_MAX {
                token(out, &data[literals..at], None);
                literals = at;
            }
            continue;
        }
        token(out, &data[literals..at], Some((length, at - candidate)));
        at += length;
        literals = at;
    }
    for rest in data[literals..].chunks(LITERALS_MAX) {
        token(out, rest, None);
    }
}

fn hash(data: &[u8]) -> usize {
    let word = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize
}

fn match_length(data: &[u8], from: usize, at: usize) -> usize {
    let pairs = data[from..].iter().zip(&data[at..]).take(MATCH_MAX);
    pairs.take_while(|(one, other)| one == other).count()
}

/// A match is its length and its distance.
fn token(out: &mut Vec<u8>, literals: &[u8], copied: Option<(usize, usize)>) {
    let (length, distance) = copied.unwrap_or((0, 0));
    out.extend([literals.len() as u8, length as u8]);
    out.extend_from_slice(literals);
    if length > 0 {
        out.extend((distance as u16).to_le_bytes());
    }
}

fn decompress(mut packed: &[u8], out: &mut Vec<u8>) {
    while let [literals, length, rest @ ..] = packed {
        let (literals, rest) = rest.split_at(usize::from(*literals));
        out.extend_from_slice(literals);
        packed = rest;
        if let (1.., [low, high, rest @ ..]) = (*length, rest) {
            let from = out.len() - usize::from(u16::from_le_bytes([*low, *high]));
            // A match may overlap what it makes.
            (from..from + usize::from(*length)).for_each(|at| out.push(out[at]));
            packed = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let repeated = [b"abcabcabcabcabc".as_slice(), &[0; 700], &Random::new(12).bytes(600)].concat();
        for data in [text(), repeated, b"abc".to_vec(), vec![]] {
            let (mut packed, mut back) = (Vec::new(), Vec::new());
            compress(&data, &mut packed);
            decompress(&packed, &mut back);
            assert_eq!(back, data);
        }
    }

    #[test]
    fn text_gets_smaller() {
        let mut packed = Vec::new();
        compress(&text(), &mut packed);
        assert!(packed.len() < DATA_BYTES * 3 / 4, "{}", packed.len());
    }
}
