//! `cargo xtask demo`: from a fresh clone to the shell of a guest.
//!
//! Where KVM has hardware behind it the guest runs right here; otherwise in the lab, whose serial console
//! then carries the guest's console to the user's terminal.

use crate::cache::Cache;
use crate::guests::{self, Guests};
use crate::lab::console::Console;
use crate::lab::guest::LOGIN_SECONDS;
use crate::lab::{self, shell};
use crate::terminal::RawTerminal;
use crate::{packages, process, progress, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Time for the guest to switch itself off.
const END_SECONDS: u64 = 60;

/// How to show it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Type a command for the user, expect its answer, and end.
    #[arg(long)]
    check: bool,
}

/// Prepares everything and ends in the guest's shell.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS, packages::LAB])?;
    let yagura = workspace::build_yagura()?;
    let hardware = has_hardware(&yagura)?;
    let cache = Cache::open()?;
    let guests = guests::prepare(&cache)?;
    if hardware {
        eprintln!("KVM has hardware behind it: the guest runs here. `poweroff` ends it.");
        return run_here(&yagura, &guests, arguments.check);
    }
    eprintln!(
        "KVM has no hardware behind it here: the guest runs in the lab, on an emulated processor. `poweroff` ends it."
    );
    run_in_lab(&cache, yagura, guests, arguments.check)
}

/// What the monitor itself says of this host.
fn has_hardware(yagura: &Path) -> Result<bool> {
    let mut doctor = Command::new(yagura);
    // Its exit status says whether guests can run here, and so is no error of its own.
    let output = doctor.args(["doctor", "-f", "json"]).output().context("cannot run yagura doctor")?;
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("yagura doctor wrote no JSON")?;
    report["kvm"]["hardware"].as_bool().context("yagura doctor does not tell kvm.hardware")
}

fn run_here(yagura: &Path, guests: &Guests, check: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("demo.ext4");
    process::run(Command::new("cp").arg("--sparse=always").arg(&guests.debian).arg(&disk))?;
    let mut command = shell::command(yagura, &guests.bzimage, &guests.initrd, &disk);
    if check {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        return check_shell(&mut child, 1);
    }
    let status = command.status()?;
    ensure!(status.success(), "yagura ended with {status}");
    Ok(())
}

fn run_in_lab(cache: &Cache, yagura: PathBuf, guests: Guests, check: bool) -> Result<()> {
    let material = guests::prepare_lab(cache)?;
    let step = progress::step("starting the lab's machine");
    let (mut machine, slow) = lab::start_shell(&material, yagura, guests)?;
    let child = machine.child();
    if check {
        step.done();
        return check_shell(child, slow);
    }
    let (output, mut input) = pipes(child)?;
    let mut output = BufReader::new(output);
    wait_for(&mut output, shell::MARK)?;
    step.done();
    if !stdin().is_terminal() {
        bail!("this ends in a shell and wants a terminal; --check needs none");
    }
    let terminal = RawTerminal::enter()?;
    // Ends with the process: it waits for a key that may never come.
    std::thread::spawn(move || forward(&mut stdin(), &mut input));
    forward(&mut output, &mut stdout());
    drop(terminal);
    println!();
    Ok(())
}

fn check_shell(child: &mut Child, slow: u32) -> Result<()> {
    let (output, input) = pipes(child)?;
    let mut console = Console::over(output, input);
    let seconds = |count: u64| Duration::from_secs(count * u64::from(slow));
    console.expect(shell::PROMPT, seconds(2 * LOGIN_SECONDS))?;
    let answer = console.command("expr 6 \\* 7", seconds(END_SECONDS))?;
    ensure!(answer == "42", "the guest answered {answer}");
    console.send("poweroff\n")?;
    console.expect_end(seconds(END_SECONDS))?;
    println!("the guest's shell answered, and the guest switched itself off");
    Ok(())
}

fn pipes(child: &mut Child) -> Result<(impl Read + Send + use<>, impl Write + Send + use<>)> {
    let output = child.stdout.take().context("it has no output")?;
    let input = child.stdin.take().context("it has no input")?;
    Ok((output, input))
}

/// Passes over what comes before `mark` and its line's end.
fn wait_for(output: &mut impl BufRead, mark: &str) -> Result<()> {
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        if String::from_utf8_lossy(&line).contains(mark) {
            return Ok(());
        }
        line.clear();
    }
    bail!("the lab's machine ended before the guest began")
}

fn forward(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
            break;
        }
    }
}
