//! Images of disks with structures changed.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::guest_disk::run(data));
