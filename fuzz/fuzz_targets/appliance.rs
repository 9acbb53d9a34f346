//! Appliances and their descriptions.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::appliance::run(data));
