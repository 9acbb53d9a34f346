//! Where the work tree and what is built in it are.

use std::path::{Path, PathBuf};

/// The work tree's root: the folder above this crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The monitor as users get it, or the one that `YAGURA_BINARY` names.
pub fn yagura() -> PathBuf {
    match std::env::var_os("YAGURA_BINARY") {
        Some(file) => PathBuf::from(file),
        None => target().join("release/yagura"),
    }
}
