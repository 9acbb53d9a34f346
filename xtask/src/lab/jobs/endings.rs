//! The ways in which a guest ends, and what the monitor's exit status says of them.

use super::{Job, Lab, MONITOR, Outcome, Soft};
use crate::lab::guest::status;
use anyhow::{Result, ensure};
use rustix::process::Signal;

const ENDING: Job = Job { soft: Soft::Yes, ..MONITOR };

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "sigterm",
        about: "SIGTERM presses the power button: busybox",
        quick: true,
        run: sigterm,
        ..ENDING
    },
    Job {
        name: "sigterm-debian",
        about: "SIGTERM presses the power button: systemd",
        limit_seconds: 240,
        run: sigterm_debian,
        ..ENDING
    },
    Job {
        name: "sigterm-twice",
        about: "a second SIGTERM kills a guest that does not listen",
        run: sigterm_twice,
        ..ENDING
    },
    Job {
        name: "reboot",
        about: "a guest reboots and comes back",
        limit_seconds: 120,
        run: reboot,
        ..ENDING
    },
    Job {
        name: "reboot-ends",
        about: "a reboot ends the monitor where it was told so",
        run: reboot_ends,
        ..ENDING
    },
    Job { name: "panic", about: "a kernel panic shows in the exit status", run: panic, ..ENDING },
    Job {
        name: "triple-fault",
        about: "a triple fault shows in the exit status",
        run: triple_fault,
        ..ENDING
    },
];

fn sigterm(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("sigterm")?.start()?;
    guest.ready()?;
    guest.command("true")?;
    guest.signal(Signal::TERM)?;
    guest.ended_with(status::SHUTDOWN)?;
    Ok(Outcome::Passed)
}

fn sigterm_debian(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("sigterm")?.debian()?.with(&["--memory", "512M"]).start()?;
    guest.log_in()?;
    guest.command("systemctl is-active systemd-logind")?;
    guest.signal(Signal::TERM)?;
    guest.ended_with(status::SHUTDOWN)?;
    let transcript = guest.console.transcript();
    ensure!(transcript.contains("Power down"), "the guest did not shut itself down");
    Ok(Outcome::Passed)
}

fn sigterm_twice(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("sigterm")?.start()?;
    guest.ready()?;
    guest.command("killall acpid")?;
    guest.signal(Signal::TERM)?;
    guest.command("true")?;
    guest.signal(Signal::TERM)?;
    guest.ended_with(status::KILLED)?;
    Ok(Outcome::Passed)
}

fn reboot(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("reboot")?.with(&["--on-reset", "restart"]).start()?;
    guest.ready()?;
    guest.command("touch /was-here && test -f /was-here")?;
    guest.console.send("reboot -f\n")?;
    guest.ready()?;
    guest.command("test ! -f /was-here")?;
    guest.power_off()?;
    Ok(Outcome::Passed)
}

fn reboot_ends(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("reboot")?.with(&["--on-reset", "exit"]).start()?;
    guest.ready()?;
    guest.console.send("reboot -f\n")?;
    guest.ended_with(status::RESET)?;
    Ok(Outcome::Passed)
}

fn panic(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("panic")?.with(&["--on-reset", "exit"]).start()?;
    guest.ready()?;
    guest.console.send("echo c >/proc/sysrq-trigger\n")?;
    // The command line says panic=-1: the guest resets at once.
    guest.ended_with(status::RESET)?;
    let transcript = guest.console.transcript();
    ensure!(transcript.contains("Kernel panic"), "the panic is not on the console");
    Ok(Outcome::Passed)
}

fn triple_fault(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("fault")?.boot_with("reboot=t").with(&["--on-reset", "exit"]).start()?;
    guest.ready()?;
    guest.console.send("reboot -f\n")?;
    guest.ended_with(status::CRASH)?;
    Ok(Outcome::Passed)
}
