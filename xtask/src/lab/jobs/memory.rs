//! Guests of several sizes.

use super::{Job, Lab, MONITOR, Outcome, Soft};
use anyhow::{Context, Result, ensure};

/// This theme's jobs.
pub const JOBS: &[Job] = &[Job {
    name: "memory-sizes",
    about: "guests from 128 MiB to 2 GiB see their memory and can use it",
    soft: Soft::Yes,
    limit_seconds: 240,
    run: sizes,
    ..MONITOR
}];

const SIZES_MIB: [u64; 5] = [128, 256, 512, 1024, 2048];
/// What the kernel and its tables may keep for themselves.
const KERNEL_MIB: u64 = 90;

fn sizes(lab: &Lab) -> Result<Outcome> {
    for size_mib in SIZES_MIB {
        let mut guest = lab.setup("memory")?.with(&["--memory", &format!("{size_mib}M")]).start()?;
        guest.ready()?;
        let total = guest.command("awk '/MemTotal/ {print $2}' /proc/meminfo")?;
        let total_mib = total.parse::<u64>().with_context(|| format!("MemTotal is {total}"))? / 1024;
        ensure!(
            total_mib <= size_mib && total_mib + KERNEL_MIB >= size_mib,
            "of {size_mib} MiB the guest sees {total_mib}"
        );
        // Half of it is written and read; more would take the lab's own memory.
        let write_mib = size_mib.min(512) / 4;
        let fill = format!(
            "dd if=/dev/zero bs=1M count={write_mib} 2>/dev/null | tr '\\0' x >/fill && wc -c </fill"
        );
        let filled = guest.slow_command(&fill, lab.limit(40))?;
        ensure!(filled == (write_mib << 20).to_string(), "filled {filled} bytes of {write_mib} MiB");
        guest.power_off()?;
    }
    Ok(Outcome::Passed)
}
