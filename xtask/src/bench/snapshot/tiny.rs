//! A guest of 128 MiB that has touched a few pages, on KVM and on the software engine, with its snapshots on a disk and in
//! memory; beside QEMU's microvm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;

use super::contestant::{Contestant, Row, SOURCE, Savevm, Source, Talk, Yagura, measure};
use super::place::Place;
use super::qemu::Qemu;
use super::started::Started;
use crate::{process, workspace};

/// The guest counts what it is sent, and sends the count back.
const FIRST: Talk = Talk { typed: "x", answer: "\u{1}" };
const NEXT: Talk = Talk { typed: "x", answer: "\u{2}" };
/// A file system in memory, where the host has one.
const MEMORY: &str = "/dev/shm";

/// Measures so many saves and restores of each.
pub fn run(yagura: &Path, runs: u32) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(workspace::target())?;
    let kernel = folder.path().join("counter.elf");
    fs::write(&kernel, pvh_elf(guests::counter(), LOAD_ADDRESS))?;
    let kvm = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let engines = [("kvm", "KVM"), ("soft", "software engine")]
        .into_iter()
        .filter(|(engine, _)| kvm || *engine == "soft");
    let mut contestants: Vec<Box<dyn Contestant>> = Vec::new();
    for (engine, shown) in engines {
        contestants.push(ours(yagura, &kernel, engine, &format!("Yagura, {shown}"), &workspace::target())?);
        if Path::new(MEMORY).is_dir() {
            let name = format!("Yagura, {shown}, tmpfs");
            contestants.push(ours(yagura, &kernel, engine, &name, Path::new(MEMORY))?);
        }
    }
    for (accelerator, shown) in
        [("kvm", "KVM"), ("tcg", "TCG")].into_iter().filter(|(name, _)| kvm || *name == "tcg")
    {
        contestants.push(theirs(folder.path(), &kernel, accelerator, &format!("QEMU microvm, {shown}"))?);
    }
    measure(&contestants, runs, runs)
}

fn ours(
    yagura: &Path,
    kernel: &Path,
    engine: &'static str,
    name: &str,
    folder: &Path,
) -> Result<Box<dyn Contestant>> {
    let place = Place::new(yagura, folder)?;
    let mut command = place.machine(engine, SOURCE);
    command.args(["--memory", "128M", "--cpus", "1", "--kernel"]).arg(kernel);
    let running = counted(command)?;
    let source = Source::new(place, engine, NEXT, running);
    Ok(Box::new(Yagura { name: name.to_owned(), source, snapshot: "s", compress: false }))
}

fn theirs(folder: &Path, kernel: &Path, accelerator: &str, name: &str) -> Result<Box<dyn Contestant>> {
    let disk = folder.join(format!("{accelerator}.qcow2"));
    process::run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("1M"))?;
    let machine = format!("microvm,accel={accelerator},x-option-roms=off,rtc=off,pit=off,pic=off,acpi=off");
    let mut arguments = ["-M", &machine, "-m", "128", "-device", "virtio-blk-device,drive=d", "-drive"]
        .map(str::to_owned)
        .to_vec();
    arguments.push(format!("if=none,id=d,format=qcow2,file={}", disk.display()));
    arguments.extend(["-kernel".to_owned(), kernel.display().to_string()]);
    let monitor: PathBuf = folder.join(format!("{accelerator}.sock"));
    let qemu = Qemu { arguments, monitor };
    let running = counted(qemu.cold())?;
    Ok(Box::new(Savevm::new(name, qemu, disk, NEXT, running)))
}

/// Starts a guest and has it count to one.
fn counted(command: Command) -> Result<Started> {
    let mut started = Started::start(command, "")?;
    started.says("!")?;
    started.send(FIRST.typed)?;
    started.says(FIRST.answer)?;
    Ok(started)
}
