//! Disks and cards that come and go while Linux runs, by its own PCI hot-plug driver (acpiphp).

use super::{Job, Lab, MONITOR, Outcome, Soft};
use crate::lab::guest::Guest;
use crate::process;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs::File;
use std::io::{Read, copy};
use std::path::Path;
use std::process::Command;

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "hotplug-quick",
        about: "disks attached, used and detached, 3 rounds",
        quick: true,
        soft: Soft::Yes,
        limit_seconds: 120,
        run: |lab| disks(lab, 3),
        ..MONITOR
    },
    Job {
        name: "hotplug",
        about: "disks attached, used and detached, 100 rounds",
        soft: Soft::Yes,
        limit_seconds: 900,
        run: |lab| disks(lab, 100),
        ..MONITOR
    },
    Job {
        name: "hotplug-net",
        about: "a network card attached, used and detached, 10 rounds",
        soft: Soft::WithNetwork,
        limit_seconds: 180,
        run: cards,
        ..MONITOR
    },
];

const MIB: u64 = 1 << 20;
/// What a guest writes in a round, in bytes.
const WRITTEN: u64 = MIB;
/// Rounds after which the machine is reset.
const RESET_EVERY: u32 = 10;
/// How long a guest has to let go of a device, in milliseconds.
const TIMEOUT_MS: u64 = 25_000;
/// Where the kernel's log says that what it has said while it booted is over.
const MARK: &str = "echo 'lab: devices come and go' >/dev/kmsg";
/// What a kernel says from there on when something about its bus is wrong.
const COMPLAINTS: &str = "dmesg | sed '1,/lab: devices come and go/d' | grep -iE 'acpiphp|hotplug|eject|no space|\
    no compatible bridge|failed to assign|BAR [0-9]+.*fail|I/O error|blocked for more|WARNING|BUG:|Call Trace|\
    ACPI.*(error|warning|exception)' || true";

fn disks(lab: &Lab, rounds: u32) -> Result<Outcome> {
    let known = lab.folder().join("known.raw");
    copy(&mut File::open("/dev/urandom")?.take(2 * MIB), &mut File::create(&known)?)?;
    let (written, first) = (lab.folder().join("written.raw"), lab.folder().join("first.raw"));
    for path in [&written, &first] {
        File::create(path)?.set_len(2 * MIB)?;
    }
    let setup = lab.setup("hotplug")?;
    let setup = setup.with(&["--on-reset", "restart", "--disk", &format!("path={}", first.display())]);
    let mut guest = setup.start()?;
    guest.ready()?;
    guest.command(MARK)?;
    for round in 1..=rounds {
        let resets = round % RESET_EVERY == 3;
        one_round(&mut guest, round, &known, &written, resets).with_context(|| format!("round {round}"))?;
    }
    no_complaints(&mut guest)?;
    guest.power_off()?;
    Ok(Outcome::Passed)
}

/// Two disks come, are read and written, and go; in between the machine may be reset.
fn one_round(guest: &mut Guest, round: u32, known: &Path, written: &Path, resets: bool) -> Result<()> {
    let reads = attach(guest, &format!("path={},readonly,serial=known-{round}", known.display()))?;
    let writes = attach(guest, &format!("path={},serial=written-{round}", written.display()))?;
    if resets {
        no_complaints(guest)?;
        guest.control.put("/reset")?;
        guest.ready()?;
        guest.command(MARK)?;
    }
    let device = block_device(guest, &format!("known-{round}"))?;
    let seen = guest.command(&format!("sha256sum </dev/{device} | cut -d' ' -f1"))?;
    ensure!(seen == sum(known, 2 * MIB)?, "the guest reads something else than the file holds");
    let target = block_device(guest, &format!("written-{round}"))?;
    let count = WRITTEN >> 16;
    guest.command(&format!(
        "dd if=/dev/urandom of=/dev/{target} bs=64k count={count} conv=fsync 2>/dev/null"
    ))?;
    let inside = guest.command(&format!(
        "dd if=/dev/{target} bs=64k count={count} 2>/dev/null | sha256sum | cut -d' ' -f1"
    ))?;
    for (id, device) in [(writes, target), (reads, device)] {
        detach(guest, &id)?;
        guest.command(&format!("! [ -e /sys/block/{device} ] && ! [ -e /dev/{device} ]"))?;
    }
    ensure!(sum(written, WRITTEN)? == inside, "what the guest wrote is not in the file");
    Ok(())
}

fn attach(guest: &Guest, disk: &str) -> Result<String> {
    let answer = guest.control.put_with("/attach", &json!({ "disk": disk }))?;
    Ok(answer["id"].as_str().context("an attached disk has no name")?.to_owned())
}

fn detach(guest: &Guest, id: &str) -> Result<()> {
    guest.control.put_with("/detach", &json!({ "device": id, "timeout_ms": TIMEOUT_MS })).map(drop)
}

/// The guest's name for the disk of this serial number, when it has found it.
fn block_device(guest: &mut Guest, serial: &str) -> Result<String> {
    let look = format!("grep -lx {serial} /sys/block/vd*/serial 2>/dev/null");
    let found = guest.command(&format!(
        "n=0; until f=$({look}); do n=$((n+1)); [ $n -lt 100 ] || break; sleep 0.1; done; echo $f"
    ))?;
    let name =
        found.split('/').nth(3).with_context(|| format!("the guest finds no disk {serial}: {found:?}"))?;
    Ok(name.to_owned())
}

fn sum(path: &Path, bytes: u64) -> Result<String> {
    let script = format!("head -c {bytes} '{}' | sha256sum", path.display());
    let line = process::output(Command::new("sh").args(["-c", &script]))?;
    Ok(line.split(' ').next().context("sha256sum said nothing")?.to_owned())
}

fn no_complaints(guest: &mut Guest) -> Result<()> {
    let complaints = guest.command(COMPLAINTS)?;
    ensure!(complaints.is_empty(), "the guest complains:\n{complaints}");
    Ok(())
}

const TAP: &str = "lab1";
const HOST: &str = "192.0.2.129";
const GUEST: &str = "192.0.2.130";

fn cards(lab: &Lab) -> Result<Outcome> {
    let ip = |arguments: &str| process::run(Command::new("ip").args(arguments.split(' ')));
    if ip(&format!("link show {TAP}")).is_err() {
        ip(&format!("tuntap add dev {TAP} mode tap vnet_hdr"))?;
        ip(&format!("address add {HOST}/25 dev {TAP}"))?;
        ip(&format!("link set {TAP} up"))?;
    }
    let mut guest = lab.setup("hotplug")?.with(&["--on-reset", "restart"]).start()?;
    guest.ready()?;
    guest.command(MARK)?;
    let mut mac = None;
    for round in 1..=10 {
        let mut one = |guest: &mut Guest| -> Result<()> {
            let answer = guest.control.put_with("/attach", &json!({ "net": format!("tap={TAP},id=wan") }))?;
            ensure!(answer["id"] == "wan", "{answer}");
            if round == 5 {
                guest.control.put("/reset")?;
                guest.ready()?;
                guest.command(MARK)?;
            }
            let card = "ls /sys/class/net | grep -v '^lo$'";
            guest.command(&format!(
                "n=0; until {card}; do n=$((n+1)); [ $n -lt 100 ] || break; sleep 0.1; done"
            ))?;
            let name = guest.command(card)?;
            let seen = guest.command(&format!("cat /sys/class/net/{name}/address"))?;
            ensure!(*mac.get_or_insert(seen.clone()) == seen, "its address was {mac:?}, and is {seen}");
            guest.command(&format!("ip address add {GUEST}/25 dev {name} && ip link set {name} up"))?;
            guest.command(&format!("ping -c 3 -i 0.2 -W 5 {HOST}"))?;
            detach(guest, "wan")?;
            guest.command(&format!("! [ -e /sys/class/net/{name} ]"))?;
            Ok(())
        };
        one(&mut guest).with_context(|| format!("round {round}"))?;
    }
    no_complaints(&mut guest)?;
    guest.power_off()?;
    Ok(Outcome::Passed)
}
