//! What a disk's request costs in exits.

use super::{FIGURE, Job, Lab, MONITOR, Outcome};
use crate::lab::guest::{Guest, kvm_figures};
use anyhow::{Context, Result, ensure};
use std::fs::File;

/// This theme's jobs.
pub const JOBS: &[Job] = &[Job {
    name: "disk-exits",
    about: "exits for a request of a disk, at several depths",
    limit_seconds: 240,
    run: disk_exits,
    ..MONITOR
}];

/// Requests that are counted, besides those of the run that is subtracted.
const REQUESTS: u64 = 4000;
/// Exits to the monitor for a request. Kicks and interrupts stay in the kernel: what is left is the timer's and
/// the console's.
const MONITOR_EXITS_MAX: f64 = 0.2;

/// What was counted up to a moment.
struct Counted {
    requests: u64,
    /// Out of the kernel, to the monitor.
    to_monitor: u64,
    /// Out of the guest, to KVM or further. Nothing where KVM does not tell.
    from_guest: Option<u64>,
}

fn disk_exits(lab: &Lab) -> Result<Outcome> {
    let path = lab.folder().join("data.raw");
    File::create(&path)?.set_len(64 << 20)?;
    let disk = format!("path={}", path.display());
    let mut guest = lab.setup("exits")?.debian()?.with(&["--disk", &disk, "--memory", "512M"]).start()?;
    guest.log_in()?;
    // Reads fio itself from the other disk.
    cost(lab, &mut guest, "randread", 1, 1)?;
    for (pattern, depth) in [("randread", 1), ("randread", 32), ("randwrite", 1), ("randwrite", 32)] {
        let mut cost = |requests| cost(lab, &mut guest, pattern, depth, requests);
        // What starting fio and typing costs is in both.
        let (least, most) = (cost(u64::from(depth))?, cost(REQUESTS + u64::from(depth))?);
        let requests = most.requests.saturating_sub(least.requests);
        // Neighbours that wait together become one request.
        ensure!(requests >= REQUESTS * 9 / 10, "the disk counted {requests} of {REQUESTS} requests");
        let each = |most: u64, least: u64| most.saturating_sub(least) as f64 / requests as f64;
        let to_monitor = each(most.to_monitor, least.to_monitor);
        let from_guest = most.from_guest.zip(least.from_guest);
        let from_guest =
            from_guest.map_or("not told".to_owned(), |(most, least)| format!("{:.2}", each(most, least)));
        println!(
            "{FIGURE}{pattern} of 4 KiB, depth {depth}: exits a request {from_guest}, to the monitor {to_monitor:.3}"
        );
        ensure!(to_monitor <= MONITOR_EXITS_MAX, "{to_monitor:.2} exits to the monitor for a {pattern}");
    }
    guest.power_off()?;
    Ok(Outcome::Passed)
}

/// What is counted while fio makes so many requests.
fn cost(lab: &Lab, guest: &mut Guest, pattern: &str, depth: u32, requests: u64) -> Result<Counted> {
    let fio = format!(
        "fio --name=exits --filename=/dev/vdb --rw={pattern} --bs=4k --size=64M --number_ios={requests} \
        --ioengine=libaio --iodepth={depth} --direct=1 --thread --gtod_reduce=1 --minimal >/dev/null"
    );
    let before = count(guest)?;
    guest.slow_command(&fio, lab.limit(60))?;
    let after = count(guest)?;
    Ok(Counted {
        requests: after.requests - before.requests,
        to_monitor: after.to_monitor - before.to_monitor,
        from_guest: after.from_guest.zip(before.from_guest).map(|(after, before)| after - before),
    })
}

fn count(guest: &Guest) -> Result<Counted> {
    let counters = guest.control.get("/counters")?;
    let exits = counters["exits"].as_object().context("the counters tell of no exits")?;
    let devices = counters["devices"].as_object().context("the counters tell of no devices")?;
    let of = |key: &str| devices.values().filter_map(|device| device[key].as_u64()).sum::<u64>();
    let kvm = kvm_figures(guest.pid());
    Ok(Counted {
        requests: of("reads") + of("writes"),
        to_monitor: exits.values().filter_map(serde_json::Value::as_u64).sum(),
        from_guest: kvm.iter().find(|(name, _)| name == "exits").map(|(_, count)| *count),
    })
}
