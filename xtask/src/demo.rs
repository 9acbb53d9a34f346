//! `cargo xtask demo`: from a fresh clone to the shell of a guest, right on this machine.
//!
//! The monitor itself chooses the engine: KVM where hardware stands behind it, else its own.

use crate::cache::Cache;
use crate::guests::{self, Guests};
use crate::lab::console::Console;
use crate::{packages, process, workspace};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the guest's shell writes when it wants a command.
pub const PROMPT: &str = ":~#";
/// Time for the guest to come up, in software on a busy machine too.
pub const LOGIN_SECONDS: u64 = 600;
/// Time for the guest to answer, and to switch itself off.
pub const END_SECONDS: u64 = 120;

/// What its kernel is told.
pub const COMMAND_LINE: &str = "console=ttyS0 root=/dev/vda guest.autologin quiet systemd.show_status=1 mitigations=off \
    tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=on";

/// How to show it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Type a command for the user, expect its answer, and end.
    #[arg(long)]
    check: bool,
}

/// Prepares everything and ends in the guest's shell.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS])?;
    let yagura = workspace::build_yagura()?;
    let guests = guests::prepare(&Cache::open()?)?;
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("demo.ext4");
    process::run(Command::new("cp").arg("--sparse=always").arg(&guests.debian).arg(&disk))?;
    let mut command = guest(&yagura, &guests, &disk, 1);
    if arguments.check {
        return check_shell(&mut command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    }
    eprintln!("Debian starts; `poweroff` in its shell ends it.");
    // The person may look for it in another terminal.
    match std::env::var_os("YAGURA_DIR") {
        Some(own) => command.env("YAGURA_DIR", own),
        None => command.env_remove("YAGURA_DIR"),
    };
    let status = command.status()?;
    ensure!(status.success(), "yagura ended with {status}");
    Ok(())
}

/// The monitor's command for a Debian guest with a shell on its console.
pub fn guest(yagura: &Path, guests: &Guests, disk: &Path, cpus: u32) -> Command {
    guest_with(yagura, guests, disk, cpus, COMMAND_LINE)
}

/// The same with a kernel command line that goes on with `more`.
pub fn guest_told(yagura: &Path, guests: &Guests, disk: &Path, cpus: u32, more: &str) -> Command {
    guest_with(yagura, guests, disk, cpus, &format!("{COMMAND_LINE} {more}"))
}

fn guest_with(yagura: &Path, guests: &Guests, disk: &Path, cpus: u32, command_line: &str) -> Command {
    let mut command = process::bound_to_us(yagura);
    command.args(["run", "--name", "demo", "--memory", "1G", "--net", "none", "--console", "stdio"]);
    command.arg("--cpus").arg(cpus.to_string()).args(["--cmdline", command_line]);
    command.arg("--kernel").arg(&guests.bzimage).arg("--initrd").arg(&guests.initrd);
    command.arg("--disk").arg(format!("path={}", disk.display()));
    command
}

fn check_shell(child: &mut Child) -> Result<()> {
    let output = child.stdout.take().context("the guest has no output")?;
    let input = child.stdin.take().context("the guest has no input")?;
    let mut console = Console::over(output, input);
    console.expect(PROMPT, Duration::from_secs(LOGIN_SECONDS))?;
    let answer = console.command("expr 6 \\* 7", Duration::from_secs(END_SECONDS))?;
    ensure!(answer == "42", "the guest answered {answer}");
    console.send("poweroff\n")?;
    console.expect_end(Duration::from_secs(END_SECONDS))?;
    ensure!(child.wait()?.success(), "the monitor did not end well");
    println!("the guest's shell answered, and the guest switched itself off");
    Ok(())
}
