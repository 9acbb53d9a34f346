//! ext2, ext3 and ext4, by the crate `ext4_view`.
//!
//! It reads a journal that was not replayed as if it had been, without writing. What it does not guard against is
//! looked at before it is asked: how many block groups a superblock claims, how long a symbolic link is (both are
//! allocated in one piece). Paths are resolved here for that reason. It does not read files of ext2 and ext3 that
//! have a hole where their maps would need a block of their own.

use std::error::Error;
use std::io::{self, Write};
use std::rc::Rc;

use ext4_view::{Ext4 as View, Ext4Error, Ext4Read, FileType, Path};

use image_model::uuid_text;

use crate::bytes::{Bytes, field_text};
use crate::path::{About, EachEntry, Inodes, PATH_LIMIT_BYTES};
use crate::{FileKind, FsError, FsKind, Metadata, ReadAt};

/// Fields of the superblock, from its start.
const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_LEN: usize = 1024;
const BLOCKS_COUNT_AT: usize = 0x4;
const LOG_BLOCK_SIZE_AT: usize = 0x18;
const BLOCKS_PER_GROUP_AT: usize = 0x20;
const INODES_PER_GROUP_AT: usize = 0x28;
const INODE_SIZE_AT: usize = 0x58;
const INCOMPATIBLE_AT: usize = 0x60;
const RO_COMPATIBLE_AT: usize = 0x64;
const UUID_AT: usize = 0x68;
const LABEL_AT: usize = 0x78;
const BLOCKS_COUNT_HIGH_AT: usize = 0x150;
const CHECKSUM_AT: usize = 0x3FC;

/// Incompatible features.
const NEEDS_RECOVERY: u32 = 0x4;
const SIXTY_FOUR_BIT: u32 = 0x80;
/// Those that do not matter to who only reads files: multiple mount protection, attributes in inodes of their own.
const HARMLESS: u32 = 0x100 | 0x400;
const METADATA_CHECKSUMS: u32 = 0x400;
/// Smaller inodes have no room for all of their checksum.
const CHECKED_INODE_BYTES: u16 = 256;

/// What a file's bytes are carried in.
const BUFFER_BYTES: usize = 64 << 10;
/// A directory that has more is not believed: millions of entries.
const DIRECTORY_LIMIT_BYTES: u64 = 256 << 20;

/// A file system of ext's family.
pub(crate) struct Ext4 {
    view: View,
    about: About,
    root: Place,
}

impl Ext4 {
    /// Opens what fills `device`.
    pub(crate) fn open(device: &Rc<dyn ReadAt>) -> Result<Ext4, FsError> {
        let mut superblock = [0; SUPERBLOCK_LEN];
        device.read_at(SUPERBLOCK_AT, &mut superblock)?;
        check_size(Bytes(&superblock), device.len_bytes())?;
        let features = Bytes(&superblock).le32(INCOMPATIBLE_AT)?;
        let mut notes = Vec::new();
        let load = |cleared: u32| {
            let superblock = with_features(&superblock, features & !cleared)?;
            View::load(Box::new(Reader { device: device.clone(), superblock })).map_err(|error| match error {
                Ext4Error::Incompatible(_) => FsError::Unsupported(named(features)),
                error => failure(error),
            })
        };
        let dirty = features & NEEDS_RECOVERY != 0;
        let view = match load(HARMLESS) {
            Ok(view) => view,
            Err(error) if dirty => {
                notes.push(format!(
                    "its journal cannot be used ({error}); files are read as they are without it"
                ));
                load(HARMLESS | NEEDS_RECOVERY)?
            }
            Err(error) => return Err(error),
        };
        if dirty && notes.is_empty() {
            notes.push("it was not unmounted; its journal is respected and stays as it is".to_owned());
        }
        let superblock = Bytes(&superblock);
        let about = About {
            kind: FsKind::Ext4,
            label: field_text(superblock.slice(LABEL_AT, 16)?),
            uuid: Some(uuid_text(&superblock.array(UUID_AT)?)),
            notes,
        };
        let size_bytes = view.metadata("/").map_err(failure)?.len();
        let root =
            Place { path: b"/".to_vec(), metadata: Metadata { kind: FileKind::Directory, size_bytes } };
        Ok(Ext4 { view, about, root })
    }
}

/// Whether the device can hold the groups that the superblock claims: one descriptor is kept of each.
fn check_size(superblock: Bytes<'_>, device_bytes: u64) -> Result<(), FsError> {
    let high = if superblock.le32(INCOMPATIBLE_AT)? & SIXTY_FOUR_BIT != 0 {
        superblock.le32(BLOCKS_COUNT_HIGH_AT)?
    } else {
        0
    };
    let blocks = u64::from(high) << 32 | u64::from(superblock.le32(BLOCKS_COUNT_AT)?);
    let per_group = u64::from(superblock.le32(BLOCKS_PER_GROUP_AT)?);
    let block_bytes = 1024_u64.checked_shl(superblock.le32(LOG_BLOCK_SIZE_AT)?).unwrap_or(0);
    if per_group == 0 || !(1024..=65536).contains(&block_bytes) || superblock.le32(INODES_PER_GROUP_AT)? == 0
    {
        return Err(FsError::Damaged("its superblock makes no sense"));
    }
    // A descriptor has 32 bytes at least, and all of them are on the device.
    if blocks.div_ceil(per_group).saturating_mul(32) > device_bytes {
        return Err(FsError::Damaged("its superblock claims more block groups than the disk has room for"));
    }
    Ok(())
}

/// The superblock with other incompatible features, and a checksum that is right again if it was.
fn with_features(superblock: &[u8; SUPERBLOCK_LEN], features: u32) -> Result<[u8; SUPERBLOCK_LEN], FsError> {
    let bytes = Bytes(superblock);
    let mut changed = *superblock;
    changed[INCOMPATIBLE_AT..][..4].copy_from_slice(&features.to_le_bytes());
    let compatible = bytes.le32(RO_COMPATIBLE_AT)?;
    if compatible & METADATA_CHECKSUMS == 0 {
        return Ok(changed);
    }
    // ext4's checksums are CRC-32C without the final inversion.
    let checksum = |superblock: &[u8]| !crc32c::crc32c(&superblock[..CHECKSUM_AT]);
    if checksum(superblock) != bytes.le32(CHECKSUM_AT)? && !cfg!(fuzzing) {
        return Err(FsError::Damaged("its superblock's checksum is wrong"));
    }
    if bytes.le16(INODE_SIZE_AT)? < CHECKED_INODE_BYTES || cfg!(fuzzing) {
        // The library refuses to verify inodes that keep only half of a checksum.
        changed[RO_COMPATIBLE_AT..][..4].copy_from_slice(&(compatible & !METADATA_CHECKSUMS).to_le_bytes());
    }
    let right = checksum(&changed);
    changed[CHECKSUM_AT..].copy_from_slice(&right.to_le_bytes());
    Ok(changed)
}

/// The device as the library sees it: with our superblock.
struct Reader {
    device: Rc<dyn ReadAt>,
    superblock: [u8; SUPERBLOCK_LEN],
}

impl Ext4Read for Reader {
    fn read(&mut self, start_byte: u64, dst: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        if start_byte == SUPERBLOCK_AT && dst.len() == SUPERBLOCK_LEN {
            dst.copy_from_slice(&self.superblock);
            return Ok(());
        }
        self.device.read_at(start_byte, dst).map_err(Into::into)
    }
}

fn failure(error: Ext4Error) -> FsError {
    match error {
        Ext4Error::NotFound => FsError::NotFound,
        Ext4Error::NotADirectory => FsError::NotADirectory,
        Ext4Error::IsADirectory | Ext4Error::IsASpecialFile => FsError::NotAFile,
        Ext4Error::TooManySymlinks => FsError::TooManyLinks,
        Ext4Error::Encrypted => FsError::Unsupported("encryption".to_owned()),
        Ext4Error::Io(error) => FsError::Read(io::Error::other(error)),
        Ext4Error::Incompatible(_) => {
            FsError::Unsupported("something that came after this program".to_owned())
        }
        error => FsError::DamagedAs(messages::in_words(&error)),
    }
}

/// The names of features that are not usual, as mke2fs has them (ext4(5), "File system features").
fn named(features: u32) -> String {
    const USUAL: u32 = 0x2 | NEEDS_RECOVERY | 0x40 | SIXTY_FOUR_BIT | HARMLESS | 0x200 | 0x2000;
    const NAMES: [(u32, &str); 8] = [
        (0x1, "compression"),
        (0x8, "journal_dev"),
        (0x10, "meta_bg"),
        (0x1000, "dirdata"),
        (0x4000, "large_dir"),
        (0x8000, "inline_data"),
        (0x1_0000, "encrypt"),
        (0x2_0000, "casefold"),
    ];
    let known: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| features & bit != 0).map(|(_, name)| *name).collect();
    let all = NAMES.iter().fold(USUAL, |all, (bit, _)| all | bit);
    match known.is_empty() || features & !all != 0 {
        true => "features that came after this program".to_owned(),
        false => format!("the feature {}", known.join(", ")),
    }
}

/// A file: its path without links, and what it is.
#[derive(Clone)]
pub(crate) struct Place {
    path: Vec<u8>,
    metadata: Metadata,
}

impl Inodes for Ext4 {
    type Id = Place;

    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Place {
        self.root.clone()
    }

    fn lookup(&self, directory: &Place, name: &[u8]) -> Result<Option<Place>, FsError> {
        if directory.metadata.size_bytes > DIRECTORY_LIMIT_BYTES {
            return Err(FsError::Damaged("a directory is larger than any should be"));
        }
        let mut path = directory.path.clone();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let metadata = match self.view.symlink_metadata(view_path(&path)?) {
            Ok(metadata) => metadata,
            Err(Ext4Error::NotFound) => return Ok(None),
            Err(error) => return Err(failure(error)),
        };
        let metadata = Metadata { kind: kind(metadata.file_type()), size_bytes: metadata.len() };
        Ok(Some(Place { path, metadata }))
    }

    fn metadata_of(&self, place: &Place) -> Result<Metadata, FsError> {
        Ok(place.metadata)
    }

    fn read_link(&self, place: &Place) -> Result<Vec<u8>, FsError> {
        if place.metadata.size_bytes > PATH_LIMIT_BYTES as u64 {
            return Err(FsError::Damaged("a symbolic link is longer than any path"));
        }
        let target = self.view.read_link(view_path(&place.path)?).map_err(failure)?;
        Ok(<ext4_view::PathBuf as AsRef<[u8]>>::as_ref(&target).to_vec())
    }

    fn entries(&self, place: &Place, each: &mut EachEntry<'_>) -> Result<(), FsError> {
        if place.metadata.size_bytes > DIRECTORY_LIMIT_BYTES {
            return Err(FsError::Damaged("a directory is larger than any should be"));
        }
        for entry in self.view.read_dir(view_path(&place.path)?).map_err(failure)? {
            let entry = entry.map_err(failure)?;
            each(entry.file_name().as_ref(), entry.file_type().map_or(FileKind::Special, kind))?;
        }
        Ok(())
    }

    fn read(
        &self,
        place: &Place,
        offset_bytes: u64,
        mut len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<(), FsError> {
        let mut file = self.view.open(view_path(&place.path)?).map_err(failure)?;
        file.seek_to(offset_bytes).map_err(failure)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        while len_bytes > 0 {
            // The library reads no further than to the end of a block.
            let mut filled = 0;
            let wanted = len_bytes.min(BUFFER_BYTES as u64) as usize;
            while filled < wanted {
                match file.read_bytes(&mut buffer[filled..wanted]).map_err(failure)? {
                    0 => return Err(FsError::Damaged("a file ends before its size")),
                    read => filled += read,
                }
            }
            out.write_all(&buffer[..filled]).map_err(FsError::Write)?;
            len_bytes -= filled as u64;
        }
        Ok(())
    }
}

fn view_path(path: &[u8]) -> Result<Path<'_>, FsError> {
    Path::try_from(path).map_err(|_| FsError::NotFound)
}

fn kind(kind: FileType) -> FileKind {
    if kind.is_regular_file() {
        FileKind::Regular
    } else if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Special
    }
}
