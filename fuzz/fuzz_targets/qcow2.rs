//! qcow2 images.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::qcow2_image::run(data));
