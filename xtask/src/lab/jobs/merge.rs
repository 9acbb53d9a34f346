//! Equal pages of several guests are kept once, and a write after merging is seen by its writer alone.

use super::{Job, Lab, MONITOR, Outcome};
use crate::lab::guest::Guest;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// This theme's jobs.
pub const JOBS: &[Job] = &[Job {
    name: "merge",
    about: "KSM merges the equal pages of three guests of one image",
    limit_seconds: 240,
    run: merge,
    ..MONITOR
}];

const NAMES: [&str; 3] = ["one", "two", "three"];
const KSM: &str = "/sys/kernel/mm/ksm";
/// Pages that have to be saved: each guest holds 8 MiB of the same text besides its kernel.
const SAVED_PAGES: u64 = 2 * (8 << 20) / 4096;

fn merge(lab: &Lab) -> Result<Outcome> {
    if !Path::new(KSM).exists() {
        return Ok(Outcome::Skipped("this kernel merges no pages".to_owned()));
    }
    let start = |name: &&str| lab.setup(name)?.with(&["--memory", "128M", "--merge", "on"]).start();
    let mut guests = NAMES.iter().map(start).collect::<Result<Vec<Guest>>>()?;
    for guest in &mut guests {
        guest.ready()?;
        // Every page is another one, so that it can be merged only with the other guests' pages.
        guest.slow_command("seq 1 1200000 >/text && ls -l /text", lab.limit(40))?;
    }
    set("sleep_millisecs", "5")?;
    set("pages_to_scan", "4000")?;
    set("run", "1")?;
    let deadline = Instant::now() + lab.limit(90);
    let least = |guests: &[Guest]| -> Result<u64> {
        let merged = guests.iter().map(|guest| read(&format!("/proc/{}/ksm_merging_pages", guest.pid())));
        Ok(merged.collect::<Result<Vec<_>>>()?.into_iter().min().unwrap_or(0))
    };
    // ksmd takes one process after the other: the first two can save enough before it comes to the third.
    while (pages_sharing()? < SAVED_PAGES || least(&guests)? <= SAVED_PAGES / 4) && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(500));
    }
    let saved = pages_sharing()?;
    println!("KSM keeps {saved} pages less: {} MiB", (saved * 4096) >> 20);
    ensure!(saved >= SAVED_PAGES, "KSM saves {saved} pages, wanted {SAVED_PAGES}");
    let least = least(&guests)?;
    ensure!(least > SAVED_PAGES / 4, "one of the guests has only {least} merged pages");
    for guest in &guests {
        let counters = guest.control.get("/counters")?;
        let told = find_number(&counters, "merg")
            .with_context(|| format!("the counters tell of no merging: {counters}"))?;
        ensure!(told > 0, "the counters tell of no merged memory: {counters}");
    }
    let wanted = guests[0].command("sha256sum </text")?;
    guests[0].command("printf X | dd of=/text bs=1 seek=4000000 conv=notrunc 2>/dev/null")?;
    ensure!(
        guests[0].command("sha256sum </text")? != wanted,
        "a write after merging is not seen by its writer"
    );
    for guest in &mut guests[1..] {
        ensure!(
            guest.command("sha256sum </text")? == wanted,
            "a write after merging is seen by {}",
            guest.name
        );
    }
    set("run", "2")?;
    for guest in &mut guests {
        guest.power_off()?;
    }
    Ok(Outcome::Passed)
}

fn pages_sharing() -> Result<u64> {
    read(&format!("{KSM}/pages_sharing"))
}

fn read(path: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim().parse()?)
}

fn set(name: &str, value: &str) -> Result<()> {
    std::fs::write(format!("{KSM}/{name}"), value).with_context(|| format!("cannot write KSM's {name}"))
}

/// The largest number below a key whose name contains `part`.
fn find_number(value: &serde_json::Value, part: &str) -> Option<u64> {
    let object = value.as_object()?;
    let numbers = object.iter().filter_map(|(key, inner)| {
        if key.contains(part) && inner.is_u64() { inner.as_u64() } else { find_number(inner, part) }
    });
    numbers.max()
}
