//! Archives with OCI images.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::oci_archive::run(data));
