//! Rings and descriptor chains of a hostile driver, against the queue itself.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::virtqueue::run(data));
