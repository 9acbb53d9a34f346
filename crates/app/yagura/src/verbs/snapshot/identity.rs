//! Who a clone is: told to its guest by a disk that is put into the running machine, and taken out again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use first_boot::{CLONE_SERIAL, CloneIdentity, reads_clones, was_read, write_clone};
use snapshot_files::Snapshot;
use vm_control::{AttachDevice, DetachDevice};
use vm_spec::{DiskFormat, DiskSpec, VmName};

use crate::verbs::Running;

/// A version 4 UUID at each read (random(4)).
const UUIDS: &str = "/proc/sys/kernel/random/uuid";
/// The disk that told an instance who it is, at its first boot.
const SEED: &str = "disk-seed";
/// The disk that tells a clone, and its file in the clone's folder.
const DISK: &str = "disk-identity";
const FILE: &str = "identity";
/// How long a guest may take to read it, and to let go of it. It may have much else to do.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait before it is looked again whether it is done.
const CHECK: Duration = Duration::from_millis(5);
/// So much of a disk tells what it is.
const HEAD_BYTES: u64 = 16;

/// Whether the guest of a snapshot has a service that reads such a disk: one that its seed was written for.
pub fn is_read(snapshot: &Snapshot) -> anyhow::Result<bool> {
    let Some(seed) = snapshot.record.disks.iter().find(|disk| disk.id.as_str() == SEED) else {
        return Ok(false);
    };
    Ok(reads_clones(&head(&snapshot.path(&seed.file))?))
}

/// Tells the guest of the clone `name`, which runs, who it is. `folder` is the clone's.
///
/// # Errors
/// The guest does not read it, or keeps the disk. The clone runs on as what it was.
pub fn tell(name: &VmName, folder: &Path) -> anyhow::Result<()> {
    let uuid = std::fs::read_to_string(UUIDS).with_context(|| format!("cannot read {UUIDS}"))?;
    let machine_id = uuid.trim().replace('-', "");
    let path = folder.join(FILE);
    write_clone(&CloneIdentity { hostname: name.to_string(), machine_id }, &path)?;
    let running = Running::here();
    let vm = running.client(name);
    let spec = DiskSpec {
        id: Some(DISK.parse()?),
        serial: Some(CLONE_SERIAL.parse()?),
        force_raw: true,
        ..DiskSpec::new(&path, DiskFormat::Raw)
    };
    let failed = |error| anyhow!("{}", running.failed(name, &error).line);
    vm.attach(&AttachDevice::Disk(spec.to_text())).map_err(failed)?;
    let is_done = wait_until_read(&path)?;
    let timeout_ms = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    vm.detach(&DetachDevice { device: DISK.to_owned(), timeout_ms, force: false }).map_err(failed)?;
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    if !is_done {
        return Err(anyhow!(
            "VM {name}: its guest has not read who it is within {} s, and has the snapshot's host name and machine id; it runs",
            TIMEOUT.as_secs()
        ));
    }
    Ok(())
}

/// The guest writes to the disk when it is done.
fn wait_until_read(path: &Path) -> anyhow::Result<bool> {
    let until = Instant::now() + TIMEOUT;
    while !was_read(&head(path)?) {
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(CHECK);
    }
    Ok(true)
}

fn head(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || {
        let mut bytes = vec![0; HEAD_BYTES as usize];
        let count = File::open(path)?.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok::<_, std::io::Error>(bytes)
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}
