//! The catalogue of images, and lists of checksums.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::catalogue::run(data));
