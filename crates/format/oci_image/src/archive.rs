//! Archives with an OCI image: the layout of image-spec ("Image Layout") in a tar, or what `docker save`
//! writes.
//!
//! Entries are found by name and read in place; nothing gets a name from the archive, and layers stay where they are.
//! Extended names (GNU's and PAX's) are not taken: no piece of an image needs one, and they could be as long as the
//! archive.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use image_model::{Architecture, Digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use crate::OciImageError;
use crate::config::{OciConfig, parse_config};
use crate::layer::{ByteRange, LayerCompression, OciOptions, check_sizes, layer_compression};
use crate::manifest::{DOCUMENT_BYTES_MAX, Descriptor, LAYERS_MAX, Manifest, choose, parse, parse_manifest};

/// More entries than any image's archive has.
const ENTRIES_MAX: usize = 8192;
/// An index leads to an index at most so often.
const DEPTH_MAX: usize = 4;

/// An image whose layers lie in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedImage {
    /// For which processors.
    pub architecture: Architecture,
    /// The digest of its manifest; of its configuration, if it came out of `docker save`.
    pub digest: Digest,
    /// Its layers, the lowest first.
    pub layers: Vec<ArchivedLayer>,
    /// What a container would be started with.
    pub config: OciConfig,
}

/// A layer in an archive: a tar archive of what it changes. Layers that are the same may be the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedLayer {
    /// Where it lies, within the archive.
    pub range: ByteRange,
    /// How it is compressed, as was stated.
    pub compression: LayerCompression,
    /// How its manifest names it; its bytes were not looked at.
    pub digest: Digest,
    /// The SHA-256 that it has to have when it is decompressed. Whoever does that has to check it.
    pub diff_id: Digest,
}

/// An image in `docker save`'s list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// Finds the image in `archive`, an uncompressed tar file.
///
/// # Errors
/// The archive makes no sense, or holds no image for these processors or too large a one.
pub fn read_archive(
    mut archive: impl Read + Seek,
    options: OciOptions,
) -> Result<ArchivedImage, OciImageError> {
    let mut reader = Reader { places: find_places(&mut archive)?, archive, options };
    if reader.places.contains_key("index.json") {
        reader.read_layout()
    } else if reader.places.contains_key("manifest.json") {
        reader.read_saved()
    } else {
        Err(nonsense("the archive has neither an index.json nor a manifest.json; is it an OCI image?"))
    }
}

struct Reader<A> {
    archive: A,
    places: BTreeMap<String, ByteRange>,
    options: OciOptions,
}

impl<A: Read + Seek> Reader<A> {
    fn read_layout(&mut self) -> Result<ArchivedImage, OciImageError> {
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
    ) -> Result<ArchivedImage, OciImageError> {
        check_sizes(descriptors.iter().map(|layer| layer.size), self.options)?;
        let config = self.blob_document(config)?;
        let config = parse_config(&config, descriptors.len(), self.options.architecture)?;
        let mut layers = Vec::new();
        for (descriptor, diff_id) in descriptors.iter().zip(&config.diff_ids) {
            let compression = layer_compression(&descriptor.media_type)?;
            let name = blob_name(&descriptor.digest);
            let range = self.place(&name)?;
            if range.length_bytes != descriptor.size {
                return Err(nonsense(format!("{name} is not as long as its manifest says")));
            }
            let digest = descriptor.digest;
            layers.push(ArchivedLayer { range, compression, digest, diff_id: *diff_id });
        }
        Ok(ArchivedImage { architecture: config.architecture, digest, layers, config: config.config })
    }

    /// Layers in there are not compressed, so that their own digests are those of the configuration.
    fn read_saved(&mut self) -> Result<ArchivedImage, OciImageError> {
        let document = self.document("manifest.json")?;
        let saved: Vec<Saved> = parse(&document, "manifest")?;
        let [saved] = saved.as_slice() else {
            return Err(nonsense(format!("the archive holds {} images; save one alone", saved.len())));
        };
        if saved.layers.is_empty() || saved.layers.len() > LAYERS_MAX {
            return Err(nonsense(format!("it has {} layers (1 to {LAYERS_MAX})", saved.layers.len())));
        }
        let config = self.document(&saved.config)?;
        let digest = Digest::from_bytes(Sha256::digest(&config).into());
        let config = parse_config(&config, saved.layers.len(), self.options.architecture)?;
        let mut layers = Vec::new();
        for (name, diff_id) in saved.layers.iter().zip(&config.diff_ids) {
            let (range, diff_id) = (self.place(name)?, *diff_id);
            let compression = LayerCompression::None;
            layers.push(ArchivedLayer { range, compression, digest: diff_id, diff_id });
        }
        check_sizes(layers.iter().map(|layer| layer.range.length_bytes), self.options)?;
        Ok(ArchivedImage { architecture: config.architecture, digest, layers, config: config.config })
    }

    fn blob_document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, OciImageError> {
        let name = blob_name(&descriptor.digest);
        let bytes = self.document(&name)?;
        if Digest::from_bytes(Sha256::digest(&bytes).into()) != descriptor.digest {
            return Err(nonsense(format!("{name} is damaged")));
        }
        Ok(bytes)
    }

    fn document(&mut self, name: &str) -> Result<Vec<u8>, OciImageError> {
        let place = self.place(name)?;
        if place.length_bytes > DOCUMENT_BYTES_MAX {
            return Err(nonsense(format!("{} is too long", name.escape_default())));
        }
        let mut bytes = vec![0; place.length_bytes as usize];
        self.archive.seek(SeekFrom::Start(place.offset_bytes)).map_err(|error| unreadable(&error))?;
        self.archive.read_exact(&mut bytes).map_err(|error| unreadable(&error))?;
        Ok(bytes)
    }

    fn place(&self, name: &str) -> Result<ByteRange, OciImageError> {
        let found = self.places.get(name.strip_prefix("./").unwrap_or(name));
        found.copied().ok_or_else(|| {
            nonsense(format!("the archive has no file {} (links are not followed)", name.escape_default()))
        })
    }
}

/// Finds the regular files in an archive.
fn find_places(mut archive: impl Read + Seek) -> Result<BTreeMap<String, ByteRange>, OciImageError> {
    let archive_bytes = archive.seek(SeekFrom::End(0)).map_err(|error| unreadable(&error))?;
    archive.rewind().map_err(|error| unreadable(&error))?;
    let mut places = BTreeMap::new();
    let mut tar = Archive::new(archive);
    let entries = tar.entries_with_seek().map_err(|error| unreadable(&error))?.raw(true);
    for (count, entry) in entries.enumerate() {
        let entry = entry.map_err(|error| unreadable(&error))?;
        if count >= ENTRIES_MAX {
            return Err(nonsense(format!("the archive has more than {ENTRIES_MAX} entries")));
        }
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let place = ByteRange { offset_bytes: entry.raw_file_position(), length_bytes: entry.size() };
        if !place.lies_in(archive_bytes) {
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

fn nonsense(what: impl Into<String>) -> OciImageError {
    OciImageError::nonsense(what)
}

/// What a reader of tar complains of quotes the archive, which is no help to a person.
fn unreadable(error: &io::Error) -> OciImageError {
    match (error.raw_os_error(), error.kind()) {
        (Some(_), _) => nonsense(format!("the archive cannot be read: {error}")),
        (None, io::ErrorKind::UnexpectedEof) => nonsense("the archive is cut short"),
        (None, _) => nonsense("the archive is damaged, or is no tar archive"),
    }
}
