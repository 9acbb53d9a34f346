//! Configuration space, regions and negotiation of two virtio functions.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::pci_config::run(data));
