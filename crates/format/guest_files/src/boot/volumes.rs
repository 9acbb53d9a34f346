//! The file systems of a disk, opened.

use std::io::Write;
use std::rc::Rc;

use super::entry::Place;
use super::root::Root;
use super::{BootError, FileRef};
use crate::{
    Content, FileSystem, FsError, Limited, Partition, PartitionType, Slice, TableKind, identify,
    open_file_system, read_partitions,
};

/// What [`identify`] calls that which holds no files.
const SWAP: &str = "swap space";
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
        format!("{} ({})", self.place(), self.fs.kind())
    }

    /// `partition 1`.
    pub(super) fn place(&self) -> String {
        place_name(self.partition.as_ref())
    }

    fn number(&self) -> Option<u32> {
        self.partition.as_ref().map(|partition| partition.number)
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
    pub(super) table: TableKind,
    table_notes: Vec<String>,
    /// The numbers of all partitions.
    numbers: Vec<u32>,
    foreign: Vec<Foreign>,
}

/// What cannot be read.
struct Foreign {
    number: Option<u32>,
    /// In words.
    found: String,
    /// Whose it is.
    system: Option<String>,
    /// Whether it may hold files.
    has_files: bool,
}

impl Volumes {
    pub(super) fn open(disk: Rc<Limited>) -> Result<Volumes, BootError> {
        let table = read_partitions(&*disk).map_err(BootError::Read)?;
        let mut volumes = Volumes {
            disk,
            list: Vec::new(),
            table: table.kind,
            table_notes: table.notes,
            numbers: table.partitions.iter().map(|partition| partition.number).collect(),
            foreign: Vec::new(),
        };
        if table.partitions.is_empty() {
            volumes.add(None)?;
        }
        for partition in table.partitions.into_iter().take(VOLUME_LIMIT) {
            volumes.add(Some(partition))?;
        }
        if !volumes.list.is_empty() {
            return Ok(volumes);
        }
        Err(match volumes.others_system() {
            Some((found, system)) => {
                BootError::NeedsFirmware { found: found.clone(), system: system.clone() }
            }
            None if volumes.foreign.is_empty() => BootError::Nothing,
            None => {
                let found: Vec<&str> = volumes.foreign.iter().map(|foreign| foreign.found.as_str()).collect();
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
        let number = partition.as_ref().map(|partition| partition.number);
        let foreign = |found, system: Option<&str>, has_files| Foreign {
            number,
            found,
            system: system.map(str::to_owned),
            has_files,
        };
        match identify(&*device).map_err(BootError::Read)? {
            Content::FileSystem(kind) => match open_file_system(device) {
                Ok(Some(fs)) => self.list.push(Volume { partition, fs }),
                Ok(None) => {}
                Err(error) => self.foreign.push(foreign(format!("{place} ({kind}): {error}"), None, true)),
            },
            Content::Foreign { name, system } => {
                let system = match partition.as_ref().map(|partition| partition.kind) {
                    Some(PartitionType::FreeBsd) => Some("FreeBSD"),
                    Some(PartitionType::OpenBsd) => Some("OpenBSD"),
                    Some(PartitionType::NetBsd) => Some("NetBSD"),
                    _ => system,
                };
                self.foreign.push(foreign(format!("{place} holds {name}"), system, name != SWAP));
            }
            Content::Unknown => {
                if let Some((name, system)) = partition.as_ref().and_then(|partition| by_type(partition.kind))
                {
                    self.foreign.push(foreign(format!("{place} is {name}"), system, true));
                }
            }
        }
        Ok(())
    }

    /// What a partition holds that cannot be read, in words.
    pub(super) fn unreadable(&self, number: u32) -> Option<&str> {
        let foreign = self.foreign.iter().find(|foreign| foreign.number == Some(number));
        foreign.map(|foreign| foreign.found.as_str())
    }

    /// What holds files, perhaps, and cannot be read, in words.
    pub(super) fn may_hold_files(&self) -> impl Iterator<Item = &str> {
        self.foreign.iter().filter(|foreign| foreign.has_files).map(|foreign| foreign.found.as_str())
    }

    /// The numbers of all partitions.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The volumes that show the same file system, `volume` first.
    pub(super) fn views(&self, volume: usize) -> Vec<usize> {
        let number = self.list[volume].number();
        let others =
            (0..self.list.len()).filter(|&other| other != volume && self.list[other].number() == number);
        std::iter::once(volume).chain(others).collect()
    }

    /// What belongs to another operating system: in words, and to which.
    fn others_system(&self) -> Option<(&String, &String)> {
        self.foreign.iter().find_map(|foreign| Some((&foreign.found, foreign.system.as_ref()?)))
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
        let damaged = self
            .foreign
            .iter()
            .filter(|foreign| foreign.system.is_none())
            .map(|foreign| foreign.found.clone());
        let mut notes: Vec<String> = self.table_notes.clone();
        notes.extend(used.iter().flat_map(of_volume));
        notes.extend(damaged.filter(|found| found.contains("): ")));
        notes
    }

    /// What to say when there is no kernel.
    pub(super) fn no_kernel(&self, places: &[Place], passed_over: &[String]) -> BootError {
        let linux = places.iter().any(|place| place.is_root);
        if let (Some((found, system)), false) = (self.others_system(), linux) {
            return BootError::NeedsFirmware { found: found.clone(), system: system.clone() };
        }
        let mut looked: Vec<String> = places.iter().map(|place| place.name(self)).collect();
        looked.extend(self.foreign.iter().map(|foreign| format!("not in {}", foreign.found)));
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
