//! Machines that are saved while they run, and others that go on from there.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;
use vm_control::SnapshotOrder;

use super::place::Place;
use super::qemu::{self, Qemu};
use super::started::Started;
use crate::process;

/// What is typed at a guest's console, and what it says then and never before.
#[derive(Clone, Copy)]
pub struct Talk {
    pub typed: &'static str,
    pub answer: &'static str,
}

/// One save.
pub struct Save {
    /// From the command to its end.
    pub total_ms: f64,
    /// The part of it that is the machine's own process's, where that can be told.
    pub work_ms: Option<f64>,
    /// While the guest stood still.
    pub pause_ms: f64,
    /// Room on the host.
    pub file_bytes: u64,
}

/// Somebody's machine.
pub trait Contestant {
    fn name(&self) -> &str;
    /// Saves the machine, which runs on. What was saved before goes.
    fn save(&self) -> Result<Save>;
    /// The machine that is saved, while it is there.
    fn running(&self) -> &RefCell<Option<Started>>;
    /// Milliseconds from the start of a machine that goes on from there until its guest has answered.
    fn restore(&self) -> Result<f64>;
}

/// A machine of Yagura's that runs.
pub struct Source {
    pub place: Place,
    pub engine: &'static str,
    pub talk: Talk,
    running: RefCell<Option<Started>>,
}

/// Its name.
pub const SOURCE: &str = "source";
/// The name of whoever goes on from it.
const AGAIN: &str = "again";

impl Source {
    pub fn new(place: Place, engine: &'static str, talk: Talk, running: Started) -> Rc<Source> {
        Rc::new(Source { place, engine, talk, running: RefCell::new(Some(running)) })
    }
}

/// One way to save a machine of Yagura's.
pub struct Yagura {
    pub name: String,
    pub source: Rc<Source>,
    /// What the snapshot is called.
    pub snapshot: &'static str,
    pub compress: bool,
}

impl Yagura {
    /// `NAME/SNAP`.
    pub fn id(&self) -> String {
        format!("{SOURCE}/{}", self.snapshot)
    }

    /// The snapshot without the command around it: milliseconds from the order at the control socket to its answer.
    fn order(&self) -> Result<f64> {
        let place = &self.source.place;
        let folder = place.folder().join("ordered");
        fs::create_dir(&folder)?;
        let order = SnapshotOrder {
            folder: folder.display().to_string(),
            vm: SOURCE.to_owned(),
            name: "ordered".to_owned(),
            uuid: "00000000-0000-4000-8000-000000000000".to_owned(),
            description: String::new(),
            expires_s: None,
            compress: self.compress,
            base: None,
        };
        let client = place.client(SOURCE);
        let began = Instant::now();
        client.snapshot(&order)?;
        let took = began.elapsed();
        fs::remove_dir_all(&folder)?;
        Ok(took.as_secs_f64() * 1e3)
    }
}

impl Contestant for Yagura {
    fn name(&self) -> &str {
        &self.name
    }

    fn save(&self) -> Result<Save> {
        let place = &self.source.place;
        if place.folder().join("snapshots").join(SOURCE).join(self.snapshot).exists() {
            place.ask(&["snapshot", "delete", &self.id()])?;
        }
        let work_ms = self.order()?;
        let more: &[&str] = if self.compress { &["--compress"] } else { &[] };
        let create = ["snapshot", "create", SOURCE, self.snapshot, "--json"];
        let (record, total_ms) = place.ask(&[&create, more].concat())?;
        let record: Value = serde_json::from_str(&record)?;
        let figure = |key: &str| record[key].as_u64().with_context(|| format!("the record has no {key}"));
        Ok(Save {
            total_ms,
            work_ms: Some(work_ms),
            pause_ms: figure("pause_us")? as f64 / 1e3,
            file_bytes: room(Path::new(record["folder"].as_str().context("the record has no folder")?))?,
        })
    }

    fn running(&self) -> &RefCell<Option<Started>> {
        &self.source.running
    }

    fn restore(&self) -> Result<f64> {
        let Source { place, engine, talk, .. } = &*self.source;
        let mut command = place.machine(engine, AGAIN);
        command.args(["--restore", &self.id()]);
        let mut again = Started::start(command, talk.typed)?;
        let took = again.says(talk.answer);
        drop(again);
        place.ask(&["delete", AGAIN])?;
        took
    }
}

/// Room that a snapshot's files take. Those with a second name elsewhere, which is what a disk builds upon, take none.
fn room(folder: &Path) -> Result<u64> {
    let mut blocks = 0;
    for entry in fs::read_dir(folder)? {
        let metadata = entry?.metadata()?;
        blocks += if metadata.nlink() == 1 { metadata.blocks() } else { 0 };
    }
    Ok(blocks * 512)
}

/// A machine of QEMU's, saved into its disk.
pub struct Savevm {
    pub name: String,
    pub qemu: Qemu,
    /// The qcow2 disk.
    pub disk: PathBuf,
    pub talk: Talk,
    running: RefCell<Option<Started>>,
}

impl Savevm {
    pub fn new(name: &str, qemu: Qemu, disk: PathBuf, talk: Talk, running: Started) -> Savevm {
        Savevm { name: name.to_owned(), qemu, disk, talk, running: RefCell::new(Some(running)) }
    }
}

impl Contestant for Savevm {
    fn name(&self) -> &str {
        &self.name
    }

    /// The guest stands still throughout.
    fn save(&self) -> Result<Save> {
        let total_ms = self.qemu.save()?;
        let mut info = Command::new("qemu-img");
        info.args(["info", "--force-share", "--output", "json"]).arg(&self.disk);
        let file_bytes = qemu::saved_bytes(&process::output(&mut info)?)?;
        Ok(Save { total_ms, work_ms: None, pause_ms: total_ms, file_bytes })
    }

    fn running(&self) -> &RefCell<Option<Started>> {
        &self.running
    }

    fn restore(&self) -> Result<f64> {
        Started::start(self.qemu.restored(), self.talk.typed)?.says(self.talk.answer)
    }
}

/// What came of one contestant.
pub struct Row {
    pub name: String,
    pub boot_ms: Option<f64>,
    pub saves: Vec<Save>,
    pub restores_ms: Vec<f64>,
}

/// Saves in turn, and then restores in turn: what QEMU has saved is locked while its machine runs. A
/// machine whose turn it is not is stopped.
pub fn measure(contestants: &[Box<dyn Contestant>], saves: u32, restores: u32) -> Result<Vec<Row>> {
    let row = |contestant: &dyn Contestant| Row {
        name: contestant.name().to_owned(),
        boot_ms: None,
        saves: Vec::new(),
        restores_ms: Vec::new(),
    };
    let mut rows: Vec<Row> = contestants.iter().map(|contestant| row(&**contestant)).collect();
    for contestant in contestants {
        stop(&**contestant, true)?;
    }
    // The first of each warms caches and is not counted.
    for round in 0..=saves {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            stop(&**contestant, false)?;
            let save = contestant.save().with_context(|| format!("{} was not saved", row.name))?;
            stop(&**contestant, true)?;
            row.saves.extend((round > 0).then_some(save));
        }
    }
    contestants.iter().for_each(|contestant| drop(contestant.running().take()));
    for round in 0..=restores {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            let took = contestant.restore().with_context(|| format!("{} did not go on", row.name))?;
            row.restores_ms.extend((round > 0).then_some(took));
        }
    }
    Ok(rows)
}

fn stop(contestant: &dyn Contestant, stop: bool) -> Result<()> {
    contestant.running().borrow().as_ref().map_or(Ok(()), |running| running.stop(stop))
}
