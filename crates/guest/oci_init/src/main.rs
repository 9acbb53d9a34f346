//! The program: process 1 of the machine and, under another first word, what becomes the image's command.

mod failure;
mod files;
mod mounts;
mod network;
mod power;
mod start;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use oci_init::{FOLDER, PROCESS_FILE, Process, status};
use rustix::thread::UnshareFlags;

use failure::{Failure, IntoFailure};

/// The first words that make this program something else than process 1.
const ENTER: &str = "enter";
const START: &str = "start";

fn main() {
    let status = |ended: Result<u8, Failure>| {
        ended.unwrap_or_else(|failure| {
            say(&failure.what);
            failure.status
        })
    };
    match std::env::args().nth(1).as_deref() {
        Some(START) => std::process::exit(status(Err(start::start())).into()),
        Some(ENTER) => std::process::exit(status(enter()).into()),
        _ => {
            let mounted = mounts::mount_system();
            let port = power::exit_port();
            power::end(status(mounted.and_then(|()| run())), port)
        }
    }
}

/// Makes the machine ready, and waits for the command; its exit status.
fn run() -> Result<u8, Failure> {
    let process = process()?;
    let hostname = mounts::hostname();
    files::make_place();
    network::start();
    files::write_etc(&hostname);
    files::make_folders(&process);
    mounts::protect_sys();
    let mut child = own_program(ENTER).stdout(Stdio::piped()).spawn().or_fail("start a process")?;
    let mut pid = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut pid).or_fail("start a process")?;
    }
    if let Ok(pid) = pid.trim().parse() {
        power::watch_button(pid, process.stop_signal);
    }
    child.wait().map(as_number).or_fail("wait for the command")
}

/// Starts the command as process 1 of its own process namespace, as programs such as s6 want it; when it ends, the
/// kernel ends all others of it. This process stays outside, says the command's number, and ends as it does.
fn enter() -> Result<u8, Failure> {
    #[expect(
        deprecated,
        reason = "its danger is in flags that share less with other threads; there are none"
    )]
    rustix::thread::unshare(UnshareFlags::NEWPID).or_fail("make a process namespace")?;
    let mut child = own_program(START).stdout(Stdio::null()).spawn().or_fail("start a process")?;
    println!("{}", child.id());
    child.wait().map(as_number).or_fail("wait for the command")
}

/// As shells and Docker count: a signal is 128 more.
fn as_number(ended: ExitStatus) -> u8 {
    let signal = || ended.signal().map_or(status::NOT_READY, |signal| status::SIGNAL + signal as u8);
    ended.code().map_or_else(signal, |code| code as u8)
}

fn process() -> Result<Process, Failure> {
    let bytes = std::fs::read(PROCESS_FILE).or_fail("read what to execute")?;
    Process::decode(&bytes).ok_or_else(|| Failure::not_ready(format!("{PROCESS_FILE} is damaged")))
}

/// This program again.
fn own_program(word: &str) -> Command {
    let mut command = Command::new(Path::new(FOLDER).join("init"));
    command.arg(word);
    command
}

/// A program of ours: busybox, under one of its names.
fn tool(name: &str) -> Command {
    let mut command = Command::new(Path::new(FOLDER).join("busybox"));
    command.arg(name);
    command
}

/// A line on the console.
fn say(what: &str) {
    eprintln!("yagura: {what}");
}
