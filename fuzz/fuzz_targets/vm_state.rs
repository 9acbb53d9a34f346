//! Whole saved states of machines.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::vm_state::run(data));
