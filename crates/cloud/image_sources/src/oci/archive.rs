//! Archives with an OCI image: the layout of image-spec ("Image Layout") in a tar, or what `docker save`
//! writes.
//!
//! Entries are found by name and read in place; nothing gets a name from the archive. Extended names (GNU's
//! and PAX's) are not taken: no piece of an image needs one, and they could be as long as the archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use image_store::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use super::manifest::{
    DOCUMENT_BYTES_MAX, Descriptor, Manifest, choose, layer_compression, nonsense, parse, parse_config,
    parse_manifest,
};
use super::{Layer, OciError, OciImage, OciOptions, check_sizes};
use image_import::Compression;

/// More entries than any image's archive has.
const ENTRIES_MAX: usize = 8192;
/// An index leads to an index at most so often.
const DEPTH_MAX: usize = 4;
const CHUNK_BYTES: usize = 1 << 20;

/// Where an entry's bytes are in the archive.
#[derive(Clone, Copy)]
struct Place {
    start: u64,
    bytes: u64,
}

/// An image in `docker save`'s list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// Reads the image out of `archive`, an uncompressed tar file, and writes its layers to files in `folder`,
/// named by their digests.
///
/// # Errors
/// The archive makes no sense, holds no image for these processors or too large a one, or the host refuses.
/// Layers may be left in the folder then.
pub fn read_archive(archive: File, folder: &Path, options: OciOptions) -> Result<OciImage, OciError> {
    let mut reader = Reader { places: places(&archive)?, archive, folder, options };
    if reader.places.contains_key("index.json") {
        reader.read_layout()
    } else if reader.places.contains_key("manifest.json") {
        reader.read_saved()
    } else {
        Err(nonsense("the archive has neither an index.json nor a manifest.json; is it an OCI image?"))
    }
}

struct Reader<'a> {
    archive: File,
    places: BTreeMap<String, Place>,
    folder: &'a Path,
    options: OciOptions,
}

impl Reader<'_> {
    fn read_layout(&mut self) -> Result<OciImage, OciError> {
        let wanted = self.options.architecture;
        let mut document = self.document("index.json")?;
        let mut digest = None;
        for _ in 0..DEPTH_MAX {
            match parse_manifest(&document)? {
                Manifest::Index(manifests) => {
                    let next = choose(&manifests, wanted)?;
                    document = self.blob_document(next)?;
                    digest = Some(next.digest);
                }
                Manifest::Image { config, layers } => {
                    let digest = digest.ok_or_else(|| nonsense("its index is no index"))?;
                    return self.read_image(digest, &config, &layers);
                }
            }
        }
        Err(nonsense("its indexes lead to indexes without end"))
    }

    fn read_image(
        &mut self,
        digest: Digest,
        config: &Descriptor,
        descriptors: &[Descriptor],
    ) -> Result<OciImage, OciError> {
        check_sizes(descriptors.iter().map(|layer| layer.size), self.options)?;
        let config = self.blob_document(config)?;
        let config = parse_config(&config, descriptors.len(), self.options.architecture)?;
        let mut layers = Vec::new();
        for (descriptor, diff_id) in descriptors.iter().zip(&config.diff_ids) {
            let compression = layer_compression(&descriptor.media_type)?;
            let name = blob_name(&descriptor.digest);
            if self.place(&name)?.bytes != descriptor.size {
                return Err(nonsense(format!("{name} is not as long as its manifest says")));
            }
            layers.push(self.layer(&name, descriptor.digest, compression, *diff_id)?);
        }
        Ok(OciImage { architecture: config.architecture, digest, layers, config: config.config })
    }

    /// Layers in there are not compressed, so that their own digests are those of the configuration.
    fn read_saved(&mut self) -> Result<OciImage, OciError> {
        let document = self.document("manifest.json")?;
        let saved: Vec<Saved> = parse(&document, "manifest")?;
        let [saved] = saved.as_slice() else {
            return Err(nonsense(format!("the archive holds {} images; save one alone", saved.len())));
        };
        let config = self.document(&saved.config)?;
        let digest = Digest::from_bytes(Sha256::digest(&config).into());
        let config = parse_config(&config, saved.layers.len(), self.options.architecture)?;
        let sizes = saved.layers.iter().map(|name| Ok(self.place(name)?.bytes));
        check_sizes(sizes.collect::<Result<Vec<u64>, OciError>>()?.into_iter(), self.options)?;
        let mut layers = Vec::new();
        for (name, diff_id) in saved.layers.iter().zip(&config.diff_ids) {
            layers.push(self.layer(name, *diff_id, Compression::None, *diff_id)?);
        }
        Ok(OciImage { architecture: config.architecture, digest, layers, config: config.config })
    }

    /// Writes a layer to a file and checks it on the way.
    fn layer(
        &mut self,
        name: &str,
        digest: Digest,
        compression: Compression,
        diff_id: Digest,
    ) -> Result<Layer, OciError> {
        let place = self.place(name)?;
        let path = self.folder.join(digest.hex());
        if !path.exists() {
            // Only what is whole and right gets the name.
            let new = self.folder.join("layer.new");
            let found = self.copy(place, &new)?;
            if found != digest {
                return Err(nonsense(format!("{} is damaged: it is {found}", name.escape_default())));
            }
            std::fs::rename(&new, &path).map_err(OciError::io("give its name to", &path))?;
        }
        Ok(Layer { path, compression, digest, diff_id, bytes: place.bytes })
    }

    fn copy(&mut self, place: Place, path: &Path) -> Result<Digest, OciError> {
        let target = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
        let mut target = target.map_err(OciError::io("make", path))?;
        let source = self.at(place)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut left = place.bytes;
        while left > 0 {
            let bytes = left.min(CHUNK_BYTES as u64) as usize;
            source.read_exact(&mut buffer[..bytes]).map_err(|error| cut(&error))?;
            hasher.update(&buffer[..bytes]);
            target.write_all(&buffer[..bytes]).map_err(OciError::io("write", path))?;
            left -= bytes as u64;
        }
        Ok(Digest::from_bytes(hasher.finalize().into()))
    }

    fn blob_document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, OciError> {
        let name = blob_name(&descriptor.digest);
        let bytes = self.document(&name)?;
        if Digest::from_bytes(Sha256::digest(&bytes).into()) != descriptor.digest {
            return Err(nonsense(format!("{name} is damaged")));
        }
        Ok(bytes)
    }

    fn document(&mut self, name: &str) -> Result<Vec<u8>, OciError> {
        let place = self.place(name)?;
        if place.bytes > DOCUMENT_BYTES_MAX {
            return Err(nonsense(format!("{} is too long", name.escape_default())));
        }
        let mut bytes = vec![0; place.bytes as usize];
        self.at(place)?.read_exact(&mut bytes).map_err(|error| cut(&error))?;
        Ok(bytes)
    }

    fn place(&self, name: &str) -> Result<Place, OciError> {
        let found = self.places.get(name.strip_prefix("./").unwrap_or(name));
        found.copied().ok_or_else(|| {
            nonsense(format!("the archive has no file {} (links are not followed)", name.escape_default()))
        })
    }

    fn at(&mut self, place: Place) -> Result<&mut File, OciError> {
        self.archive.seek(SeekFrom::Start(place.start)).map_err(|error| cut(&error))?;
        Ok(&mut self.archive)
    }
}

/// Finds the regular files in an archive.
fn places(mut archive: &File) -> Result<BTreeMap<String, Place>, OciError> {
    archive.rewind().map_err(|error| cut(&error))?;
    let length = archive.metadata().map_err(|error| cut(&error))?.len();
    let mut places = BTreeMap::new();
    let mut tar = Archive::new(archive);
    let entries = tar.entries_with_seek().map_err(|error| cut(&error))?.raw(true);
    for (count, entry) in entries.enumerate() {
        let entry = entry.map_err(|error| cut(&error))?;
        if count >= ENTRIES_MAX {
            return Err(nonsense(format!("the archive has more than {ENTRIES_MAX} entries")));
        }
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let place = Place { start: entry.raw_file_position(), bytes: entry.size() };
        if place.start.checked_add(place.bytes).is_none_or(|end| end > length) {
            return Err(nonsense("the archive ends in the middle of a file"));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if places.insert(name.clone(), place).is_some() {
            return Err(nonsense(format!("the archive has {} twice", name.escape_default())));
        }
    }
    Ok(places)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn cut(error: &io::Error) -> OciError {
    nonsense(format!("the archive cannot be read: {error}"))
}
