//! Registers of the serial port, compared with a twin that is saved and restored.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::serial_16550::run(data));
