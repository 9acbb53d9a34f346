//! Layers of OCI images.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::image_layers::run(data));
