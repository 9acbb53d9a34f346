//! A file becomes an image, whatever it is: by what a person or its name says, else by its contents.
//!
//! ```text
//! file ──stated──► unpack ─► as stated, if it does not look like something else
//!   └──not stated──► recognize ─┬─ compressed ─► unpack ─► recognize …
//!                               ├─ disk ─► import
//!                               └─ appliance, OCI archive ─► what is in it
//! ```

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use disk::{SourceFormat, StatedBy};
use host_sys::named_file::{Accepts, folder_of, open_named};
use host_sys::open_beneath::open_beneath;
use image_import::{Appliance, ApplianceDisk, InputFile, Recognized};
use image_model::{Compression, SourceKind};
use image_sources::{FileFormat, FileKind};
use image_store::{Image, StagingFolder, StoreError};
use messages::{progress_of, step};
use oci_image::ByteRange;

use crate::appliance_disks::{ChosenDisk, Disks};
use crate::import::staged;
use crate::pull::USUAL_MEMORY_BYTES;
use crate::{ImageError, Images, ImportOptions, Watch};

/// How the format of a file is stated.
const FORMAT_OPTION: &StatedBy =
    &StatedBy { option: "--format ", force: "--force-raw", takes_foreign: true, takes_packed: true };
/// What is compressed may be compressed again: a file, an archive around it.
const LAYERS_MAX: usize = 3;

/// A file, or a range of one, that is taken in.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    /// What messages call it.
    pub(crate) name: &'a Path,
    /// Where in the file.
    pub(crate) range: Option<ByteRange>,
    /// A person named this very file, and said what it is.
    pub(crate) is_named: bool,
}

impl Input<'_> {
    pub(crate) fn open(&self) -> Result<File, ImageError> {
        Ok(open_named(self.path, Accepts::File).map_err(StoreError::io("open", self.name))?.file)
    }
}

impl Images {
    /// Takes a file in: of this kind, or of what its contents say.
    ///
    /// # Errors
    /// It is not what it is said to be, does not say what it is, or the store refuses.
    pub fn import_file(
        &self,
        path: &Path,
        kind: Option<FileKind>,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        // What came from elsewhere has a name of its own only here.
        let name = match options.source.kind {
            SourceKind::File => path,
            _ => Path::new(&options.source.location),
        };
        let input = Input { path, name, range: None, is_named: kind.is_some() };
        match kind {
            Some(kind) => self.import_stated(input, kind, options, watch),
            None => self.import_by_contents(input, options, LAYERS_MAX, watch),
        }
    }

    fn import_stated(
        &self,
        input: Input<'_>,
        kind: FileKind,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        if options.force_raw && kind.format != FileFormat::Disk(SourceFormat::Raw) {
            let why =
                format!("--force-raw is for raw disks, and this one is said to be {kind}; leave it out");
            return Err(ImageError::Refused(why));
        }
        let staging = self.store.stage()?;
        let unpacked = match kind.compression {
            Compression::None => None,
            compression => Some(self.unpack(input, compression, &staging, watch)?),
        };
        let input = match &unpacked {
            Some(path) => Input { path, range: None, is_named: false, ..input },
            None => input,
        };
        match kind.format {
            FileFormat::Ova => self.import_appliance(input, options, watch),
            FileFormat::Ovf => self.import_description(input, options, watch),
            FileFormat::OciArchive => self.import_archived(input, options, watch),
            FileFormat::Disk(format) => {
                if format == SourceFormat::Raw && !options.force_raw {
                    disk::check_raw(&input.open()?, input.name, FORMAT_OPTION)
                        .map_err(disk::OfflineError::from)?;
                }
                self.import(&input, format, options, watch)
            }
        }
    }

    /// What is in a file is found out. Raw disks have nothing that says so: one is taken as such if a partition table or
    /// a file system is on it, and nothing that another format would have.
    fn import_by_contents(
        &self,
        input: Input<'_>,
        options: &ImportOptions,
        layers_left: usize,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let name = input.name.display();
        if options.force_raw {
            return self.import(&input, SourceFormat::Raw, options, watch);
        }
        let source = input.open()?;
        let file = InputFile { file: source.as_fd(), range: input.range, name: input.name };
        match self.importer.recognize(file)? {
            Recognized::Disk(format) => {
                watch.note(&format!("{name} is taken as {format}, by its contents"));
                self.import(&input, format, options, watch)
            }
            Recognized::Compressed(_) if layers_left == 0 => Err(ImageError::Refused(format!(
                "{name} is compressed more than {LAYERS_MAX} times; unpack it first"
            ))),
            Recognized::Compressed(compression) => {
                let staging = self.store.stage()?;
                let path = self.unpack(input, compression, &staging, watch)?;
                let inner = Input { path: &path, range: None, is_named: false, ..input };
                self.import_by_contents(inner, options, layers_left - 1, watch)
            }
            Recognized::Appliance if input.range.is_none() => self.import_appliance(input, options, watch),
            Recognized::OciArchive if input.range.is_none() => self.import_archived(input, options, watch),
            Recognized::Appliance | Recognized::OciArchive => {
                Err(ImageError::Refused(format!("{name} is an archive in an archive; unpack it first")))
            }
            Recognized::Foreign(what) => Err(ImageError::Refused(format!(
                "{name} is {what}, which is not read here; convert or unpack it first"
            ))),
            Recognized::Unknown => Err(ImageError::Refused(format!(
                "{name} is like nothing that is known, and its name does not say what is in it; give --format ({})",
                FileFormat::names()
            ))),
        }
    }

    /// The OCI image in an archive.
    fn import_archived(
        &self,
        input: Input<'_>,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        options.refuse_choice_of_disk(input.name)?;
        self.import_oci_archive(input.path, input.name, options, watch)
    }

    /// The file without what it is compressed by.
    fn unpack(
        &self,
        input: Input<'_>,
        compression: Compression,
        staging: &StagingFolder,
        watch: &mut dyn Watch,
    ) -> Result<PathBuf, ImageError> {
        step(watch, "unpacking")?;
        let source = input.open()?;
        let target = staging.file("unpacked");
        let file = staged(&target)?;
        let source = InputFile { file: source.as_fd(), range: input.range, name: input.name };
        self.importer.unpack(source, compression, file.as_fd(), &mut progress_of(watch))?;
        Ok(target)
    }

    /// Takes the machine in an archive (OVA) in: its disk as an image, with the sizes and cards that it has.
    fn import_appliance(
        &self,
        input: Input<'_>,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        step(watch, "comparing the appliance with its manifest")?;
        let archive = input.open()?;
        let appliance = self.importer.read_appliance(archive.as_fd(), input.name, &mut progress_of(watch))?;
        self.import_disk_of(appliance, input, options, watch)
    }

    /// The same for a description (OVF) that lies beside its files. Nothing is opened outside of its folder.
    fn import_description(
        &self,
        input: Input<'_>,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let shown = input.name.display();
        if options.source.kind != SourceKind::File || input.path != input.name {
            let why = format!(
                "{shown} has its disks in other files, which are not looked for; import an archive (OVA)"
            );
            return Err(ImageError::Refused(why));
        }
        step(watch, "comparing the appliance with its manifest")?;
        let folder =
            File::open(folder_of(input.path)).map_err(StoreError::io("open the folder of", input.path))?;
        let own_name = input.path.file_name().unwrap_or_default();
        let mut files = vec![(own_name.display().to_string(), input.open()?)];
        let described = self.importer.read_description(input.name, &files, None, &mut messages::unwatched)?;
        let name = Disks::of(&described).choose(input.name, options.appliance_disk.as_deref())?.name;
        let disk = open_beneath(&folder, Path::new(name))
            .map_err(StoreError::io("open", input.name.with_file_name(name)))?;
        files.push((name.to_owned(), disk));
        let manifest = match open_beneath(&folder, &Path::new(own_name).with_extension("mf")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(StoreError::io("open", input.name.with_extension("mf")))?),
        };
        let appliance =
            self.importer.read_description(input.name, &files, manifest.as_ref(), &mut progress_of(watch))?;
        // Opened once: another file may have taken the name meanwhile.
        let path = PathBuf::from(format!("/proc/self/fd/{}", files[1].1.as_raw_fd()));
        self.import_disk_of(appliance, Input { path: &path, ..input }, options, watch)
    }

    /// Takes a disk of an appliance in, the only one or the one that was chosen, with the sizes and cards of its machine.
    fn import_disk_of(
        &self,
        appliance: Appliance,
        input: Input<'_>,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let shown = input.name.display();
        let disks = Disks::of(&appliance);
        let ChosenDisk { name: file, disk } = disks.choose(input.name, options.appliance_disk.as_deref())?;
        let ApplianceDisk { file: _, range, capacity_bytes } = *disk;
        let notes = appliance.notes.iter().cloned().chain(disks.left_out(file));
        notes.for_each(|note| watch.note(&format!("{shown}: {note}")));
        let path = if range.is_some() { input.name.join(file) } else { input.name.with_file_name(file) };
        let Appliance { name, system, cpus, memory_bytes, cards, disks: _, notes: _ } = appliance;
        let mut options = ImportOptions { appliance_disk: None, ..options.clone() };
        options.description = options.description.or_else(|| in_words(name, system));
        options.min_disk_bytes = options.min_disk_bytes.max(capacity_bytes.unwrap_or(0));
        if let Some(bytes) = memory_bytes.filter(|_| options.min_memory_bytes == USUAL_MEMORY_BYTES) {
            options.min_memory_bytes = options.min_memory_bytes.min(bytes);
        }
        let machine = &mut options.machine;
        machine.cpus = machine.cpus.or(cpus);
        machine.memory_bytes = machine.memory_bytes.or(memory_bytes);
        machine.cards = machine.cards.or(Some(cards));
        let disk = Input { name: &path, range, is_named: false, ..input };
        self.import_by_contents(disk, &options, LAYERS_MAX, watch)
    }
}

/// What a machine is, for a person.
fn in_words(name: Option<String>, system: Option<String>) -> Option<String> {
    let words: Vec<String> = [name, system].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}
