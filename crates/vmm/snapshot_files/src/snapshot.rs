//! One snapshot that is there: its files, and whether they are what was written.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use vm_spec::{Blueprint, DeviceId};

use crate::ram::{RamError, RamIndex, RamReader};
use crate::record::BYTES_MAX;
use crate::{FileName, KeptFile, RAM, RAM_INDEX, RECORD, Record, STATE, SnapshotError};

/// Longest file that is read whole, in bytes: an index of all RAM that a machine can have.
const WHOLE_MAX: u64 = 1 << 30;

/// A snapshot that is there.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What it is.
    pub record: Record,
    pub(crate) folder: PathBuf,
}

impl Snapshot {
    /// The snapshot in `folder`, by its record.
    ///
    /// # Errors
    /// There is no record, or it is not to be believed.
    pub fn at(folder: &Path) -> Result<Snapshot, SnapshotError> {
        let path = folder.join(RECORD);
        let record = Record::from_json(&path, &read_whole(&path, BYTES_MAX)?)?;
        Ok(Snapshot { record, folder: folder.to_owned() })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where one of its files is.
    pub fn path(&self, file: &FileName) -> PathBuf {
        self.folder.join(file.as_str())
    }

    /// Whether all of its files are there, as long as they were, and those with checksums in the record as they were.
    ///
    /// # Errors
    /// One is not.
    pub fn check(&self) -> Result<(), SnapshotError> {
        for KeptFile { name, size_bytes, crc32c } in &self.record.files {
            let path = self.path(name);
            let metadata = fs::symlink_metadata(&path).map_err(SnapshotError::io("look at", &path))?;
            let (found, expected) = (metadata.len(), *size_bytes);
            if !metadata.is_file() || found != expected {
                return Err(SnapshotError::Length { path, found, expected });
            }
            if let Some(expected) = crc32c
                && *expected != checksum(&path)?
            {
                return Err(SnapshotError::Damaged(path));
            }
        }
        Ok(())
    }

    /// Looks at all of its files but disks, RAM page by page, and that of all it builds upon: what was written is there, and
    /// nothing else. Whoever goes on from it does that first.
    ///
    /// # Errors
    /// Something is not whole, or damaged.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        self.check()?;
        let chain = self.chain()?;
        // Each may be whole, and of another machine.
        let layers = self.layers_of(&chain)?;
        let mut parts = chain.iter().zip(layers.readers());
        parts.try_for_each(|(snapshot, ram)| ram.verify().map_err(|source| snapshot.ram_error(source)))
    }

    /// Whether the machine of its state is the one that its record and its RAM are of.
    ///
    /// # Errors
    /// It is another one.
    pub fn check_machine(&self, blueprint: &Blueprint, ram: &RamIndex) -> Result<(), SnapshotError> {
        let record = &self.record;
        let mixed = |what| Err(SnapshotError::Mixed { id: record.id(), what });
        if blueprint.memory.ram_bytes() != record.memory_bytes {
            return mixed("its record has more or less RAM than its state");
        }
        let ranges = blueprint.memory.ram.iter().map(|range| (range.start, range.size_bytes));
        if !ranges.eq(ram.layout().ranges().iter().map(|range| (range.gpa, range.size_bytes))) {
            return mixed("its RAM lies elsewhere than its state has it");
        }
        if blueprint.cpus.get() != record.cpus {
            return mixed("its record has another number of vCPUs than its state");
        }
        let described: BTreeSet<&DeviceId> = blueprint.disks().map(|(id, _)| id).collect();
        if !described.into_iter().eq(record.disks.iter().map(|disk| &disk.id).collect::<BTreeSet<_>>()) {
            return mixed("its record has other disks than its state");
        }
        Ok(())
    }

    /// Opens one of its files for reading.
    ///
    /// # Errors
    /// It is not there, or is no plain file.
    pub fn open_file(&self, file: &FileName) -> Result<File, SnapshotError> {
        open_plain(&self.path(file))
    }

    /// The machine's state, as `vm_state` reads it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn state(&self) -> Result<Vec<u8>, SnapshotError> {
        read_whole(&self.folder.join(STATE), WHOLE_MAX)
    }

    /// The index of its RAM.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn ram_index(&self) -> Result<RamIndex, SnapshotError> {
        let bytes = read_whole(&self.folder.join(RAM_INDEX), WHOLE_MAX)?;
        let index = RamIndex::from_bytes(&bytes).map_err(|source| self.ram_error(source))?;
        if index.is_difference() != self.record.base.is_some() {
            let what = "its record and its RAM do not agree on whether it builds upon another one";
            return Err(SnapshotError::Mixed { id: self.record.id(), what });
        }
        Ok(index)
    }

    /// Its RAM; of a difference what differs.
    ///
    /// # Errors
    /// It cannot be opened, or is not as long as it was.
    pub fn ram<'i>(&self, index: &'i RamIndex) -> Result<RamReader<'i, File>, SnapshotError> {
        let (file, length) = self.ram_file()?;
        RamReader::new(file, length, index).map_err(|source| self.ram_error(source))
    }

    /// The file of its RAM, and its length.
    pub(crate) fn ram_file(&self) -> Result<(File, u64), SnapshotError> {
        let path = self.folder.join(RAM);
        let file = open_plain(&path)?;
        let length = file.metadata().map_err(SnapshotError::io("look at", &path))?.len();
        Ok((file, length))
    }

    /// Adds an error about RAM to the snapshot's name.
    pub fn ram_error(&self, source: RamError) -> SnapshotError {
        SnapshotError::Ram { name: self.record.name.clone(), source }
    }

    /// Room that its files take on the host, in bytes. Blocks that are shared with others count.
    pub fn room_bytes(&self) -> u64 {
        let files = self.record.files.iter().map(|file| self.path(&file.name));
        let blocks =
            files.filter_map(|path| fs::symlink_metadata(path).ok()).map(|metadata| metadata.blocks());
        blocks.sum::<u64>() * 512
    }
}

/// Opens a regular file, and no link to one.
fn open_plain(path: &Path) -> Result<File, SnapshotError> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let failed = |error| SnapshotError::io("open", path)(error);
    let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    let file = file.map_err(|errno| failed(errno.into()))?;
    // Of anything else no end need ever come.
    if file.metadata().map_err(failed)?.is_file() { Ok(file) } else { Err(failed(Errno::INVAL.into())) }
}

pub(crate) fn read_whole(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SnapshotError> {
    let file = open_plain(path)?;
    let failed = SnapshotError::io("read", path);
    let mut bytes = Vec::new();
    if let Err(error) = file.take(bytes_max + 1).read_to_end(&mut bytes) {
        return Err(failed(error));
    }
    if bytes.len() as u64 > bytes_max {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// CRC-32C of a file.
pub(crate) fn checksum(path: &Path) -> Result<u32, SnapshotError> {
    let mut file = open_plain(path)?;
    let mut chunk = vec![0; 1 << 20];
    let mut sum = 0;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(sum),
            Ok(count) => sum = crc32c::crc32c_append(sum, &chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SnapshotError::io("read", path)(error)),
        }
    }
}
