//! Debian's kernel, unmodified, to busybox.

use super::{Group, Job, Lab, MONITOR, Outcome};
use crate::lab::guest::Setup;
use anyhow::{Result, ensure};

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "boot-bzimage",
        about: "Debian's bzImage to a shell and off",
        quick: true,
        run: bzimage,
        ..MONITOR
    },
    Job { name: "boot-vmlinux", about: "the same kernel as an ELF file", run: vmlinux, ..MONITOR },
    Job { name: "boot-plain", about: "nothing but console=ttyS0 on the command line", run: plain, ..MONITOR },
    Job { name: "boot-socket", about: "the console as a unix socket", run: socket, ..MONITOR },
    Job {
        name: "devices",
        about: "clock, random numbers and PCI functions are seen",
        quick: true,
        run: devices,
        ..MONITOR
    },
    Job {
        name: "boot-without-npt",
        about: "boots on shadow page tables",
        group: Group::NO_NPT,
        limit_seconds: 120,
        run: without_npt,
        ..MONITOR
    },
    Job {
        name: "boot-two-on-two",
        about: "two vCPUs on two processors",
        group: Group::TWO_CPUS,
        run: two_on_two,
        ..MONITOR
    },
];

fn bzimage(lab: &Lab) -> Result<Outcome> {
    boots(lab.setup("boot")?, 1)
}

fn vmlinux(lab: &Lab) -> Result<Outcome> {
    let vmlinux = lab.guests()?.vmlinux.clone();
    boots(lab.setup("boot")?.kernel(&vmlinux), 1)
}

fn plain(lab: &Lab) -> Result<Outcome> {
    boots(lab.setup("boot")?.plain_command_line(), 1)
}

fn socket(lab: &Lab) -> Result<Outcome> {
    boots(lab.setup("boot")?.console_socket(), 1)
}

fn without_npt(lab: &Lab) -> Result<Outcome> {
    boots(lab.setup("boot")?, 1)
}

fn two_on_two(lab: &Lab) -> Result<Outcome> {
    boots(lab.setup("boot")?.with(&["--cpus", "2"]), 2)
}

fn boots(setup: Setup<'_>, cpus: u32) -> Result<Outcome> {
    let mut guest = setup.start()?;
    guest.ready()?;
    let online = guest.command("nproc")?;
    ensure!(online == cpus.to_string(), "the guest has {online} processors, wanted {cpus}");
    guest.power_off()?;
    Ok(Outcome::Passed)
}

fn devices(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("devices")?.start()?;
    guest.ready()?;
    let clock = guest.command("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    ensure!(matches!(clock.as_str(), "kvm-clock" | "tsc"), "the guest's clock is {clock}");
    let (outside, inside) =
        (seconds_since_1970()?, guest.command("hwclock -u -r >/dev/null && date +%s")?.parse::<u64>()?);
    ensure!(outside.abs_diff(inside) < 60, "the guest's time is {inside}, ours {outside}");
    guest.command("grep -q virtio_rng /sys/class/misc/hw_random/rng_available")?;
    guest.command("head -c 64 /dev/hwrng | wc -c | grep -q 64")?;
    let vendors = guest.command("cat /sys/bus/pci/devices/*/vendor")?;
    ensure!(vendors.contains("0x1af4"), "no virtio function in {vendors}");
    let interrupts = guest.command("cat /proc/interrupts")?;
    ensure!(
        interrupts.contains("PCI-MSI") || interrupts.contains("PCI-MSIX"),
        "no MSI-X in use:\n{interrupts}"
    );
    guest.power_off()?;
    Ok(Outcome::Passed)
}

fn seconds_since_1970() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}
