//! SSE and SSE2, which every x86-64 has, and SSSE3 with SSE4.1 of x86-64-v2.

use std::arch::x86_64::*;
use std::hint::black_box;
use std::io;

use super::lanes::{fold, load, load_doubles, load_floats, store, store_floats};
use crate::measure::Work;
use crate::random::Random;

/// 16 KiB of vectors in and as many out.
const VECTORS: usize = 1024;

type Floats = [f32; 4];
type Integers = [u32; 4];

/// Packed single precision: multiply, add, minimum, maximum, shuffle.
pub fn float_packed() -> io::Result<Work> {
    let mut random = Random::new(20);
    let mut vectors = || -> Vec<Floats> {
        (0..VECTORS).map(|_| [(); 4].map(|()| random.below(2000) as f32 / 64.0 - 10.0)).collect()
    };
    let (left, right, mut out) = (vectors(), vectors(), vectors());
    Work::compute(VECTORS as u64, move || {
        // SAFETY: every x86-64 has SSE2.
        unsafe { floats(black_box(&left), black_box(&right), &mut out) }
    })
}

#[target_feature(enable = "sse2")]
fn floats(left: &[Floats], right: &[Floats], out: &mut [Floats]) -> u64 {
    let (scale, low, high) = (_mm_set1_ps(1.5), _mm_set1_ps(-8.0), _mm_set1_ps(12.0));
    let mut sum = _mm_setzero_ps();
    for ((x, y), out) in left.iter().zip(right).zip(&mut *out) {
        let x = load_floats(x);
        let line = _mm_add_ps(_mm_mul_ps(x, scale), load_floats(y));
        let bounded = _mm_max_ps(_mm_min_ps(line, high), low);
        let difference = _mm_sub_ps(bounded, _mm_shuffle_ps::<0b01_00_11_10>(bounded, bounded));
        store_floats(out, difference);
        sum = _mm_add_ps(sum, _mm_mul_ps(difference, x));
    }
    fold(_mm_castps_si128(sum)) ^ fold(_mm_castps_si128(load_floats(&out[VECTORS / 3])))
}

/// Packed double precision: multiply, add, square root, divide.
pub fn double_packed() -> io::Result<Work> {
    let mut random = Random::new(21);
    let mut number = || random.below(2000) as f64 / 64.0 + 1.0;
    let vectors: Vec<[f64; 2]> = (0..VECTORS).map(|_| [number(), number()]).collect();
    // SAFETY: every x86-64 has SSE2.
    Work::compute(VECTORS as u64, move || unsafe { doubles(black_box(&vectors)) })
}

#[target_feature(enable = "sse2")]
fn doubles(vectors: &[[f64; 2]]) -> u64 {
    let mut sum = _mm_setzero_pd();
    for x in vectors {
        let x = load_doubles(x);
        let root = _mm_sqrt_pd(_mm_add_pd(x, _mm_mul_pd(x, x)));
        sum = _mm_add_pd(sum, _mm_div_pd(x, root));
    }
    fold(_mm_castpd_si128(sum))
}

/// Packed integers: add, shift, multiply and add, compare, pack.
pub fn integer_packed() -> io::Result<Work> {
    let (left, right, mut out) = (integers(22), integers(23), integers(24));
    Work::compute(VECTORS as u64, move || {
        // SAFETY: every x86-64 has SSE2.
        unsafe { mix(black_box(&left), black_box(&right), &mut out) }
    })
}

fn integers(seed: u64) -> Vec<Integers> {
    let mut random = Random::new(seed);
    (0..VECTORS).map(|_| [(); 4].map(|()| random.next() as u32)).collect()
}

#[target_feature(enable = "sse2")]
fn mix(left: &[Integers], right: &[Integers], out: &mut [Integers]) -> u64 {
    let mut sum = _mm_setzero_si128();
    for ((x, y), out) in left.iter().zip(right).zip(&mut *out) {
        let (x, y) = (load(x), load(y));
        let products = _mm_madd_epi16(x, y);
        let shifted = _mm_xor_si128(_mm_slli_epi32::<7>(products), _mm_srli_epi32::<9>(products));
        let greater = _mm_cmpgt_epi32(shifted, x);
        let chosen = _mm_or_si128(_mm_and_si128(greater, y), _mm_andnot_si128(greater, shifted));
        let packed = _mm_packs_epi32(chosen, _mm_unpacklo_epi32(x, y));
        store(out, packed);
        sum = _mm_add_epi64(sum, _mm_add_epi32(packed, chosen));
    }
    fold(sum) ^ fold(load(&out[VECTORS / 3]))
}

/// Bytes: a table look-up by `pshufb`, comparison and the mask of it, as in decoders of text.
pub fn bytes_packed() -> io::Result<Work> {
    let (vectors, mut out) = (integers(25), integers(26));
    Work::compute(VECTORS as u64, move || {
        // SAFETY: the list offers this only where the processor has these instructions.
        unsafe { translate(black_box(&vectors), &mut out) }
    })
}

#[target_feature(enable = "ssse3,sse4.1")]
fn translate(vectors: &[Integers], out: &mut [Integers]) -> u64 {
    let digits = _mm_setr_epi8(48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 97, 98, 99, 100, 101, 102);
    let (nibble, letter) = (_mm_set1_epi8(15), _mm_set1_epi8(96));
    let mut found = 0u64;
    for (vector, out) in vectors.iter().zip(&mut *out) {
        let vector = load(vector);
        let low = _mm_shuffle_epi8(digits, _mm_and_si128(vector, nibble));
        let high = _mm_shuffle_epi8(digits, _mm_and_si128(_mm_srli_epi16::<4>(vector), nibble));
        let text = _mm_blendv_epi8(_mm_unpacklo_epi8(high, low), _mm_min_epu8(high, low), vector);
        store(out, text);
        let letters = _mm_movemask_epi8(_mm_cmpgt_epi8(text, letter));
        found = found.rotate_left(5) ^ u64::from(letters as u32);
    }
    found ^ fold(load(&out[VECTORS / 3]))
}
