//! Where the work tree and what is built in it are.

use crate::{process, progress};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Builds the monitor as users get it, unless `YAGURA_BINARY` names one.
pub fn build_yagura() -> Result<PathBuf> {
    if let Some(file) = std::env::var_os("YAGURA_BINARY") {
        return Ok(PathBuf::from(file));
    }
    let step = progress::step("building yagura");
    process::run(cargo().args(["build", "--release", "--quiet", "--package", "yagura"]))?;
    step.done();
    Ok(target().join("release/yagura"))
}

/// The cargo that runs us, at the tree's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
