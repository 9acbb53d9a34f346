//! States that were written once and are read for ever: kept as files beside what writes them.

use std::path::Path;

use device_model::AnySnapshot;

/// Checks that `bytes` are those of the file at `path`. A file that is not there yet is written, and the test fails: what
/// is in it is to be looked at, and kept.
///
/// # Panics
/// They are not.
pub fn check(path: &str, bytes: &[u8]) {
    if !Path::new(path).exists() {
        std::fs::create_dir_all(Path::new(path).parent().expect("a folder")).expect("a folder for the file");
        std::fs::write(path, bytes).expect("the file is written");
        panic!("{path} was missing and is written now: keep it");
    }
    assert_eq!(
        bytes,
        std::fs::read(path).expect("the file is read"),
        "{path}: what is written under a version never changes; a changed state takes the next version"
    );
}

/// Checks that `device`, which was brought into a state that no device begins in, writes the state in the file at `path`,
/// and that `fresh`, another device like it, comes to be in the same state by it.
///
/// # Panics
/// One of them does not.
pub fn check_device(path: &str, device: &dyn AnySnapshot, fresh: &mut dyn AnySnapshot) {
    let state = |device: &dyn AnySnapshot| device.save_bytes().expect("it can be saved").expect("it has state");
    let bytes = state(device);
    check(path, &bytes);
    assert_ne!(state(fresh), bytes, "{path}: a fresh device is in this state already");
    fresh.restore_bytes(&bytes).expect("what was written is read");
    assert_eq!(state(fresh), bytes, "{path}: what was read is something else");
}
