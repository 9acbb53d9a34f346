//! Adding images, finding them, and letting them go.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use messages::{Progress, nearest};

use crate::ByteProgress;
use crate::durable;
use crate::error::StoreError;
use crate::layout::Layout;
use crate::locks::StoreLock;
use crate::metadata::{BootWay, Image, ImageMetadata, METADATA_BYTES_MAX};
use crate::sparse::{self, going_on};
use crate::store::Store;
use image_model::{Alias, Digest, ImageDescription, ImageReference};

/// A disk's length is counted in sectors of so many bytes.
const SECTOR_BYTES: u64 = disk::SECTOR_SIZE;

/// What an image is made of, as files of a [`StagingFolder`](crate::StagingFolder) of the same store.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// What its maker says of it.
    pub description: ImageDescription,
    /// The raw disk. It is lengthened to a whole sector.
    pub disk: PathBuf,
    /// How it is started.
    pub boot: BootFiles,
}

/// [`BootWay`], with files in the place of blobs.
#[derive(Clone, Debug)]
pub enum BootFiles {
    /// With this kernel.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// The initial RAM disk.
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        cmdline: String,
    },
    /// Kernel and initrd are read from the disk at each boot.
    FromDisk,
    /// Firmware finds the boot loader on the disk.
    Firmware,
}

/// What went with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The image.
    pub image: Image,
    /// Names that it had.
    pub aliases: Vec<Alias>,
    /// Room that is free again, in bytes. Blobs of other images and of instances stay.
    pub freed_bytes: u64,
}

/// An image whose files are synced and hashed, and still lie in their staging folder.
#[derive(Debug)]
pub struct HashedImage {
    image: Image,
    candidates: Vec<Candidate>,
}

/// A file that is to be a blob, and which.
#[derive(Debug)]
struct Candidate {
    path: PathBuf,
    digest: Digest,
}

impl Store {
    /// Takes an image in. Its files are moved out of their staging folder. `progress` is told how much of
    /// them is hashed. An image that is there already is found again.
    ///
    /// # Errors
    /// The description or a file makes no sense, or the host refuses; then there is no new image.
    pub fn add_image(&self, new: NewImage, progress: ByteProgress<'_>) -> Result<Image, StoreError> {
        self.add_hashed(self.hash_image(new, &mut going_on(progress))?, None)
    }

    /// The first half of [`Store::add_image`]: what takes long. Nothing in the store is changed.
    ///
    /// # Errors
    /// The description or a file makes no sense, the host refuses, or nobody wants it any more.
    pub fn hash_image(&self, new: NewImage, progress: Progress<'_>) -> Result<HashedImage, StoreError> {
        let disk_bytes = round_up(&new.disk)?;
        let mut done = Hashing { progress, before: 0, total: total_bytes(&new)? };
        let mut candidates = Vec::new();
        let mut add = |path: PathBuf| {
            let digest = done.hash(&path)?;
            candidates.push(Candidate { path, digest });
            Ok::<Digest, StoreError>(digest)
        };
        let disk = add(new.disk)?;
        let boot = match new.boot {
            BootFiles::FromDisk => BootWay::FromDisk,
            BootFiles::Firmware => BootWay::Firmware,
            BootFiles::Kernel { kernel, initrd, cmdline } => {
                BootWay::Kernel { kernel: add(kernel)?, initrd: initrd.map(add).transpose()?, cmdline }
            }
        };
        let metadata = ImageMetadata::new(new.description, boot, disk, disk_bytes);
        metadata.check()?;
        Ok(HashedImage { image: Image { id: metadata.id(), metadata }, candidates })
    }

    /// The second half: the image gets its place, and `alias` names it from now on.
    ///
    /// # Errors
    /// The host refuses; then the store is as it was.
    pub fn add_hashed(&self, hashed: HashedImage, alias: Option<&Alias>) -> Result<Image, StoreError> {
        let HashedImage { image, candidates } = hashed;
        let is_new = !self.layout.image(&image.id).exists();
        let added = self.commit(&image, &candidates).and_then(|()| match alias {
            Some(alias) => self.set_alias(alias, &image.id).map(drop),
            None => Ok(()),
        });
        match added {
            Ok(()) => Ok(image),
            Err(error) => {
                if is_new {
                    // The error that matters is the first one; what stays behind is garbage, and collected as such.
                    let _ = self.lock_exclusive().and_then(|lock| self.remove_image(&image, &lock));
                }
                Err(error)
            }
        }
    }

    /// Gives the blobs their names, then the image.
    fn commit(&self, image: &Image, candidates: &[Candidate]) -> Result<(), StoreError> {
        let _lock = self.lock_shared()?;
        for candidate in candidates {
            self.name_blob(candidate, false)?;
        }
        durable::sync_folder_of(&self.blob_path(&image.metadata.disk))?;
        let path = self.layout.image(&image.id);
        if path.exists() { Ok(()) } else { durable::write_file(&path, &image.metadata.to_json()) }
    }

    /// Gives a file that was synced and hashed its name as a blob. What has the name already stays, if it has the right
    /// length; `anew` replaces it in any case.
    fn name_blob(&self, candidate: &Candidate, anew: bool) -> Result<(), StoreError> {
        let target = self.blob_path(&candidate.digest);
        let length = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.len());
        if !anew && length(&target).ok() == length(&candidate.path).ok() {
            return durable::remove_file(&candidate.path);
        }
        fs::set_permissions(&candidate.path, Permissions::from_mode(0o444))
            .map_err(StoreError::io("write-protect", &candidate.path))?;
        fs::rename(&candidate.path, &target).map_err(StoreError::io("give its name to", &target))
    }

    /// Puts back a blob that was damaged or lost. `file` is one of a staging folder and is moved out of it.
    ///
    /// # Errors
    /// It is another blob, or the host refuses.
    pub fn restore_blob(
        &self,
        file: &Path,
        expected: &Digest,
        progress: ByteProgress<'_>,
    ) -> Result<(), StoreError> {
        sync_file(file)?;
        let found = sparse::hash_file(file, progress)?;
        if found != *expected {
            return Err(StoreError::OtherBlob { path: file.to_owned(), found, expected: *expected });
        }
        let _lock = self.lock_shared()?;
        self.name_blob(&Candidate { path: file.to_owned(), digest: found }, true)?;
        durable::sync_folder_of(&self.blob_path(&found))
    }

    /// All images, ordered by system, release, architecture, variant, and the older first.
    ///
    /// # Errors
    /// A folder or a file of the store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>, StoreError> {
        let mut images = Vec::new();
        for id in self.image_ids()? {
            match self.image(&id) {
                Ok(image) => images.push(image),
                // Another process deleted it in between.
                Err(StoreError::NoSuchImage { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        images.sort_by_cached_key(|image| {
            let it = &image.metadata.description;
            (it.os.clone(), it.release.clone(), it.architecture, it.variant.clone(), it.built, image.id)
        });
        Ok(images)
    }

    /// The image with this id.
    ///
    /// # Errors
    /// There is none, or its metadata is damaged.
    pub fn image(&self, id: &Digest) -> Result<Image, StoreError> {
        let path = self.layout.image(id);
        let bytes = match durable::read_file(&path, METADATA_BYTES_MAX) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let reference = ImageReference::Digest(*id);
                return Err(StoreError::NoSuchImage { reference, suggestion: None });
            }
            answer => answer?,
        };
        let image = ImageMetadata::from_json(&path, &bytes)?;
        if image.id != *id {
            return Err(StoreError::metadata(&path, "its bytes have changed"));
        }
        Ok(image)
    }

    /// The image that a person means.
    ///
    /// # Errors
    /// No image, or several; a name that may have been meant is named.
    pub fn resolve(&self, reference: &ImageReference) -> Result<Image, StoreError> {
        match reference {
            ImageReference::Digest(id) => self.image(id),
            ImageReference::Prefix(prefix) => self.resolve_prefix(prefix),
            ImageReference::Alias(alias) => {
                let aliases = self.aliases()?;
                if let Some(id) = aliases.get(alias) {
                    return self.image(id).map_err(|error| match error {
                        // What was typed is what is gone.
                        StoreError::NoSuchImage { .. } => {
                            StoreError::NoSuchImage { reference: reference.clone(), suggestion: None }
                        }
                        other => other,
                    });
                }
                let suggestion = nearest(alias.as_str(), aliases.keys().map(Alias::as_str));
                let suggestion = suggestion.map(str::to_owned);
                Err(StoreError::NoSuchImage { reference: reference.clone(), suggestion })
            }
        }
    }

    /// What messages call an image: the first of its names, or else the start of its id.
    pub fn name_of(&self, image: &Image) -> String {
        let names = self.aliases_of(&image.id).unwrap_or_default();
        names.first().map_or_else(|| image.id.short(), ToString::to_string)
    }

    /// The blobs of an image that are not there.
    pub fn missing_blobs(&self, image: &Image) -> Vec<Digest> {
        image.metadata.blobs().into_iter().filter(|blob| !self.has_blob(blob)).collect()
    }

    /// What an image's blobs take on the disk, in bytes; blobs that it shares with others count in full.
    pub fn image_room_bytes(&self, image: &Image) -> u64 {
        let blobs: BTreeSet<Digest> = image.metadata.blobs().into_iter().collect();
        blobs.iter().map(|blob| room_bytes(&self.blob_path(blob))).sum()
    }

    /// Removes an image, its names, and those of its blobs that nothing else needs.
    ///
    /// # Errors
    /// There is no such image, or the host refuses.
    pub fn delete(&self, reference: &ImageReference) -> Result<Deleted, StoreError> {
        let image = self.resolve(reference)?;
        let lock = self.lock_exclusive()?;
        let aliases = self.remove_aliases_of(&image.id, &lock)?;
        let freed_bytes = self.remove_image(&image, &lock)?;
        Ok(Deleted { image, aliases, freed_bytes })
    }

    /// Removes an image and those of its blobs that nothing else needs; the bytes that are free again.
    fn remove_image(&self, image: &Image, lock: &StoreLock) -> Result<u64, StoreError> {
        let path = self.layout.image(&image.id);
        durable::remove_file(&path)?;
        durable::sync_folder_of(&path)?;
        let needed = self.needed_blobs(lock)?;
        let mut freed_bytes = 0;
        for blob in image.metadata.blobs().iter().collect::<BTreeSet<_>>() {
            if !needed.contains(blob) {
                let path = self.blob_path(blob);
                freed_bytes += room_bytes(&path);
                durable::remove_file(&path)?;
            }
        }
        Ok(freed_bytes)
    }

    /// The blobs that images and instances refer to.
    pub(crate) fn needed_blobs(&self, _lock: &StoreLock) -> Result<BTreeSet<Digest>, StoreError> {
        let mut needed: BTreeSet<Digest> =
            self.images()?.iter().flat_map(|image| image.metadata.blobs()).collect();
        needed.extend(self.images_of_instances()?.iter().flat_map(|(_, image)| image.metadata.blobs()));
        Ok(needed)
    }

    pub(crate) fn image_ids(&self) -> Result<Vec<Digest>, StoreError> {
        Ok(list_folder(&self.layout.images())?.iter().filter_map(|path| Layout::image_id(path)).collect())
    }

    fn resolve_prefix(&self, prefix: &str) -> Result<Image, StoreError> {
        let ids: Vec<Digest> =
            self.image_ids()?.into_iter().filter(|id| id.hex().starts_with(prefix)).collect();
        match ids.as_slice() {
            [id] => self.image(id),
            [] => {
                let reference = ImageReference::Prefix(prefix.to_owned());
                Err(StoreError::NoSuchImage { reference, suggestion: None })
            }
            several => Err(StoreError::Ambiguous { prefix: prefix.to_owned(), count: several.len() }),
        }
    }
}

/// Adds up what is hashed, over several files.
struct Hashing<'a> {
    progress: Progress<'a>,
    before: u64,
    total: u64,
}

impl Hashing<'_> {
    /// Syncs a file and hashes it.
    fn hash(&mut self, path: &Path) -> Result<Digest, StoreError> {
        sync_file(path)?;
        let (before, total) = (self.before, self.total);
        let progress = &mut self.progress;
        let mut bytes = 0;
        let digest = sparse::hash_while(path, &mut |done, of| {
            bytes = of;
            progress(before + done, total)
        })?;
        self.before += bytes;
        Ok(digest)
    }
}

fn total_bytes(new: &NewImage) -> Result<u64, StoreError> {
    let mut paths = vec![&new.disk];
    if let BootFiles::Kernel { kernel, initrd, .. } = &new.boot {
        paths.push(kernel);
        paths.extend(initrd);
    }
    let length = |path: &PathBuf| fs::symlink_metadata(path).map(|it| it.len());
    paths.into_iter().map(|path| length(path).map_err(StoreError::io("look at", path))).sum()
}

/// Lengthens a disk to a whole sector and returns its length in bytes.
fn round_up(disk: &Path) -> Result<u64, StoreError> {
    let metadata = fs::symlink_metadata(disk).map_err(StoreError::io("look at", disk))?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Err(StoreError::metadata(disk, "a disk has to be a regular file that is not empty"));
    }
    let bytes = metadata.len().next_multiple_of(SECTOR_BYTES);
    if bytes != metadata.len() {
        let file = File::options().write(true).open(disk);
        file.and_then(|file| file.set_len(bytes)).map_err(StoreError::io("lengthen", disk))?;
    }
    Ok(bytes)
}

fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", path))
}

/// What a file takes on the disk, in bytes; none if it is not there.
pub(crate) fn room_bytes(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

/// The paths in a folder, ordered.
pub(crate) fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>());
    let mut paths = listed.map_err(StoreError::io("list", folder))?;
    paths.sort();
    Ok(paths)
}
