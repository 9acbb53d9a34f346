//! Debian's userland: systemd to a login prompt, and a command typed and answered over the serial console.

use super::{Job, Lab, MONITOR, Outcome};
use anyhow::{Result, ensure};

const LIMIT_SECONDS: u64 = 240;

const LOGIN: Job = Job { limit_seconds: LIMIT_SECONDS, ..MONITOR };

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "debian-1",
        about: "Debian to its login prompt, 1 vCPU",
        quick: true,
        run: |lab| logs_in(lab, 1),
        ..LOGIN
    },
    Job {
        name: "debian-2",
        about: "Debian to its login prompt, 2 vCPUs",
        run: |lab| logs_in(lab, 2),
        ..LOGIN
    },
    Job {
        name: "debian-4",
        about: "Debian to its login prompt, 4 vCPUs",
        run: |lab| logs_in(lab, 4),
        ..LOGIN
    },
];

fn logs_in(lab: &Lab, cpus: u32) -> Result<Outcome> {
    let setup = lab.setup("debian")?.debian()?;
    let mut guest = setup.with(&["--cpus", &cpus.to_string(), "--memory", "512M"]).start()?;
    guest.log_in()?;
    ensure!(guest.command("expr 6 \\* 7")? == "42", "a typed command was not answered");
    let release = guest.command("cat /etc/debian_version")?;
    ensure!(release.starts_with(|c: char| c.is_ascii_alphanumeric()), "the guest is Debian {release}");
    let online = guest.command("nproc")?;
    ensure!(online == cpus.to_string(), "the guest has {online} processors, wanted {cpus}");
    let failed = guest.command("systemctl --failed --no-legend --plain")?;
    ensure!(failed.is_empty(), "services failed in the guest: {failed}");
    guest.console.send("systemctl poweroff\n")?;
    guest.ended_with(crate::lab::guest::status::SHUTDOWN)?;
    Ok(Outcome::Passed)
}
