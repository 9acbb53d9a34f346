//! Files of boot loaders.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::guest_disk::run_boot_files(data));
