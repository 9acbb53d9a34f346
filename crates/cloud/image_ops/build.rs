//! Builds the first process of machines that are made of OCI images: static, since such an image may hold nothing but one
//! program, and small. It becomes a part of this crate.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// The package, and the program in it.
const PACKAGE: &str = "oci_init";

fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name: &str| env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"));
    println!("cargo:rerun-if-changed=../../guest/{PACKAGE}");
    println!("cargo:rerun-if-changed=build.rs");
    let output = PathBuf::from(variable("OUT_DIR")?);
    let target = variable("TARGET")?;
    // A folder of its own: cargo holds the lock of the other one.
    let folder = output.join("target");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.args(["build", "--quiet", "--release", "--package", PACKAGE, "--bin", PACKAGE]);
    cargo.arg("--target").arg(&target).arg("--target-dir").arg(&folder);
    // What clippy, coverage or a cross build want of this crate is not for that program.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PROFILE_") || NOT_INHERITED.contains(&&*name_text) {
            cargo.env_remove(&name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    for (name, value) in [("PANIC", "abort"), ("OPT_LEVEL", "s"), ("STRIP", "symbols"), ("LTO", "fat")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("{PACKAGE} cannot be built: {status}").into());
    }
    let program: PathBuf =
        [folder.into_os_string(), target, OsString::from("release"), OsString::from(PACKAGE)]
            .iter()
            .collect();
    std::fs::copy(program, output.join(PACKAGE))?;
    Ok(())
}

const NOT_INHERITED: [&str; 6] = [
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
];
