//! States that were written once and are read for ever: kept as files beside what writes them.

use std::path::Path;

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
