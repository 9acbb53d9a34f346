//! The file systems of a disk, opened.

use std::io::Write;
use std::rc::Rc;

use super::entry::Place;
use super::root::Root;
use super::{BootError, FileRef};
use crate::{
    Content, FileSystem, FsError, Limited, Partition, PartitionType, Slice, identify, open_file_system,
    read_partitions,
};

/// More partitions than a disk that boots has.
const VOLUME_LIMIT: usize = 128;

/// A file system, and where it is.
pub(super) struct Volume {
    pub(super) partition: Option<Partition>,
    pub(super) fs: Box<dyn FileSystem>,
}

impl Volume {
    /// `partition 1 (ext4)`.
    pub(super) fn name(&self) -> String {
        format!("{} ({})", place_name(self.partition.as_ref()), self.fs.kind())
    }

    pub(super) fn kind(&self) -> Option<PartitionType> {
        self.partition.as_ref().map(|partition| partition.kind)
    }
}

fn place_name(partition: Option<&Partition>) -> String {
    partition.map_or_else(|| "the disk".to_owned(), |partition| format!("partition {}", partition.number))
}

/// All that a disk holds.
pub(super) struct Volumes {
    pub(super) disk: Rc<Limited>,
    pub(super) list: Vec<Volume>,
    table_notes: Vec<String>,
    /// What cannot be read, in words, and whose it is.
    foreign: Vec<(String, Option<String>)>,
}

impl Volumes {
    pub(super) fn open(disk: Rc<Limited>) -> Result<Volumes, BootError> {
        let table = read_partitions(&*disk).map_err(BootError::Read)?;
        let mut volumes = Volumes { disk, list: Vec::new(), table_notes: table.notes, foreign: Vec::new() };
        if table.partitions.is_empty() {
            volumes.add(None)?;
        }
        for partition in table.partitions.into_iter().take(VOLUME_LIMIT) {
            volumes.add(Some(partition))?;
        }
        if !volumes.list.is_empty() {
            return Ok(volumes);
        }
        let with_system = volumes.foreign.iter().find_map(|(found, system)| Some((found, system.as_ref()?)));
        Err(match with_system {
            Some((found, system)) => {
                BootError::NeedsFirmware { found: found.clone(), system: system.clone() }
            }
            None if volumes.foreign.is_empty() => BootError::Nothing,
            None => {
                let found: Vec<&str> = volumes.foreign.iter().map(|(found, _)| found.as_str()).collect();
                BootError::NoFileSystem(found.join(", "))
            }
        })
    }

    /// Opens what is in a partition, or on the whole disk.
    fn add(&mut self, partition: Option<Partition>) -> Result<(), BootError> {
        let device = match &partition {
            Some(Partition { start_bytes, len_bytes, .. }) => {
                Rc::new(Slice::new(self.disk.clone(), *start_bytes, *len_bytes))
            }
            None => Rc::new(Slice::new(self.disk.clone(), 0, u64::MAX)),
        };
        let place = place_name(partition.as_ref());
        match identify(&*device).map_err(BootError::Read)? {
            Content::FileSystem(kind) => match open_file_system(device) {
                Ok(Some(fs)) => self.list.push(Volume { partition, fs }),
                Ok(None) => {}
                Err(error) => self.foreign.push((format!("{place} ({kind}): {error}"), None)),
            },
            Content::Foreign { name, system } => {
                let system = match partition.as_ref().map(|partition| partition.kind) {
                    Some(PartitionType::FreeBsd) => Some("FreeBSD"),
                    Some(PartitionType::OpenBsd) => Some("OpenBSD"),
                    Some(PartitionType::NetBsd) => Some("NetBSD"),
                    _ => system,
                };
                self.foreign.push((format!("{place} holds {name}"), system.map(str::to_owned)));
            }
            Content::Unknown => {
                if let Some((name, system)) = partition.as_ref().and_then(|partition| by_type(partition.kind))
                {
                    self.foreign.push((format!("{place} is {name}"), system.map(str::to_owned)));
                }
            }
        }
        Ok(())
    }

    /// Writes a file, or the section of one.
    pub(super) fn write(
        &self,
        file: &FileRef,
        limit_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<u64, FsError> {
        let size_bytes = file.size_bytes;
        if size_bytes > limit_bytes {
            return Err(FsError::TooLarge { size_bytes, limit_bytes });
        }
        let written = self.list[file.volume].fs.read_range(&file.path, file.offset_bytes, size_bytes, out)?;
        if written < size_bytes {
            return Err(FsError::Damaged("a file ends before a section of it does"));
        }
        Ok(written)
    }

    /// What a person should know of the table and of the volumes that are used.
    pub(super) fn notes(&self, root: Option<&Root>, files: impl Iterator<Item = usize>) -> Vec<String> {
        let mut used: Vec<usize> = root.map(|root| root.volume).into_iter().chain(files).collect();
        used.sort_unstable();
        used.dedup();
        let of_volume = |&index: &usize| {
            let volume = &self.list[index];
            volume.fs.notes().iter().map(|note| format!("{}: {note}", volume.name())).collect::<Vec<_>>()
        };
        let damaged =
            self.foreign.iter().filter(|(_, system)| system.is_none()).map(|(found, _)| found.clone());
        let mut notes: Vec<String> = self.table_notes.clone();
        notes.extend(used.iter().flat_map(of_volume));
        notes.extend(damaged.filter(|found| found.contains("): ")));
        notes
    }

    /// What to say when there is no kernel.
    pub(super) fn no_kernel(&self, places: &[Place], passed_over: &[String]) -> BootError {
        let foreign = self.foreign.iter().find_map(|(found, system)| Some((found, system.as_ref()?)));
        let linux = places.iter().any(|place| place.is_root);
        if let (Some((found, system)), false) = (foreign, linux) {
            return BootError::NeedsFirmware { found: found.clone(), system: system.clone() };
        }
        let mut looked: Vec<String> = places.iter().map(|place| place.name(self)).collect();
        looked.extend(self.foreign.iter().map(|(found, _)| format!("not in {found}")));
        let passed_over = match passed_over {
            [] => String::new(),
            passed_over => format!(": {}", passed_over.join("; ")),
        };
        BootError::NoKernel { looked: looked.join(", "), passed_over }
    }
}

/// What a partition is that holds nothing known, by the type in the table.
fn by_type(kind: PartitionType) -> Option<(&'static str, Option<&'static str>)> {
    match kind {
        PartitionType::FreeBsd => Some(("FreeBSD's", Some("FreeBSD"))),
        PartitionType::OpenBsd => Some(("OpenBSD's", Some("OpenBSD"))),
        PartitionType::NetBsd => Some(("NetBSD's", Some("NetBSD"))),
        _ => None,
    }
}
