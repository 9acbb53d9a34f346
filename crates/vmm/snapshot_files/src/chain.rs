//! Snapshots that have of RAM only what differs from another one of the same VM: down to the one that has all of it, and back
//! to having all of it.
//!
//! ```text
//! a (all) ◄── b (differs from a) ◄── c (differs from b)        c: b and a have to be there
//! flatten c ─► `.new-…` with all of RAM ─► in the place of c    c: all by itself
//! ```

use std::fs::{self, File};

use host_sys::named_file::folder_of;
use messages::Progress;
use serde::{Deserialize, Serialize};

use crate::ram::{RamError, RamIndex, RamLayers, compress};
use crate::{
    FileName, KeptFile, RAM, RAM_INDEX, Record, Snapshot, SnapshotError, SnapshotId, SnapshotName, Snapshots,
    Staging,
};

/// Most snapshots that build upon one another, with the one that has all.
pub const DEPTH_MAX: usize = 64;

/// What a snapshot builds upon: another one of the same VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBase {
    /// Its name.
    pub name: SnapshotName,
    /// Its UUID: another one of that name is not it.
    pub uuid: String,
}

/// Snapshots that build upon one another.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The one that has all of its RAM.
    pub whole: Snapshot,
    /// Those that have what differs from the one before, the oldest first.
    pub differences: Vec<Snapshot>,
}

impl Chain {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        1 + self.differences.len()
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Snapshot> {
        std::iter::once(&self.whole).chain(&self.differences)
    }
}

impl Snapshot {
    /// What it builds upon, down to the one that has all of its RAM, and itself.
    ///
    /// # Errors
    /// One is missing, is another one by now, or there are too many.
    pub fn chain(&self) -> Result<Chain, SnapshotError> {
        let mut chain = Chain { whole: self.clone(), differences: Vec::new() };
        while let Some(base) = chain.whole.base()? {
            chain.differences.push(std::mem::replace(&mut chain.whole, base));
            if chain.len() > DEPTH_MAX {
                return Err(SnapshotError::Deep { id: self.record.id(), most: DEPTH_MAX });
            }
        }
        chain.differences.reverse();
        Ok(chain)
    }

    /// What it builds upon.
    fn base(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let Some(KeptBase { name, uuid }) = &self.record.base else { return Ok(None) };
        let id = SnapshotId { vm: self.record.vm.clone(), name: name.clone() };
        let refused = |base, why| Err(SnapshotError::Base { id: self.record.id(), base, why });
        // Both are in one folder, whatever that is called.
        match Snapshot::at(&folder_of(&self.folder).join(name.as_str())) {
            Err(SnapshotError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                refused(id, "which is not there any more")
            }
            Ok(base) if base.record.uuid != *uuid || base.record.id() != id => {
                refused(id, "and what has that name now is another one")
            }
            base => base.map(Some),
        }
    }

    /// Its RAM with that of all it builds upon.
    ///
    /// # Errors
    /// One is missing, or not as it was.
    pub fn ram_layers(&self) -> Result<RamLayers<File>, SnapshotError> {
        self.layers_of(&self.chain()?)
    }

    /// The same of what it builds upon, and itself.
    pub(crate) fn layers_of(&self, chain: &Chain) -> Result<RamLayers<File>, SnapshotError> {
        let mut files = Vec::new();
        for snapshot in chain.iter() {
            let index = snapshot.ram_index()?;
            let (file, length) = snapshot.ram_file()?;
            files.push((file, length, index));
        }
        RamLayers::new(files).map_err(|source| self.ram_error(source))
    }

    /// Writes all of its RAM to `file`, which is empty: in the form that it has here, but whole by itself; the index of that.
    /// `beside` takes what is on the way, and is empty, too.
    ///
    /// # Errors
    /// Something is missing or damaged, the host refuses, or nobody wants it any more.
    pub fn flatten_ram(
        &self,
        file: &File,
        beside: &File,
        progress: Progress<'_>,
    ) -> Result<RamIndex, SnapshotError> {
        let layers = self.ram_layers()?;
        let failed = |error: RamError| match error {
            RamError::Cancelled => SnapshotError::Cancelled,
            error => self.ram_error(error),
        };
        let plain = if self.record.compressed { beside } else { file };
        plain.set_len(layers.layout().size_bytes()).map_err(|error| failed(error.into()))?;
        let index = layers.flatten(plain, progress).map_err(failed)?;
        if !self.record.compressed {
            return Ok(index);
        }
        let plain = plain.try_clone().map_err(|error| failed(error.into()))?;
        compress(&index, plain, file).map_err(failed)
    }
}

impl Snapshots {
    /// Makes a snapshot whole by itself; whether it was not before. Killed meanwhile, it is what it was.
    ///
    /// # Errors
    /// It is not there, it or what it builds upon is not whole, another command is at this VM's snapshots, the host refuses,
    /// or nobody wants it any more.
    pub fn flatten(&self, id: &SnapshotId, progress: Progress<'_>) -> Result<bool, SnapshotError> {
        let snapshot = self.open(id)?;
        if snapshot.record.base.is_none() {
            return Ok(false);
        }
        let staging = self.replace(id)?;
        // What it builds upon stays while this is locked.
        let snapshot = self.open(id)?;
        snapshot.verify()?;
        write_flat(&snapshot, &staging, progress)?;
        staging.keep()?;
        Ok(true)
    }

    /// One that builds upon a snapshot.
    pub(crate) fn difference_from(&self, id: &SnapshotId) -> Result<Option<SnapshotId>, SnapshotError> {
        let Ok(snapshot) = self.open(id) else { return Ok(None) };
        for name in self.names(&id.vm)? {
            let other = SnapshotId { vm: id.vm.clone(), name };
            // One that cannot be read can be restored by nobody.
            let Ok(Snapshot { record: Record { base: Some(base), .. }, .. }) = self.open(&other) else {
                continue;
            };
            if base.name == id.name && base.uuid == snapshot.record.uuid {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }
}

fn write_flat(snapshot: &Snapshot, staging: &Staging, progress: Progress<'_>) -> Result<(), SnapshotError> {
    let folder = staging.folder();
    let create = |name: &str| {
        let path = folder.join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        file.map_err(SnapshotError::io("make", &path))
    };
    let ram = create(RAM)?;
    let beside = host_sys::new_file::nameless(folder).map_err(SnapshotError::io("make a file in", folder))?;
    let index = snapshot.flatten_ram(&ram, &beside, progress)?;
    ram.sync_all().map_err(SnapshotError::io("write", &folder.join(RAM)))?;
    let mut record = snapshot.record.flattened(&index);
    for KeptFile { name, size_bytes, crc32c } in &mut record.files {
        match name.as_str() {
            RAM => *size_bytes = index.file_bytes(),
            RAM_INDEX => {
                let bytes = index.to_bytes().map_err(|source| snapshot.ram_error(source))?;
                staging.write(RAM_INDEX, &bytes)?;
                (*size_bytes, *crc32c) = (bytes.len() as u64, Some(crc32c::crc32c(&bytes)));
            }
            // Whoever has one of them open has the same one still.
            _ => link(snapshot, staging, name)?,
        }
    }
    staging.write_record(&record)
}

fn link(snapshot: &Snapshot, staging: &Staging, name: &FileName) -> Result<(), SnapshotError> {
    let target = staging.folder().join(name.as_str());
    fs::hard_link(snapshot.path(name), &target).map_err(SnapshotError::io("make", &target))
}

impl Record {
    /// The record of the same snapshot when it has all of its RAM, by that one's index. The lengths of its files are still
    /// those of before.
    pub fn flattened(&self, index: &RamIndex) -> Record {
        Record {
            version: Record::version_for(None),
            base: None,
            ram_bytes: index.data_bytes(),
            ..self.clone()
        }
    }
}
