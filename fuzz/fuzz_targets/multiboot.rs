//! Multiboot kernels of both versions.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::kernel_image::run(data));
