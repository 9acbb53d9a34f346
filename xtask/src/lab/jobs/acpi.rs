//! The ACPI tables, as ACPI's own tools in the guest see them.

use super::{Job, Lab, MONITOR, Outcome};
use anyhow::{Result, ensure};

/// This theme's jobs.
pub const JOBS: &[Job] = &[Job {
    name: "acpi-tables",
    about: "acpidump and iasl in the guest find no error",
    limit_seconds: 240,
    run: tables,
    ..MONITOR
}];

/// Tables that the machine has to have.
const TABLES: [&str; 4] = ["apic", "dsdt", "facp", "mcfg"];

fn tables(lab: &Lab) -> Result<Outcome> {
    let mut guest = lab.setup("acpi")?.debian()?.with(&["--memory", "512M", "--cpus", "2"]).start()?;
    guest.log_in()?;
    let limit = lab.limit(60);
    guest.slow_command("cd /run && acpidump >dump && acpixtract -a dump >/dev/null", limit)?;
    let found = guest.command("ls *.dat")?;
    for table in TABLES {
        ensure!(found.contains(table), "no {table} in {found}");
    }
    guest.slow_command("iasl -d *.dat >disassembled 2>&1", limit)?;
    let assemble = "for file in *.dsl; do iasl -p /run/again $file || exit 1; done >assembled 2>&1";
    guest.slow_command(&format!("({assemble})"), limit)?;
    let complaints = guest.command(
        "grep -h -i -E '^error |Checksum.*(incorrect|should)|Invalid' disassembled assembled || true",
    )?;
    ensure!(complaints.is_empty(), "iasl complains:\n{complaints}");
    let kernel =
        guest.command("dmesg | grep -E 'ACPI (BIOS )?(Error|Warning|Exception)|Firmware Bug' || true")?;
    ensure!(kernel.is_empty(), "the guest's kernel complains:\n{kernel}");
    guest.power_off()?;
    Ok(Outcome::Passed)
}
