//! Instances: a folder each, with a disk that begins as the image's and takes room only for what is changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use disk::{BackingName, CreateOptions, DiskFormat};
use messages::nearest;
use vm_spec::VmName;

use crate::durable;
use crate::error::StoreError;
use crate::images::list_folder;
use crate::layout::{INSTANCE_IMAGE, Layout};
use crate::locks;
use crate::metadata::{Image, ImageMetadata, METADATA_BYTES_MAX};
use crate::sparse;
use crate::staging::StagingFolder;
use crate::store::Store;
use image_model::Digest;

const RAW_DISK: &str = "disk.raw";
const QCOW2_DISK: &str = "disk.qcow2";

/// How an instance's disk came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskMethod {
    /// A raw file that shares the blob's blocks until they are changed.
    Reflink,
    /// A qcow2 overlay over the blob.
    Overlay,
}

/// An instance's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceDisk {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// The disk's length in bytes; the root file system has to grow by itself.
    pub size_bytes: u64,
    /// How it was made.
    pub method: DiskMethod,
}

impl Store {
    /// Makes the folder of an instance with a disk of `size_bytes` that begins as the image's; `None` gives
    /// it the smallest that the image allows. It takes next to no time and room.
    ///
    /// # Errors
    /// The name is taken, the size too small, the image's blob missing, or the host refuses; then there is no
    /// folder.
    pub fn create_instance_disk(
        &self,
        image: &Image,
        name: &VmName,
        size_bytes: Option<u64>,
    ) -> Result<InstanceDisk, StoreError> {
        self.create_instance_in(&self.stage()?, image, name, size_bytes)
    }

    /// The same, with what `staging` holds already: it becomes the instance's folder, in one step, with a disk in it.
    ///
    /// # Errors
    /// As for [`Store::create_instance_disk`].
    pub fn create_instance_in(
        &self,
        staging: &StagingFolder,
        image: &Image,
        name: &VmName,
        size_bytes: Option<u64>,
    ) -> Result<InstanceDisk, StoreError> {
        // A disk consists of whole blocks, whatever their size.
        let block_bytes = image.metadata.description.machine.block_bytes.map_or(disk::SECTOR_SIZE, u64::from);
        let smallest = image.metadata.smallest_disk_bytes().next_multiple_of(block_bytes);
        let size_bytes = size_bytes.unwrap_or(smallest);
        if size_bytes < smallest {
            let (asked_bytes, needed_bytes) = (size_bytes, smallest);
            let image = self.name_of(image);
            return Err(StoreError::DiskTooSmall { image, asked_bytes, needed_bytes });
        }
        let size_bytes = size_bytes.next_multiple_of(block_bytes);
        // Until the instance has its name, nothing but this lock keeps its blobs from being collected.
        let _lock = self.lock_shared()?;
        if !self.missing_blobs(image).is_empty() {
            return Err(StoreError::MissingBlob { image: self.name_of(image) });
        }
        let method = self.make_disk(staging, &image.metadata.disk, size_bytes)?;
        self.name_instance(staging, name, image)?;
        let format = if method == DiskMethod::Reflink { DiskFormat::Raw } else { DiskFormat::Qcow2 };
        let path = self.layout.instance(name).join(disk_name(format));
        Ok(InstanceDisk { path, format, size_bytes, method })
    }

    fn make_disk(
        &self,
        staging: &StagingFolder,
        blob: &Digest,
        size_bytes: u64,
    ) -> Result<DiskMethod, StoreError> {
        let raw = staging.file(RAW_DISK);
        if sparse::clone(&self.blob_path(blob), (&raw).into())?.is_some() {
            let file = fs::File::options().write(true).open(&raw).map_err(StoreError::io("open", &raw))?;
            let grown = file.set_len(size_bytes).and_then(|()| file.sync_all());
            grown.map_err(StoreError::io("lengthen", &raw))?;
            return Ok(DiskMethod::Reflink);
        }
        let backing = BackingName { path: Layout::blob_from_instance(blob), format: Some("raw".to_owned()) };
        let options = CreateOptions { backing: Some(backing), ..CreateOptions::new(size_bytes) };
        let overlay = staging.file(QCOW2_DISK);
        disk::create_qcow2(&overlay, &options)?;
        // Its tables are clusters of which all but the beginning is zero.
        sparse::punch_zeros(&overlay)?;
        Ok(DiskMethod::Overlay)
    }

    /// Writes what is known of the image, and gives the folder the instance's name.
    fn name_instance(&self, staging: &StagingFolder, name: &VmName, image: &Image) -> Result<(), StoreError> {
        durable::write_synced(&staging.file(INSTANCE_IMAGE), &image.metadata.to_json())?;
        durable::sync_folder(staging.path())?;
        let target = self.layout.instance(name);
        let renamed = rustix::fs::renameat_with(
            rustix::fs::CWD,
            staging.path(),
            rustix::fs::CWD,
            &target,
            rustix::fs::RenameFlags::NOREPLACE,
        );
        match renamed {
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => {
                Err(StoreError::InstanceExists(name.clone()))
            }
            answer => {
                answer.map_err(StoreError::errno("give its name to", &target))?;
                durable::sync_folder_of(&target)
            }
        }
    }

    /// The folder of an instance, whether it is there or not.
    pub fn instance_folder(&self, name: &VmName) -> PathBuf {
        self.layout.instance(name)
    }

    /// All instances, and the images that they were made of, which may have been deleted since.
    ///
    /// # Errors
    /// A folder cannot be read, or what it says of the image.
    pub fn instances(&self) -> Result<Vec<(VmName, Image)>, StoreError> {
        let mut instances = Vec::new();
        for (folder, image) in self.images_of_instances()? {
            let name = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // A folder that somebody has given a name that no instance has is none until it is renamed.
            instances.extend(name.map(|name| (name, image)));
        }
        Ok(instances)
    }

    /// The folders of all instances, whatever they are called, and the images that these were made of.
    pub(crate) fn images_of_instances(&self) -> Result<Vec<(PathBuf, Image)>, StoreError> {
        let mut images = Vec::new();
        for folder in list_folder(&self.layout.instances())? {
            // One that names none was not made of an image, or is being removed.
            if let Some(image) = read_image(&folder)? {
                images.push((folder, image));
            }
        }
        Ok(images)
    }

    /// The image that an instance was made of, whether the store still has it or not.
    ///
    /// # Errors
    /// There is no such instance, or its image's file cannot be read.
    pub fn instance_image(&self, name: &VmName) -> Result<Image, StoreError> {
        match read_image(&self.layout.instance(name))? {
            Some(image) => Ok(image),
            None => Err(self.no_such_instance(name)?),
        }
    }

    /// An instance's disk.
    ///
    /// # Errors
    /// There is no such instance, or its disk is gone.
    pub fn instance_disk(&self, name: &VmName) -> Result<InstanceDisk, StoreError> {
        let folder = self.layout.instance(name);
        if !folder.is_dir() {
            return Err(self.no_such_instance(name)?);
        }
        let qcow2 = folder.join(QCOW2_DISK);
        let (path, format, method) = if qcow2.is_file() {
            (qcow2, DiskFormat::Qcow2, DiskMethod::Overlay)
        } else {
            (folder.join(RAW_DISK), DiskFormat::Raw, DiskMethod::Reflink)
        };
        let size_bytes = disk::info(&path, format, disk::RawContents::Any)?.size_bytes;
        Ok(InstanceDisk { path, format, size_bytes, method })
    }

    /// Removes an instance with all that is in its folder. Whether it runs is for the caller to know. Of several who
    /// remove it at once, the others are told that there is none.
    ///
    /// # Errors
    /// There is no such instance, or the host refuses.
    pub fn remove_instance(&self, name: &VmName) -> Result<(), StoreError> {
        let folder = self.layout.instance(name);
        let open = match fs::File::open(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.no_such_instance(name)?),
            open => open.map_err(StoreError::io("open", &folder))?,
        };
        let gone = self.layout.staging().join(durable::random_name(&folder)?);
        // Renamed and locked it is as any staging folder; if we are killed, garbage collection removes the rest.
        if !locks::try_lock(&open, &folder)? {
            return Err(self.no_such_instance(name)?);
        }
        match fs::rename(&folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.no_such_instance(name)?),
            answer => answer.map_err(StoreError::io("remove", &folder))?,
        }
        durable::sync_folder_of(&folder)?;
        durable::remove_folder(&gone)
    }

    fn no_such_instance(&self, name: &VmName) -> Result<StoreError, StoreError> {
        let instances = self.instances()?;
        let suggestion = nearest(name.as_str(), instances.iter().map(|(name, _)| name.as_str()));
        Ok(StoreError::NoSuchInstance { name: name.clone(), suggestion: suggestion.map(str::to_owned) })
    }
}

fn disk_name(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => RAW_DISK,
        DiskFormat::Qcow2 => QCOW2_DISK,
    }
}

fn read_image(folder: &Path) -> Result<Option<Image>, StoreError> {
    let path = folder.join(INSTANCE_IMAGE);
    match durable::read_file(&path, METADATA_BYTES_MAX) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => ImageMetadata::from_json(&path, &bytes).map(Some),
    }
}
