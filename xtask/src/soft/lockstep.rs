//! Debian's cloud kernel to a busybox `init` with every unit of translated code compared with the interpreter
//! (`yagura run --jit check`).

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::bench::boot;
use crate::bench::contestant::{self, Contestant, FAST_COMMAND_LINE, Guest, Lines};
use crate::cache::Cache;
use crate::guests::{self, Guests};
use crate::{demo, packages, progress, workspace};

/// Time for the guest to come up and switch itself off.
const PATIENCE: Duration = Duration::from_secs(600);
/// How the line begins that tells what was compared.
const COUNT: &str = "lockstep:";

/// Boots the guest and prints what was compared.
pub fn hold(cpus: u32) -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS])?;
    let arguments = vec!["--jit".to_owned(), "check".to_owned()];
    let yagura = Contestant::Yagura { binary: workspace::build_yagura()?, arguments };
    let cache = Cache::open()?;
    let folder = tempfile::tempdir()?;
    let initrd = folder.path().join("initrd");
    fs::write(&initrd, boot::archive(&guests::busybox(&cache)?)?)?;
    let kernel = guests::cloud_kernel(&cache)?.vmlinux();
    let step = progress::step("lockstep of translator and interpreter, from the kernel's start to init");
    let guest = Guest { kernel: &kernel, initrd: &initrd, command_line: FAST_COMMAND_LINE, cpus };
    let mut command = yagura.command(&guest);
    command.env("YAGURA_LOG", "warn");
    let deadline = contestant::within(PATIENCE);
    let mut lines = Lines::start(command)?;
    let mut errors = lines.take_errors().context("the monitor has no standard error")?;
    let mut is_up = false;
    while let Some((_, line)) = lines.next(deadline)? {
        is_up |= line.contains(boot::MARKER);
    }
    let ending = lines.finish(deadline);
    let mut told = String::new();
    errors.read_to_string(&mut told).context("what the monitor told cannot be read")?;
    ending.with_context(|| told.clone())?;
    ensure!(is_up, "init did not come up\n{told}");
    step.done();
    println!("{}", count(&told)?);
    Ok(())
}

/// How many times as long as usual a guest takes.
pub const SLOWNESS: u64 = 5;

/// The monitor's command for Debian, with all units compared and what it tells to be read.
pub fn debian(yagura: &Path, guests: &Guests, disk: &Path, cpus: u32) -> Command {
    // So slow that its services would seem to have failed.
    let patient = "systemd.default_timeout_start_sec=3000 systemd.default_device_timeout_sec=3000";
    let mut command = demo::guest_told(yagura, guests, disk, cpus, patient);
    command.args(["--jit", "check"]).env("YAGURA_LOG", "warn").stderr(Stdio::piped());
    command
}

/// Reads what the monitor tells.
pub fn listen(mut errors: ChildStderr) -> JoinHandle<io::Result<String>> {
    thread::spawn(move || {
        let mut told = String::new();
        errors.read_to_string(&mut told).map(|_| told)
    })
}

/// What [`listen`] has read, once the monitor has ended.
pub fn told(listener: JoinHandle<io::Result<String>>) -> Result<String> {
    let told = listener.join().map_err(|_| anyhow!("the thread that reads has ended badly"))?;
    told.context("what the monitor told cannot be read")
}

/// The line that says what was compared.
pub fn count(told: &str) -> Result<&str> {
    let found = told.lines().rev().find_map(|line| line.find(COUNT).map(|at| &line[at..]));
    found.context("the monitor did not tell what it has compared")
}
