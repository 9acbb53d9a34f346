//! VMs that go on from a snapshot under names of their own: their disks are overlays on the snapshot's, which stays as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use disk::{BackingName, CreateOptions, create_qcow2};
use instance_ops::InstanceError;
use messages::in_words;
use snapshot_files::{
    KeptBoot, KeptCard, KeptDisk, KeptModule, Origin, Restored, Snapshot, SnapshotId, Snapshots,
};
use vm_spec::{CpuCount, DiskFormat, DiskSpec, KernelSpec, ModuleSpec, NetSpec, VmName};
use yagura_vmm::{runs_already, say};

use crate::images;
use crate::settings::RestoredVm;
use crate::verbs;

/// A snapshot from which VMs go on: all of it was looked at.
pub struct Source {
    snapshots: Snapshots,
    snapshot: Snapshot,
}

impl Source {
    /// The snapshot of this name.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open(id: &SnapshotId) -> anyhow::Result<Source> {
        let snapshots = Snapshots::new(&images::data_folder()?);
        let snapshot = snapshots.open(id)?;
        snapshot.verify()?;
        Ok(Source { snapshots, snapshot })
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.snapshot.folder()
    }

    /// The cards of its machine.
    pub fn cards(&self) -> &[KeptCard] {
        &self.snapshot.record.cards
    }

    /// Where the disks of the VM called `name` are.
    pub fn restored(&self, name: &VmName) -> Restored {
        self.snapshots.restored(name)
    }

    /// Makes the disks of a VM.
    ///
    /// # Errors
    /// The name is taken, or the host refuses; then nothing of it is there.
    pub fn new_vm(&self, name: &VmName) -> anyhow::Result<RestoredVm> {
        if verbs::runs(name) {
            bail!("{}", runs_already(name));
        }
        let restored = self.restored(name);
        if restored.exists() {
            bail!(
                "VM {name} was restored before, and its disks are in {}; 'yagura delete {name}' removes them, another VM \
                 needs a name of its own",
                restored.folder().display()
            );
        }
        if images::images()?.store.instance_folder(name).exists() {
            bail!("VM {name} is there already; give another one a name of its own");
        }
        let failed = || format!("VM {name}");
        restored.make(&Origin { snapshot: self.snapshot.record.id() }).with_context(failed)?;
        let vm = describe(&self.snapshot, &restored, name.clone()).with_context(failed);
        if vm.is_err()
            && let Err(left) = restored.remove()
        {
            say(&in_words(&left));
        }
        vm
    }
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

fn describe(snapshot: &Snapshot, restored: &Restored, name: VmName) -> anyhow::Result<RestoredVm> {
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
