//! A booted Debian of 1 GiB on the software engine, beside QEMU's TCG.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;

use super::contestant::{Contestant, Row, SOURCE, Savevm, Source, Talk, Yagura, measure};
use super::place::Place;
use super::qemu::Qemu;
use super::started::{ANSWER, QUESTION, Started};
use crate::cache::Cache;
use crate::demo::COMMAND_LINE;
use crate::guests::{self, Guests};
use crate::{process, workspace};

const SHELL: Talk = Talk { typed: QUESTION, answer: ANSWER };
/// Until what a system does behind its first shell is done.
const SETTLED: Duration = Duration::from_secs(4);

/// What was measured, and a snapshot to go on from.
pub struct Debian {
    pub rows: Vec<Row>,
    pub saved: Yagura,
}

/// Boots one of each, and measures so many saves and restores.
pub fn run(yagura: &Path, saves: u32, restores: u32) -> Result<Debian> {
    let guests = guests::prepare(&Cache::open()?)?;
    let place = Place::new(yagura, &workspace::target())?;
    let theirs_folder = tempfile::tempdir_in(workspace::target())?;
    let disks = [place.folder(), theirs_folder.path()].map(|folder| folder.join("debian.qcow2"));
    disks.iter().try_for_each(|disk| overlay(&guests.debian, disk))?;
    let [our_disk, their_disk] = disks;

    let mut running = Started::start(ours(&place, &guests, &our_disk), "")?;
    let our_boot = running.boots()?;
    let source = Source::new(place, "soft", SHELL, running);
    let way = |name: &str, snapshot, compress| Yagura {
        name: name.to_owned(),
        source: Rc::clone(&source),
        snapshot,
        compress,
    };
    let monitor = theirs_folder.path().join("monitor");
    let qemu = Qemu { arguments: theirs(&guests, &their_disk), monitor };
    let mut running = Started::start(qemu.cold(), "")?;
    let their_boot = running.boots()?;
    std::thread::sleep(SETTLED);
    let contestants: [Box<dyn Contestant>; 3] = [
        Box::new(way("Yagura", "plain", false)),
        Box::new(way("Yagura, compressed", "packed", true)),
        Box::new(Savevm::new("QEMU", qemu, their_disk, SHELL, running)),
    ];
    let mut rows = measure(&contestants, saves, restores)?;
    for (row, boot) in rows.iter_mut().zip([Some(our_boot), None, Some(their_boot)]) {
        row.boot_ms = boot;
    }
    Ok(Debian { rows, saved: way("Yagura", "plain", false) })
}

fn ours(place: &Place, guests: &Guests, disk: &Path) -> Command {
    let mut command = place.machine("soft", SOURCE);
    command.args(["--memory", "1G", "--cpus", "1", "--net", "none", "--cmdline", COMMAND_LINE]);
    command.arg("--kernel").arg(&guests.bzimage).arg("--initrd").arg(&guests.initrd);
    command.arg("--disk").arg(format!("path={},format=qcow2", disk.display()));
    command
}

/// The processor has all that TCG knows but page tables of five levels, which only cost it time.
fn theirs(guests: &Guests, disk: &Path) -> Vec<String> {
    let fixed = [
        "-M",
        "q35",
        "-accel",
        "tcg,thread=multi,tb-size=512",
        "-cpu",
        "max,la57=off",
        "-m",
        "1024",
        "-smp",
        "1",
    ];
    let path = |path: &PathBuf| path.display().to_string();
    let named = [
        ("-append", COMMAND_LINE.to_owned()),
        ("-kernel", path(&guests.bzimage)),
        ("-initrd", path(&guests.initrd)),
        // What is behind it is behind Yagura's disk too, which has all of it locked.
        ("-drive", format!("if=virtio,format=qcow2,backing.file.locking=off,file={}", disk.display())),
    ];
    let named = named.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
    fixed.into_iter().map(str::to_owned).chain(named).collect()
}

/// A disk that has nothing yet but what is behind it.
fn overlay(behind: &Path, disk: &Path) -> Result<()> {
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
    process::run(create.arg(behind).arg(disk))
}
