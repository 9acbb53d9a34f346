//! Archives of snapshots.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yagura_fuzz::snapshot_archive::run(data));
