//! `yagura snapshot restore`, and the VM of `yagura run --restore`.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use disk::{BackingName, CreateOptions, create_qcow2};
use instance_ops::InstanceError;
use messages::in_words;
use snapshot_files::{
    KeptBoot, KeptCard, KeptDisk, KeptModule, Origin, Restored, Snapshot, SnapshotId, Snapshots,
};
use vm_control::RestoreOrder;
use vm_spec::{CpuCount, DiskFormat, DiskSpec, KernelSpec, ModuleSpec, NetSpec, VmName};
use yagura_vmm::{runs_already, say};

use super::arguments::RestoreArguments;
use super::failed;
use crate::images;
use crate::settings::{GivenSettings, RestoredVm};
use crate::verbs::failure::Failed;
use crate::verbs::{self, Running};

/// Has a running VM go back to a snapshot.
pub fn restore(snapshots: &Snapshots, arguments: &RestoreArguments) -> Result<(), Failed> {
    let RestoreArguments { name, snapshot } = arguments;
    let id = SnapshotId { vm: name.clone(), name: snapshot.clone() };
    let snapshot = snapshots.open(&id).map_err(|error| failed(&error))?;
    let running = Running::here();
    let order = RestoreOrder { folder: snapshot.folder().display().to_string() };
    running.client(name).restore(&order).map_err(|error| running.failed(name, &error))
}

/// A VM that goes on from a snapshot, in a process of its own.
pub struct RestoredAsNew {
    /// What is settled of it.
    pub vm: RestoredVm,
    /// The snapshot's folder.
    pub folder: PathBuf,
}

/// Makes the disks of a VM that is to go on from a snapshot: overlays on the snapshot's, which stay as they are.
pub fn restore_as_new(settings: &GivenSettings, id: &SnapshotId) -> anyhow::Result<RestoredAsNew> {
    settings.check_restored()?;
    let snapshots = Snapshots::new(&images::data_folder()?);
    let snapshot = snapshots.open(id)?;
    snapshot.verify()?;
    let name = match settings.name() {
        Some(name) => name.clone(),
        None => VmName::like(&id.to_string()).context("give the VM a name with --name")?,
    };
    if verbs::runs(&name) {
        bail!("{}", runs_already(&name));
    }
    let restored = snapshots.restored(&name);
    if restored.exists() {
        bail!(
            "VM {name} was restored before, and its disks are in {}; 'yagura delete {name}' removes them, --name gives another \
             VM a name of its own",
            restored.folder().display()
        );
    }
    if images::images()?.store.instance_folder(&name).exists() {
        bail!("VM {name} is there already; --name gives another one a name of its own");
    }
    let failed = || format!("VM {name}");
    restored.make(&Origin { snapshot: id.clone() }).with_context(failed)?;
    let vm = make(&snapshot, &restored, name.clone()).with_context(failed);
    if vm.is_err()
        && let Err(left) = restored.remove()
    {
        say(&in_words(&left));
    }
    Ok(RestoredAsNew { vm: vm?, folder: snapshot.folder().to_owned() })
}

/// Removes the disks of a VM that was restored; whether there were any.
pub fn forget_restored(name: &VmName) -> anyhow::Result<bool> {
    let restored = Snapshots::new(&images::data_folder()?).restored(name);
    if !restored.exists() {
        return Ok(false);
    }
    let runs = || InstanceError::Busy(format!("VM {name} runs; stop it first"));
    if verbs::runs(name) {
        return Err(runs().into());
    }
    // Whoever runs it has its disks locked, wherever its name is; and nobody starts it while they go.
    let disks = restored.disks()?;
    let claims = disks.iter().map(|path| match disk::claim(path) {
        Err(error) if error.is_in_use() => Err(runs().into()),
        claim => claim.map_err(anyhow::Error::from),
    });
    let _claims = claims.collect::<anyhow::Result<Vec<_>>>()?;
    restored.remove()?;
    Ok(true)
}

fn make(snapshot: &Snapshot, restored: &Restored, name: VmName) -> anyhow::Result<RestoredVm> {
    let record = &snapshot.record;
    let KeptBoot { kernel, initrds, modules } = &record.boot;
    let module = |KeptModule { file, cmdline }: &KeptModule| ModuleSpec {
        path: snapshot.path(file),
        cmdline: cmdline.clone(),
    };
    Ok(RestoredVm {
        name,
        kernel: KernelSpec {
            initrds: initrds.iter().map(|file| snapshot.path(file)).collect(),
            modules: modules.iter().map(module).collect(),
            ..KernelSpec::new(snapshot.path(kernel))
        },
        cpus: CpuCount::try_from(u64::from(record.cpus))?,
        memory: format!("{}B", record.memory_bytes).parse()?,
        disks: record.disks.iter().map(|disk| overlay(snapshot, restored, disk)).collect::<Result<_, _>>()?,
        nets: record.cards.iter().map(card).collect::<Result<_, _>>()?,
        virtio_console: record.virtio_console,
        merge: record.merge,
        on_reset: record.on_reset,
        on_panic: record.on_panic,
    })
}

/// The disk of a VM on a disk of the snapshot; the very one where the guest only reads it.
fn overlay(snapshot: &Snapshot, restored: &Restored, disk: &KeptDisk) -> anyhow::Result<DiskSpec> {
    let kept = snapshot.path(&disk.file);
    let spec = |path: PathBuf, format| DiskSpec {
        id: Some(disk.id.clone()),
        force_raw: format == DiskFormat::Raw,
        block_size: disk.block_size,
        readonly: disk.readonly,
        on_error: disk.on_error,
        ..DiskSpec::new(path, format)
    };
    if disk.readonly {
        return Ok(spec(kept, disk.format));
    }
    let path = restored.folder().join(format!("{}.qcow2", disk.id));
    let name =
        kept.to_str().ok_or_else(|| anyhow!("{} is not UTF-8, as a qcow2 image needs it", kept.display()))?;
    let backing = BackingName { path: name.to_owned(), format: Some(disk.format.name().to_owned()) };
    let options = CreateOptions { backing: Some(backing), ..CreateOptions::new(disk.size_bytes) };
    create_qcow2(&path, &options).map_err(|error| anyhow!("{}", in_words(&error)))?;
    Ok(spec(path, DiskFormat::Qcow2))
}

fn card(card: &KeptCard) -> anyhow::Result<NetSpec> {
    Ok(NetSpec { id: Some(card.id.clone()), ..NetSpec::new(card.tap.as_deref(), None, card.queues)? })
}
