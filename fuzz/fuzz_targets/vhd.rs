//! VHD images.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::foreign_image::run_vhd(data));
