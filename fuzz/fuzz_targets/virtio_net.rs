//! Packets and commands of a hostile driver to the network card.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::virtio_net::run(data));
