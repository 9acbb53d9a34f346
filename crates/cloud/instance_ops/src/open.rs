//! An instance that is there.

use std::io;
use std::path::PathBuf;

use disk::DiskFormat;
use image_store::{Image, InstanceDisk, StoreError};
use vm_spec::VmName;

use crate::create::SEED;
use crate::record::{self, InstanceRecord};
use crate::{InstanceError, Instances};

/// The file in an instance's folder in which the VM's process records its machine.
const MACHINE: &str = "machine.json";

/// An instance, ready to be booted.
#[derive(Clone)]
pub struct Instance {
    /// Its name.
    pub name: VmName,
    /// Who it is.
    pub record: InstanceRecord,
    /// The image it was made of.
    pub image: Image,
    /// Its disk.
    pub disk: PathBuf,
    /// The disk's format.
    pub format: DiskFormat,
    /// The disk that tells it who it is, where its image reads one.
    pub seed: Option<PathBuf>,
    /// Where the VM's process records its machine, for the next start.
    pub machine: PathBuf,
    /// A password for the console that was made up now, and whose it is, where the image says that.
    pub login: Option<(Option<String>, String)>,
    /// That nobody will be able to log in, and why.
    pub warning: Option<String>,
}

impl Instances<'_> {
    /// The instance of this name. One that is older than records gets its own now.
    ///
    /// # Errors
    /// There is none of this name, it is in use, or what is recorded of it or of its image cannot be read.
    pub fn open(&self, name: &VmName) -> Result<Instance, InstanceError> {
        let disk = self.store.instance_disk(name)?;
        let image = self.store.instance_image(name)?;
        let record = self.record(name, &image)?;
        Ok(self.with(record, image, disk))
    }

    /// What is known of an instance whose folder is there.
    pub(crate) fn with(&self, record: InstanceRecord, image: Image, disk: InstanceDisk) -> Instance {
        let folder = self.store.instance_folder(&record.name);
        Instance {
            name: record.name.clone(),
            record,
            image,
            disk: disk.path,
            format: disk.format,
            seed: Some(folder.join(SEED)).filter(|path| path.is_file()),
            machine: folder.join(MACHINE),
            login: None,
            warning: None,
        }
    }

    fn record(&self, name: &VmName, image: &Image) -> Result<InstanceRecord, InstanceError> {
        let path = self.store.instance_folder(name).join(record::FILE);
        if let Some(record) = InstanceRecord::read(&path, name)? {
            return Ok(record);
        }
        let new = InstanceRecord::new(name, image)?;
        match new.write(&path) {
            Ok(()) => Ok(new),
            // Another process was at the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(InstanceRecord::read(&path, name)?.unwrap_or(new))
            }
            Err(error) => Err(StoreError::io("write", path)(error).into()),
        }
    }
}
