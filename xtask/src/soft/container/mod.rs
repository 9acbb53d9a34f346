//! Machines made of containers' images: what an image says of its process holds in the guest as with runc and Docker.
//!
//! Each case is an image made here, of one layer with busybox, and is started as a person would start it.

mod archive;
mod cases;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::cache::Cache;
use crate::{guests, packages, process, progress, workspace};
use cases::{CASES, Case, Press};

/// Its name.
pub const NAME: &str = "containers";
/// A line about it.
pub const ABOUT: &str = "users, words, environment, signals and exit statuses of containers' images";

/// Time for a machine to come to its end.
const END: Duration = Duration::from_secs(120);
/// What a command that waits for the power button writes first.
const READY: &str = "ready";

/// Imports and starts an image for each case.
pub fn hold() -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS])?;
    let yagura = workspace::build_yagura()?;
    let busybox = fs::read(guests::busybox(&Cache::open()?)?).context("busybox cannot be read")?;
    let folder = tempfile::tempdir()?;
    for case in CASES {
        let step = progress::step(format!("container: {}", case.name));
        check(&yagura, folder.path(), &busybox, case).with_context(|| format!("case {}", case.name))?;
        step.done();
    }
    Ok(())
}

fn check(yagura: &Path, place: &Path, busybox: &[u8], case: &Case) -> Result<()> {
    let archive = place.join(format!("{}.tar", case.name));
    fs::write(&archive, archive::image(case.config, case.tree, busybox)?)?;
    let command = || {
        let mut command = process::bound_to_us(yagura);
        command.env("YAGURA_DIR", place.join("store")).env("HOME", place).current_dir(place);
        command
    };
    process::run(command().args(["image", "import", "--format", "oci", "--alias", case.name]).arg(&archive))?;
    // A second start is like the first.
    for start in 1..=case.starts {
        let mut run = command();
        run.args(["run", "--image", case.name, "--name", case.name, "--engine", "soft", "--net", "none"]);
        let (printed, status) = run_to_the_end(&mut run, place, case)?;
        let expected = case.printed.join("\n");
        ensure!(printed.trim() == expected, "start {start} printed\n{printed}\nand not\n{expected}");
        ensure!(status == Some(case.status), "start {start} ended with {status:?}, not {}", case.status);
    }
    Ok(())
}

/// What the machine writes to its console, and its exit status.
fn run_to_the_end(command: &mut Command, place: &Path, case: &Case) -> Result<(String, Option<i32>)> {
    let console = place.join("console");
    let _ = fs::remove_file(&console);
    command.arg("--console").arg(format!("file={}", console.display())).stdin(Stdio::null());
    let mut child = process::Ended::of(command.spawn()?);
    let pid = Pid::from_raw(child.id() as i32).context("a process without a number")?;
    let started = Instant::now();
    let mut pressed = case.press == Press::Never;
    loop {
        let printed = fs::read(&console).unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed).replace("\r\n", "\n");
        if let Some(status) = child.try_wait()? {
            return Ok((printed, status.code()));
        }
        if !pressed && printed.contains(READY) {
            kill_process(pid, Signal::TERM)?;
            pressed = true;
        }
        if started.elapsed() > END {
            child.kill()?;
            bail!("it does not end; so far it has printed\n{printed}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
