//! `yagura list`: VMs that were made of images or snapshots, and VMs that run.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use image_store::{Image, InstanceDisk, StoreError};
use messages::in_words;
use serde::Serialize;
use snapshot_files::{Origin, Snapshots};
use vm_client::ClientError;
use vm_control::Status;
use vm_spec::VmName;
use yagura_vmm::say;

use super::info::up_for;
use super::{Running, several};
use crate::cli::InstanceListArguments;
use crate::images::report::{self, Line, or_dash};
use crate::print::print;

/// How long a VM may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// A line of `list`.
#[derive(Debug, Serialize)]
struct VmRow {
    name: String,
    state: &'static str,
    image: Option<String>,
    engine: Option<String>,
    cpus: Option<u32>,
    memory_bytes: Option<u64>,
    uptime_ms: Option<u64>,
    pid: Option<u32>,
    disk_bytes: Option<u64>,
    disk_format: Option<&'static str>,
    room_bytes: Option<u64>,
}

/// What a VM was made of.
struct Made {
    /// For people.
    origin: String,
    /// Somebody else has its disk now.
    is_used: bool,
    /// Nothing while it runs: then it has its disk for itself.
    disk: Option<InstanceDisk>,
}

/// What a VM that runs says of itself, if it answers.
type Answer = Option<Status>;

/// What `stat` counts in.
const BLOCK_BYTES: u64 = 512;

impl VmRow {
    fn of(name: &VmName, made: Option<&Made>, answer: Option<&Answer>) -> VmRow {
        let disk = made.and_then(|made| made.disk.as_ref());
        let file = disk.and_then(|disk| std::fs::metadata(&disk.path).ok());
        let status = answer.and_then(Option::as_ref);
        let state = match (answer, status) {
            (_, Some(status)) => status.state.name(),
            (Some(_), None) => "not answering",
            (None, _) if made.is_some_and(|made| made.is_used) => "running",
            (None, _) => "stopped",
        };
        VmRow {
            name: name.to_string(),
            state,
            image: made.map(|made| made.origin.clone()),
            engine: status.map(|status| status.engine.clone()),
            cpus: status.map(|status| status.cpus),
            memory_bytes: status.map(|status| status.memory_bytes),
            uptime_ms: status.map(|status| status.uptime_ms),
            pid: status.map(|status| status.pid),
            disk_bytes: disk.map(|disk| disk.size_bytes),
            disk_format: disk.map(|disk| disk.format.name()),
            room_bytes: file.map(|file| file.blocks() * BLOCK_BYTES),
        }
    }
}

impl Line for VmRow {
    const HEADS: &'static [&'static str] = &[
        "name",
        "state",
        "up for",
        "image",
        "engine",
        "vCPUs",
        "memory",
        "disk",
        "format",
        "room on the host",
    ];

    fn cells(&self) -> Vec<String> {
        let cells = vec![
            self.name.clone(),
            self.state.to_owned(),
            or_dash(self.uptime_ms.map(up_for)),
            or_dash(self.image.clone()),
            or_dash(self.engine.clone()),
            or_dash(self.cpus.map(|cpus| cpus.to_string())),
            or_dash(self.memory_bytes.map(report::bytes)),
            or_dash(self.disk_bytes.map(report::bytes)),
            or_dash(self.disk_format.map(str::to_owned)),
            or_dash(self.room_bytes.map(report::bytes)),
        ];
        // A VM's words are a stranger's: its guest may have taken it over.
        cells.iter().map(|cell| messages::one_line(cell)).collect()
    }
}

/// Lists VMs.
pub fn list(arguments: &InstanceListArguments) -> anyhow::Result<u8> {
    let answers = answers()?;
    let made = made()?;
    let mut names: Vec<&VmName> = made.keys().chain(answers.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let rows: Vec<VmRow> =
        names.into_iter().map(|name| VmRow::of(name, made.get(name), answers.get(name))).collect();
    let nothing = "no VMs yet; 'yagura run --image debian/12' makes one";
    print(&report::list(&rows, nothing, arguments.format)?)?;
    Ok(0)
}

/// What VMs that run say of themselves.
fn answers() -> anyhow::Result<BTreeMap<VmName, Answer>> {
    let running = Running::here();
    let names = running.known()?;
    let ask = |name: &VmName| match running.client(name).with_patience(PATIENCE).status() {
        Err(ClientError::NotRunning(_) | ClientError::Gone(_)) => None,
        answer => Some(answer.ok()),
    };
    let answers: Vec<Option<Answer>> = several(&names, ask).collect();
    Ok(names.into_iter().zip(answers).filter_map(|(name, answer)| Some((name, answer?))).collect())
}

/// VMs that were made of images.
fn made() -> anyhow::Result<BTreeMap<VmName, Made>> {
    let images = crate::images::images()?;
    let mut made = BTreeMap::new();
    for (name, Image { id, .. }) in images.store.instances()? {
        let disk = match images.store.instance_disk(&name) {
            Err(StoreError::Disk(error)) if error.is_in_use() => None,
            answer => Some(answer?),
        };
        let aliases = images.store.aliases_of(&id)?;
        let is_used = disk.is_none();
        let origin = if aliases.is_empty() { id.short() } else { report::joined(&aliases) };
        made.insert(name, Made { origin, is_used, disk });
    }
    let snapshots = Snapshots::new(&crate::images::data_folder()?);
    for (name, origin) in snapshots.all_restored()? {
        match origin {
            Ok(Origin { snapshot }) => {
                let origin = format!("snapshot {snapshot}");
                made.insert(name, Made { origin, is_used: false, disk: None });
            }
            Err(error) => say(&in_words(&error)),
        }
    }
    Ok(made)
}
