//! `image import`: an image out of a disk in a file, of whatever format.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use disk::SourceFormat;
use host_sys::named_file::folder_of;
use image_import::{BootOutputs, DiskFile, ImportError};
use image_model::{
    Alias, Architecture, FirstBoot, ImageDescription, ImageSource, MachineDefaults, SourceKind, UtcTime,
};
use image_store::{BootFiles, Image, NewImage, StagingFolder, StoreError};
use messages::{progress_of, step};

use crate::file::Input;
use crate::{ImageError, Images, Watch};

/// What is said of a disk that is to be an image. What is left open is read from the disk.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Operating system.
    pub os: Option<String>,
    /// Its release.
    pub release: Option<String>,
    /// Which flavour of it.
    pub variant: String,
    /// A line for people.
    pub description: Option<String>,
    /// What configures an instance.
    pub first_boot: FirstBoot,
    /// Who logs in by default.
    pub default_user: Option<String>,
    /// Least memory, in bytes.
    pub min_memory_bytes: u64,
    /// Smallest disk, in bytes.
    pub min_disk_bytes: u64,
    /// What its machines have where nobody says otherwise.
    pub machine: MachineDefaults,
    /// A disk that is said to be raw is taken as such, whatever it looks like.
    pub force_raw: bool,
    /// Which disk of an appliance becomes the image, where it has several: its file's name, or its number from 1 on.
    pub appliance_disk: Option<String>,
    /// Where the disk came from.
    pub source: ImageSource,
    /// The name that it gets, if it is to have one.
    pub alias: Option<Alias>,
}

impl ImportOptions {
    /// Refuses a disk of an appliance to be chosen where there is no appliance.
    pub(crate) fn refuse_choice_of_disk(&self, name: &Path) -> Result<(), ImageError> {
        match &self.appliance_disk {
            None => Ok(()),
            Some(_) => Err(ImageError::Refused(format!(
                "{} is not an appliance (ova, ovf), which --disk is for; leave it out",
                name.display()
            ))),
        }
    }
}

impl Images {
    /// Takes a disk in as an image.
    ///
    /// # Errors
    /// The file is no such disk, is damaged or has another behind it, or the store refuses; then there is no image.
    pub(crate) fn import(
        &self,
        input: &Input<'_>,
        format: SourceFormat,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        options.refuse_choice_of_disk(input.name)?;
        let source = input.open()?;
        let staging = self.store.stage()?;
        let raw = staging.file("disk");
        let target = staged(&raw)?;
        step(watch, "reading the disk")?;
        let disk = DiskFile { file: source.as_fd(), range: input.range, format, name: input.name };
        let extents = self.extents(input, disk, options)?;
        self.importer.convert(disk, &extents, target.as_fd(), &mut progress_of(watch))?;
        let mut options = options.clone();
        let layout =
            self.importer.read_layout(DiskFile::new(target.as_fd(), SourceFormat::Raw, input.name))?;
        // Blocks of 512 bytes are what disks have where nothing is said.
        let found = layout.sector_bytes.filter(|bytes| *bytes != 512);
        options.machine.block_bytes = options.machine.block_bytes.or(found);
        let found = self.look(&staging, &raw, input.name, watch)?;
        self.adopt(raw, found, &options, watch)
    }

    /// The files beside a disk's own that hold its data. What a stranger's disk names is not looked for among this host's
    /// files, nor what one names that nobody said to be of its format: a guest may have written it.
    fn extents(
        &self,
        input: &Input<'_>,
        disk: DiskFile<'_>,
        options: &ImportOptions,
    ) -> Result<Vec<File>, ImageError> {
        if disk.format != SourceFormat::Vmdk {
            return Ok(Vec::new());
        }
        if input.is_named && options.source.kind == SourceKind::File {
            return Ok(self.importer.open_extents(disk, folder_of(input.path))?);
        }
        let names = self.importer.describe(disk)?.extents;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let advice = if input.path == input.name { "; give --format vmdk if that is meant" } else { "" };
        Err(ImageError::Refused(format!(
            "disk {} has its data in other files ({}), which are not looked for{advice}",
            input.name.display(),
            names.join(", ")
        )))
    }

    /// The rest of the way for a raw disk in a staging folder, and for what was found on it: into the store.
    pub(crate) fn adopt(
        &self,
        raw: PathBuf,
        found: Found,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let Found { boot, facts } = found;
        let fact = |key: &str| facts.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let release = options.release.clone().or_else(|| fact("VERSION_ID")).filter(|text| !text.is_empty());
        let description = ImageDescription {
            os: options.os.clone().or_else(|| fact("ID")).unwrap_or_else(|| "unknown".to_owned()),
            release: release.unwrap_or_else(|| "unknown".to_owned()),
            architecture: Architecture::of_host(),
            variant: options.variant.clone(),
            description: options.description.clone().or_else(|| fact("PRETTY_NAME")).unwrap_or_default(),
            default_user: options.default_user.clone(),
            min_disk_bytes: options.min_disk_bytes,
            min_memory_bytes: options.min_memory_bytes,
            machine: options.machine.clone(),
            first_boot: options.first_boot,
            source: options.source.clone(),
            built: UtcTime::now(),
        };
        self.take_in(NewImage { description, disk: raw, boot }, options.alias.as_ref(), watch)
    }

    /// Whether a kernel can be taken out of the disk, and what its os-release says.
    pub(crate) fn look(
        &self,
        staging: &StagingFolder,
        raw: &Path,
        name: &Path,
        watch: &mut dyn Watch,
    ) -> Result<Found, ImageError> {
        step(watch, "looking for a kernel")?;
        let source = File::open(raw).map_err(StoreError::io("open", raw))?;
        let outputs = (staged(&staging.file("kernel"))?, staged(&staging.file("initrd"))?);
        let disk = DiskFile::new(source.as_fd(), SourceFormat::Raw, name);
        let outputs = BootOutputs { kernel: outputs.0.as_fd(), initrd: outputs.1.as_fd() };
        match self.importer.read_boot(&[disk], Architecture::of_host(), None, outputs) {
            Ok(boot) => Ok(Found { boot: BootFiles::FromDisk, facts: boot.os_release }),
            Err(ImportError::Refused(why)) => {
                watch.note(&format!("{why}; it will need firmware, which is not there yet"));
                Ok(Found { boot: BootFiles::Firmware, facts: Vec::new() })
            }
            Err(other) => Err(other.into()),
        }
    }
}

/// What is known of a disk when it has been looked at.
pub(crate) struct Found {
    /// How it is started.
    pub boot: BootFiles,
    /// What its os-release says.
    pub facts: Vec<(String, String)>,
}

/// A file of a staging folder.
pub(crate) fn staged(path: &Path) -> Result<File, ImageError> {
    Ok(host_sys::new_file::staged(path).map_err(StoreError::io("make", path))?)
}
