//! Where the work tree and what is built in it are.

use crate::{process, progress};
use anyhow::{Context, Result};
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

/// Where machines that are started from here have their names, apart from all others on this host: a `YAGURA_DIR`.
pub fn place() -> PathBuf {
    target().join("yagura")
}

/// Builds the monitor as users get it, unless `YAGURA_BINARY` names one: optimized, and linked statically, which
/// makes a smaller process that starts sooner and runs on any distribution. Naming the target keeps the linker
/// flag away from what runs while building.
pub fn build_yagura() -> Result<PathBuf> {
    if let Some(file) = std::env::var_os("YAGURA_BINARY") {
        return Ok(PathBuf::from(file));
    }
    build_static("yagura")
}

/// Builds a package's executable of the same name, optimized and linked statically.
pub fn build_static(package: &str) -> Result<PathBuf> {
    let step = progress::step(format!("building {package}"));
    let triple = host_triple()?;
    let mut build = cargo();
    build.args(["build", "--release", "--quiet", "--package", package, "--target", &triple]);
    process::run(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    step.done();
    Ok(target().join(triple).join("release").join(package))
}

/// Builds the tests of `package` that `target` (`--lib`, `--test NAME`) names and returns their executable.
pub fn build_tests(package: &str, target: &[&str], optimized: bool) -> Result<PathBuf> {
    let step = progress::step(format!("building the tests of {package}"));
    let mut build = cargo();
    build.args(["test", "--no-run", "--quiet", "--package", package]);
    build.args(optimized.then_some(["--profile", "optimized-tests"]).iter().flatten());
    build.args(target).args(["--message-format", "json"]);
    let text = process::output(&mut build)?;
    step.done();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    executable.with_context(|| format!("cargo built no tests of {package}"))
}

/// What rustc calls this machine.
fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = process::output(Command::new(rustc).arg("-vV"))?;
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("rustc does not say which host it is for")?.to_owned())
}

/// The cargo that runs us, at the tree's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
