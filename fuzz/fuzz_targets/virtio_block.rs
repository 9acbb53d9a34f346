//! Requests of a hostile driver to the block device.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::virtio_block::run(data));
