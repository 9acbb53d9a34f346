//! The soft engine: guest code in software, where there is no hardware virtualization.
#![forbid(unsafe_code)]

mod platform;
#[doc(hidden)]
pub mod softfloat;
