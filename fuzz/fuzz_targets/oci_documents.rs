//! Manifests, configurations and names of OCI images.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::oci_documents::run(data));
