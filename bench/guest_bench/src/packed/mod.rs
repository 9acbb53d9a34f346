//! Vector instructions, by intrinsics.

pub mod avx2;
mod lanes;
pub mod sse;
