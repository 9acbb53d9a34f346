//! `yagura snapshot list`, `info`

use messages::Bytes;
use serde::Serialize;
use serde_json::json;
use snapshot_files::{
    KeptBase, KeptDisk, Record, Snapshot, SnapshotError, SnapshotId, Snapshots, now_s, utc,
};
use vm_spec::VmName;
use yagura_vmm::say;

use super::arguments::{SnapshotInfoArguments, SnapshotListArguments};
use super::failed;
use crate::cli::{Format, ListFormat};
use crate::images::report::{self, Line, or_dash};
use crate::print::{empty_table, print};
use crate::verbs::failure::Failed;

/// A line of `snapshot list`.
#[derive(Debug, Serialize)]
struct SnapshotRow {
    vm: String,
    name: String,
    created: String,
    expires: Option<String>,
    expired: bool,
    engine: String,
    memory_bytes: u64,
    ram_bytes: u64,
    base: Option<String>,
    room_bytes: u64,
    description: String,
}

impl SnapshotRow {
    fn of(snapshot: &Snapshot) -> SnapshotRow {
        let record = &snapshot.record;
        SnapshotRow {
            vm: record.vm.to_string(),
            name: record.name.to_string(),
            created: utc(record.created_s),
            expires: record.expires_s.map(utc),
            expired: record.is_expired(now_s()),
            engine: record.engine.clone(),
            memory_bytes: record.memory_bytes,
            ram_bytes: record.ram_bytes,
            base: record.base.as_ref().map(|base| base.name.to_string()),
            room_bytes: snapshot.room_bytes(),
            description: record.description.clone(),
        }
    }
}

impl Line for SnapshotRow {
    const HEADS: &'static [&'static str] = &[
        "VM",
        "snapshot",
        "created",
        "expires",
        "engine",
        "memory",
        "kept of it",
        "builds upon",
        "room on the host",
        "description",
    ];

    fn cells(&self) -> Vec<String> {
        let cells = [
            self.vm.clone(),
            self.name.clone(),
            self.created.clone(),
            or_dash(self.expires.as_ref().map(|time| expiry(time, self.expired))),
            self.engine.clone(),
            report::bytes(self.memory_bytes),
            report::bytes(self.ram_bytes),
            or_dash(self.base.clone()),
            report::bytes(self.room_bytes),
            or_dash(Some(self.description.clone())),
        ];
        // Of a snapshot's words nobody knows who wrote them.
        cells.iter().map(|cell| messages::one_line(cell)).collect()
    }
}

fn expiry(time: &str, expired: bool) -> String {
    if expired { format!("{time}, has expired") } else { time.to_owned() }
}

/// Lists snapshots. One that cannot be read is told of, and hides no other.
pub fn list(snapshots: &Snapshots, arguments: &SnapshotListArguments) -> anyhow::Result<Result<(), Failed>> {
    let SnapshotListArguments { name, format, json } = arguments;
    let vms = match name {
        Some(name) => vec![name.clone()],
        None => snapshots.vms()?,
    };
    let (mut rows, mut status) = (Vec::new(), Ok(()));
    for vm in vms {
        for snapshot in all(snapshots, &vm)? {
            match snapshot {
                Ok(snapshot) => rows.push(SnapshotRow::of(&snapshot)),
                // Removed since its name was read.
                Err(SnapshotError::Missing { .. }) => {}
                Err(error) if status.is_ok() => status = Err(failed(&error)),
                Err(error) => say(&failed(&error).line),
            }
        }
    }
    let nothing = "no snapshots yet; 'yagura snapshot create NAME SNAP' makes one of a running VM";
    let format = if *json { ListFormat::Json } else { *format };
    print(&report::list(&rows, nothing, format)?)?;
    Ok(status)
}

fn all(snapshots: &Snapshots, vm: &VmName) -> Result<Vec<Result<Snapshot, SnapshotError>>, SnapshotError> {
    let ids = snapshots.names(vm)?.into_iter().map(|name| SnapshotId { vm: vm.clone(), name });
    Ok(ids.map(|id| snapshots.open(&id)).collect())
}

/// Shows what a snapshot is, after a look at its files.
pub fn info(snapshots: &Snapshots, arguments: &SnapshotInfoArguments) -> anyhow::Result<Result<(), Failed>> {
    let SnapshotInfoArguments { id, format, json } = arguments;
    let opened = snapshots.open(id).and_then(|snapshot| snapshot.check().map(|()| snapshot));
    let snapshot = match opened {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok(Err(failed(&error))),
    };
    print(&match format {
        Format::Table if !json => table(&snapshot),
        _ => in_json(&snapshot)?,
    })?;
    Ok(Ok(()))
}

/// The record, and what is known besides.
pub fn in_json(snapshot: &Snapshot) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(&snapshot.record)?;
    value["expired"] = json!(snapshot.record.is_expired(now_s()));
    value["room_bytes"] = json!(snapshot.room_bytes());
    value["folder"] = json!(snapshot.folder().display().to_string());
    Ok(format!("{value:#}"))
}

fn table(snapshot: &Snapshot) -> String {
    let record = &snapshot.record;
    let Record { uuid, description, engine, cpus, memory_bytes, ram_bytes, pause_us, program, .. } = record;
    let compressed = if record.compressed { ", compressed" } else { "" };
    let expires = record.expires_s.map(|time| expiry(&utc(time), record.is_expired(now_s())));
    let mut rows = vec![
        ("snapshot".to_owned(), record.id().to_string()),
        ("description".to_owned(), or_dash(Some(description.clone()))),
        ("created".to_owned(), format!("{}, by {program}", utc(record.created_s))),
        ("expires".to_owned(), or_dash(expires)),
        ("UUID".to_owned(), uuid.clone()),
        ("engine".to_owned(), engine.clone()),
        ("vCPUs".to_owned(), cpus.to_string()),
        (
            "memory".to_owned(),
            format!("{}, {} of it kept{compressed}", Bytes(*memory_bytes), Bytes(*ram_bytes)),
        ),
        ("builds upon".to_owned(), or_dash(base_in_words(snapshot))),
        ("pause".to_owned(), format!("{}.{:03} ms", pause_us / 1000, pause_us % 1000)),
        ("room on the host".to_owned(), Bytes(snapshot.room_bytes()).to_string()),
        ("folder".to_owned(), snapshot.folder().display().to_string()),
    ];
    rows.extend(record.disks.iter().map(|disk| (format!("disk {}", disk.id), disk_in_words(disk))));
    rows.extend(record.cards.iter().map(|card| {
        (format!("card {}", card.id), format!("was on {}", card.tap.as_deref().unwrap_or("nothing")))
    }));
    let mut table = empty_table();
    // Of a snapshot's words nobody knows who wrote them.
    table.add_rows(rows.into_iter().map(|(what, value)| [what, value].map(|text| messages::one_line(&text))));
    table.to_string()
}

/// What it builds upon, and how much that keeps.
fn base_in_words(snapshot: &Snapshot) -> Option<String> {
    let KeptBase { name, .. } = snapshot.record.base.as_ref()?;
    let chain = match snapshot.chain() {
        Ok(chain) => chain,
        Err(error) => return Some(messages::in_words(&error)),
    };
    let before = &chain.iter().collect::<Vec<_>>()[..chain.len() - 1];
    let ram_bytes = before.iter().map(|snapshot| snapshot.record.ram_bytes).sum();
    let others = match before.len() {
        1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    Some(format!("{name}{others}, {} of memory kept there", Bytes(ram_bytes)))
}

fn disk_in_words(disk: &KeptDisk) -> String {
    let KeptDisk { path, format, size_bytes, readonly, kept, .. } = disk;
    let readonly = if *readonly { ", readonly" } else { "" };
    format!("{path}, {}, {}{readonly}, kept by {}", format.name(), Bytes(*size_bytes), kept.name())
}
