//! Steps of `test --all` whose tools not every machine has.

use super::tally::Tally;
use super::{cargo, single, tee};
use crate::{bench, packages, process, workspace};
use anyhow::Result;
use std::process::Command;

/// What cargo-deny says where nobody has fetched its database yet. Tests reach no network for it.
const NO_DATABASE: &str = "failed to get 'FETCH_HEAD' metadata";

/// Licences, advisories and duplicates of the dependencies.
pub fn deny(_: bool, tally: &mut Tally) -> Result<()> {
    if process::find("cargo-deny").is_none() {
        tally.skip("deny", "cargo-deny is not installed");
        return Ok(());
    }
    let check = |what: &[&str]| cargo(&[&["deny", "--offline", "--workspace", "check"], what].concat());
    let (text, success) = tee::run_and_tell(&mut check(&["advisories"]))?;
    let ending = if success { Ok(()) } else { Err(anyhow::anyhow!("cargo deny check advisories failed")) };
    let advisories = if !success && text.contains(NO_DATABASE) {
        tally.skip("deny advisories", "their database is not here; cargo deny fetch db gets it");
        Ok(())
    } else {
        single(tally, "deny advisories", ending)
    };
    single(tally, "deny", tee::run(&mut check(&["bans", "licenses", "sources"])).map(drop)).and(advisories)
}

/// Every fuzz target goes through its corpus once.
pub fn fuzz(_: bool, tally: &mut Tally) -> Result<()> {
    let folder = workspace::root().join("fuzz");
    if !folder.join("Cargo.toml").is_file() {
        tally.skip("fuzz", "there are no fuzz targets yet");
        return Ok(());
    }
    if process::find("cargo-fuzz").is_none() {
        tally.skip("fuzz", "cargo-fuzz is not installed");
        return Ok(());
    }
    let fuzz = |arguments: &[&str]| {
        // Cargo sets RUSTUP_TOOLCHAIN for what it runs, which would win over the toolchain named here.
        let mut command = Command::new("cargo");
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").current_dir(workspace::root());
        command.args(["+nightly", "fuzz"]).args(arguments);
        command
    };
    let targets = process::output(&mut fuzz(&["list"]))?;
    let mut last = Ok(());
    for target in targets.split_whitespace() {
        let outcome = tee::run(&mut fuzz(&["run", target, "--", "-runs=0"])).map(drop);
        last = single(tally, &format!("fuzz {target}"), outcome).and(last);
    }
    last
}

/// The benches run, on so few rounds that their figures mean nothing.
pub fn bench(_: bool, tally: &mut Tally) -> Result<()> {
    let mut last = Ok(());
    for (name, outcome) in bench::smoke() {
        match outcome {
            None => tally.skip(name, "/dev/kvm cannot be opened"),
            Some(Err(error)) if error.is::<packages::Missing>() => tally.skip(name, &error.to_string()),
            Some(outcome) => last = single(tally, name, outcome).and(last),
        }
    }
    last
}
