//! Arrays to vector registers and back.

use std::arch::x86_64::*;

use crate::random::digest;

/// Loads four numbers.
#[target_feature(enable = "sse2")]
pub fn load_floats(vector: &[f32; 4]) -> __m128 {
    // SAFETY: the array is as long as what is loaded.
    unsafe { _mm_loadu_ps(vector.as_ptr()) }
}

/// Loads two numbers.
#[target_feature(enable = "sse2")]
pub fn load_doubles(vector: &[f64; 2]) -> __m128d {
    // SAFETY: the array is as long as what is loaded.
    unsafe { _mm_loadu_pd(vector.as_ptr()) }
}

/// Loads sixteen bytes.
#[target_feature(enable = "sse2")]
pub fn load(vector: &[u32; 4]) -> __m128i {
    // SAFETY: the array is as long as what is loaded.
    unsafe { _mm_loadu_si128(vector.as_ptr().cast()) }
}

/// Stores four numbers.
#[target_feature(enable = "sse2")]
pub fn store_floats(to: &mut [f32; 4], vector: __m128) {
    // SAFETY: the array is as long as what is stored.
    unsafe { _mm_storeu_ps(to.as_mut_ptr(), vector) };
}

/// Stores sixteen bytes.
#[target_feature(enable = "sse2")]
pub fn store(to: &mut [u32; 4], vector: __m128i) {
    // SAFETY: the array is as long as what is stored.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), vector) };
}

/// A vector's two halves as one number.
#[target_feature(enable = "sse2")]
pub fn fold(vector: __m128i) -> u64 {
    let high = _mm_unpackhi_epi64(vector, vector);
    digest([_mm_cvtsi128_si64(vector) as u64, _mm_cvtsi128_si64(high) as u64])
}
