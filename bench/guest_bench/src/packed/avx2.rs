//! AVX2 and FMA, of x86-64-v3.

use std::arch::x86_64::*;
use std::hint::black_box;
use std::io;

use super::lanes;
use crate::measure::Work;
use crate::random::Random;

/// 16 KiB of vectors.
const VECTORS: usize = 512;
const LANES: usize = 8;

/// Packed single precision: multiply, add, minimum, maximum, permutation.
pub fn avx2_float() -> io::Result<Work> {
    let (left, right) = (floats(30), floats(31));
    // SAFETY: the list offers this only where the processor has these instructions.
    Work::compute(VECTORS as u64, move || unsafe { blend(black_box(&left), black_box(&right)) })
}

/// Fused multiplication and addition, single precision.
pub fn fma_float() -> io::Result<Work> {
    let (left, right) = (floats(32), floats(33));
    // SAFETY: the list offers this only where the processor has these instructions.
    Work::compute(VECTORS as u64, move || unsafe { fused(black_box(&left), black_box(&right)) })
}

/// Packed integers: add, multiply, shift by variable counts, compare, shuffle.
pub fn avx2_integer() -> io::Result<Work> {
    let (left, right) = (integers(34), integers(35));
    // SAFETY: the list offers this only where the processor has these instructions.
    Work::compute(VECTORS as u64, move || unsafe { mix(black_box(&left), black_box(&right)) })
}

fn floats(seed: u64) -> Vec<[f32; LANES]> {
    let mut random = Random::new(seed);
    (0..VECTORS).map(|_| [(); LANES].map(|()| random.below(2000) as f32 / 64.0 - 10.0)).collect()
}

fn integers(seed: u64) -> Vec<[u32; LANES]> {
    let mut random = Random::new(seed);
    (0..VECTORS).map(|_| [(); LANES].map(|()| random.next() as u32)).collect()
}

#[target_feature(enable = "avx2")]
fn blend(left: &[[f32; LANES]], right: &[[f32; LANES]]) -> u64 {
    let (scale, low, high) = (_mm256_set1_ps(1.5), _mm256_set1_ps(-8.0), _mm256_set1_ps(12.0));
    let mut sum = _mm256_setzero_ps();
    for (x, y) in left.iter().zip(right) {
        let (x, y) = (load_floats(x), load_floats(y));
        let line = _mm256_add_ps(_mm256_mul_ps(x, scale), y);
        let bounded = _mm256_max_ps(_mm256_min_ps(line, high), low);
        let turned = _mm256_permute2f128_ps::<1>(bounded, bounded);
        sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_sub_ps(bounded, turned), x));
    }
    fold(_mm256_castps_si256(sum))
}

#[target_feature(enable = "avx2,fma")]
fn fused(left: &[[f32; LANES]], right: &[[f32; LANES]]) -> u64 {
    let mut sums = [_mm256_set1_ps(1.0); 2];
    for (x, y) in left.iter().zip(right) {
        let (x, y) = (load_floats(x), load_floats(y));
        sums[0] = _mm256_fmadd_ps(x, y, sums[0]);
        sums[1] = _mm256_fnmadd_ps(x, x, sums[1]);
    }
    fold(_mm256_castps_si256(sums[0])) ^ fold(_mm256_castps_si256(sums[1])).rotate_left(1)
}

#[target_feature(enable = "avx2")]
fn mix(left: &[[u32; LANES]], right: &[[u32; LANES]]) -> u64 {
    let counts = _mm256_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15);
    let mut sum = _mm256_setzero_si256();
    for (x, y) in left.iter().zip(right) {
        let (x, y) = (load_integers(x), load_integers(y));
        let products = _mm256_mullo_epi32(x, y);
        let shifted = _mm256_xor_si256(_mm256_sllv_epi32(products, counts), _mm256_srlv_epi32(x, counts));
        let greater = _mm256_cmpgt_epi32(shifted, y);
        let chosen = _mm256_blendv_epi8(shifted, x, greater);
        sum = _mm256_add_epi64(sum, _mm256_shuffle_epi8(chosen, y));
    }
    fold(sum)
}

#[target_feature(enable = "avx2")]
fn load_floats(vector: &[f32; LANES]) -> __m256 {
    // SAFETY: the array is as long as what is loaded.
    unsafe { _mm256_loadu_ps(vector.as_ptr()) }
}

#[target_feature(enable = "avx2")]
fn load_integers(vector: &[u32; LANES]) -> __m256i {
    // SAFETY: the array is as long as what is loaded.
    unsafe { _mm256_loadu_si256(vector.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn fold(vector: __m256i) -> u64 {
    lanes::fold(_mm256_castsi256_si128(vector))
        ^ lanes::fold(_mm256_extracti128_si256::<1>(vector)).rotate_left(32)
}
