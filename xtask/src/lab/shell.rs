//! The demo's guest: Debian with a shell on its console, on the host or inside the lab's machine.

use super::jobs::Lab;
use super::plan::Plan;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// What the agent writes before the guest's console begins.
pub const MARK: &str = "LAB CONSOLE";
/// What the guest's shell writes when it wants a command.
pub const PROMPT: &str = ":~#";

const COMMAND_LINE: &str = "console=ttyS0 root=/dev/vda guest.autologin quiet systemd.show_status=1 mitigations=off \
    tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=on";

/// The console that QEMU joins to the user's terminal.
const CONSOLE: &str = "/dev/hvc0";

/// The monitor's command for it.
pub fn command(yagura: &Path, kernel: &Path, initrd: &Path, disk: &Path) -> Command {
    let mut command = Command::new(yagura);
    command.args([
        "run",
        "--name",
        "demo",
        "--cpus",
        "1",
        "--memory",
        "1G",
        "--net",
        "none",
        "--console",
        "stdio",
    ]);
    command.args(["--cmdline", COMMAND_LINE]).arg("--kernel").arg(kernel).arg("--initrd").arg(initrd);
    command.arg("--disk").arg(format!("path={}", disk.display()));
    command
}

/// Runs it inside the lab's machine, on that machine's console.
pub fn run(plan: Plan) -> Result<()> {
    let lab = Lab::new("demo", plan)?;
    let guests = lab.guests()?;
    let disk = lab.debian_disk("demo")?;
    let mut command =
        command(&lab.yagura()?, &lab.local(&guests.bzimage)?, &lab.local(&guests.initrd)?, &disk);
    let mut console =
        File::options().read(true).write(true).open(CONSOLE).context("the machine has no console")?;
    writeln!(console, "{MARK}")?;
    command.stdin(console.try_clone()?).stdout(console.try_clone()?).stderr(console.try_clone()?);
    let status = command.status()?;
    ensure!(status.success(), "yagura ended with {status}");
    Ok(())
}
