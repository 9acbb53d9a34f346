//! Making a snapshot, from the plan to the record.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::DirtyBitmap;
use guest_memory::GuestMemory;
use host_sys::named_file::folder_of;
use snapshot_files::ram::{
    PAGE_BYTES, PageSet, RamError, RamIndex, RamLayout, RamWriter, compress, difference,
};
use snapshot_files::{
    DEPTH_MAX, FileName, KeptFile, RAM, RAM_INDEX, STATE, Snapshot, SnapshotError, SnapshotId, SnapshotName,
};
use vm_control::{SnapshotOrder, SnapshotTaken};
use vm_spec::{DeviceId, VmSpec};
use vm_state::VmState;

use super::disks::DiskCopies;
use super::record::{kept, write_record, write_synced};
use super::{Answer, MachineHandle, SnapshotFailure, boot_files};
use crate::control::{Refusal, Reply};

/// How often pages that were written meanwhile are copied before the guest has to stand still.
const ROUNDS: u32 = 8;
/// So few pages are copied in the pause as they are: about a millisecond's work.
const FEW_PAGES: u64 = 512;

/// What a snapshot is made of.
pub(crate) struct TakeJob {
    pub(crate) order: SnapshotOrder,
    pub(crate) spec: VmSpec,
    pub(crate) engine: &'static str,
    /// Which parts of its disks' files are written.
    pub(crate) dirty: BTreeMap<DeviceId, Arc<DirtyBitmap>>,
    pub(crate) memory: GuestMemory,
    pub(crate) machine: MachineHandle,
}

/// What the pause has left to be written.
pub(super) struct Captured {
    pub(super) state: VmState,
    pub(super) ram: RamIndex,
    pub(super) disks: DiskCopies,
    pub(super) pause_us: u64,
}

impl TakeJob {
    /// Makes the snapshot and answers.
    pub(crate) fn run(&self, reply: Answer) {
        let taken = self.take(&reply);
        // Else whoever asked is gone, and removes nothing: the next one does.
        reply.send(taken.map(Reply::Snapshot).map_err(|error| Refusal::host(&error)));
    }

    fn take(&self, reply: &Answer) -> Result<SnapshotTaken, SnapshotFailure> {
        let folder = Path::new(&self.order.folder);
        let mut notes = Vec::new();
        let ram_bytes = touched(&self.memory, folder)?.count() * PAGE_BYTES as u64;
        let base = self.base(folder)?;
        let disks = DiskCopies::plan(&self.spec, &self.dirty, folder, ram_bytes)?;
        let boot = boot_files::copy(&self.spec, folder)?;
        let ram_path = folder.join(RAM);
        let ram = self.create_ram(&ram_path)?;
        let captured = self.capture(ram, disks, reply, &mut notes)?;
        if reply.is_closed() {
            return Err(SnapshotFailure::Unwanted);
        }
        let ram = self.finish_ram(&ram_path, captured.ram, base.as_ref())?;
        let mut files = boot.files.clone();
        files.push(write_synced(folder, STATE, &captured.state.to_bytes()?)?);
        files.push(write_synced(folder, RAM_INDEX, &ram.to_bytes()?)?);
        files.push(KeptFile { name: file_name(RAM)?, size_bytes: ram.file_bytes(), crc32c: None });
        let (disks, disk_files) = captured.disks.finish(folder)?;
        files.extend(disk_files);
        let taken = SnapshotTaken { pause_us: captured.pause_us, ram_bytes: ram.data_bytes(), notes };
        write_record(folder, &kept(self, base.as_ref(), boot, disks, files, &taken)?)?;
        Ok(taken)
    }

    fn create_ram(&self, path: &Path) -> Result<RamWriter<File>, SnapshotFailure> {
        let layout = RamLayout::of(&self.memory);
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(SnapshotFailure::io("make", path))?;
        file.set_len(layout.size_bytes()).map_err(SnapshotFailure::io("make", path))?;
        Ok(RamWriter::new(file, layout))
    }

    /// Copies disks and RAM while the guest runs, and the rest of them with everything else while it stands still.
    fn capture(
        &self,
        mut ram: RamWriter<File>,
        mut disks: DiskCopies,
        reply: &Answer,
        notes: &mut Vec<String>,
    ) -> Result<Captured, SnapshotFailure> {
        disks.copy_live(|| reply.is_closed())?;
        if let Err(why) = self.machine.start_log()? {
            notes.push(format!("its memory was copied while it stood still: {why}"));
            return self.freeze(ram, None, disks);
        }
        // Whatever happens: the guest is not to be slower than it was.
        let _stop = StopLog(&self.machine);
        let rest = self.copy_live(&mut ram, reply)?;
        disks.catch_up(|| reply.is_closed())?;
        self.freeze(ram, Some(rest), disks)
    }

    /// Copies pages until few are left; those.
    fn copy_live(&self, ram: &mut RamWriter<File>, reply: &Answer) -> Result<PageSet, SnapshotFailure> {
        let layout = RamLayout::of(&self.memory);
        // Looked for while there is a log: what is touched later is in that.
        let mut next = touched(&self.memory, Path::new(&self.order.folder))?;
        for _ in 0..ROUNDS {
            if reply.is_closed() {
                return Err(SnapshotFailure::Unwanted);
            }
            self.write(ram, &next)?;
            next = PageSet::dirty(&self.machine.take_log()?, &layout);
            if next.count() <= FEW_PAGES {
                break;
            }
        }
        Ok(next)
    }

    /// `rest` is what is left to be copied, besides what the log has; nothing where there is no log.
    fn freeze(
        &self,
        mut ram: RamWriter<File>,
        rest: Option<PageSet>,
        mut disks: DiskCopies,
    ) -> Result<Captured, SnapshotFailure> {
        let (memory, path) = (self.memory.clone(), PathBuf::from(&self.order.folder).join(RAM));
        let (layout, spec) = (RamLayout::of(&memory), self.spec.clone());
        let captured = self.machine.freeze(rest.is_some(), move |frozen| {
            // One that the guest was asked for before may have gone.
            if !frozen.state.blueprint.has_devices_of(&spec) {
                return Err(SnapshotFailure::Changed);
            }
            let pages = match rest {
                Some(mut rest) => {
                    rest.join(&PageSet::dirty(&frozen.dirty, &layout));
                    rest
                }
                None => touched(&memory, &path)?,
            };
            ram.write(&memory, &pages).map_err(SnapshotFailure::io("write", &path))?;
            disks.freeze(&frozen.disk_bytes)?;
            let pause_us = u64::try_from(frozen.since.elapsed().as_micros()).unwrap_or(u64::MAX);
            Ok((frozen.state, ram, disks, pause_us))
        });
        // The guest runs again: an index of much RAM takes its time.
        let (state, ram, disks, pause_us) = captured?;
        let (_file, ram) = ram.finish();
        Ok(Captured { state, ram, disks, pause_us })
    }

    fn write(&self, ram: &mut RamWriter<File>, pages: &PageSet) -> Result<(), SnapshotFailure> {
        let path = Path::new(&self.order.folder).join(RAM);
        ram.write(&self.memory, pages).map_err(SnapshotFailure::io("write", &path))
    }

    /// What it is to build upon, beside it.
    fn base(&self, folder: &Path) -> Result<Option<Snapshot>, SnapshotFailure> {
        let Some(name) = &self.order.base else { return Ok(None) };
        // A name leads nowhere else.
        let name: SnapshotName = name.parse()?;
        let base = Snapshot::at(&folder_of(folder).join(name.as_str()))?;
        if base.chain()?.len() >= DEPTH_MAX {
            let id = SnapshotId { vm: self.order.vm.parse()?, name: self.order.name.parse()? };
            return Err(SnapshotError::Deep { id, most: DEPTH_MAX }.into());
        }
        if *base.ram_index()?.layout() != RamLayout::of(&self.memory) {
            return Err(SnapshotFailure::OtherRam(base.record.id()));
        }
        Ok(Some(base))
    }

    /// Brings RAM to stable storage: what differs from `base` alone, and compressed, where that is wanted.
    fn finish_ram(
        &self,
        path: &Path,
        index: RamIndex,
        base: Option<&Snapshot>,
    ) -> Result<RamIndex, SnapshotFailure> {
        let mut index = index;
        if let Some(base) = base {
            let layers = base.ram_layers()?;
            index = replace_ram(path, |from, to| {
                let sized = to.set_len(index.layout().size_bytes()).map_err(RamError::from);
                let differs = sized.and_then(|()| difference(&index, from, &layers, to));
                Ok(differs.map_err(|source| base.ram_error(source))?)
            })?;
        }
        if self.order.compress {
            index = replace_ram(path, |from, to| Ok(compress(&index, from, to)?))?;
        }
        let file = File::open(path).map_err(SnapshotFailure::io("open", path))?;
        file.sync_all().map_err(SnapshotFailure::io("write", path))?;
        Ok(index)
    }
}

/// Puts a file that is made of the one at `path` in its place.
fn replace_ram(
    path: &Path,
    make: impl FnOnce(File, &File) -> Result<RamIndex, SnapshotFailure>,
) -> Result<RamIndex, SnapshotFailure> {
    let from = File::open(path).map_err(SnapshotFailure::io("open", path))?;
    let made_path = path.with_extension("made");
    let made = File::options().read(true).write(true).create_new(true).open(&made_path);
    let made = made.map_err(SnapshotFailure::io("make", &made_path))?;
    let index = make(from, &made)?;
    std::fs::rename(&made_path, path).map_err(SnapshotFailure::io("write", path))?;
    Ok(index)
}

fn touched(memory: &GuestMemory, folder: &Path) -> Result<PageSet, SnapshotFailure> {
    PageSet::touched(memory).map_err(SnapshotFailure::io("find the memory that is to be written to", folder))
}

/// Stops the log when it goes.
struct StopLog<'m>(&'m MachineHandle);

impl Drop for StopLog<'_> {
    fn drop(&mut self) {
        self.0.stop_log();
    }
}

pub(super) fn file_name(text: &str) -> Result<FileName, SnapshotFailure> {
    Ok(FileName::try_from(text.to_owned())?)
}
