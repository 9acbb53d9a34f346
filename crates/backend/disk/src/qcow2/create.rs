//! Making images, and making them larger.

use std::io;

use guest_memory::IoBuffers;

use super::geometry::Geometry;
use super::image::Image;
use super::owner::Owner;
use super::refcounts::Run;
use super::spec::*;
use crate::contract::SECTOR_SIZE;
use crate::error::FormatError;
use crate::format::{BackingName, Compression};
use crate::image_file::ImageFile;

/// What a new image is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    /// Length of the disk in bytes, a multiple of 512.
    pub size_bytes: u64,
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// A power of two from 512 bytes to 2 MiB.
    pub cluster_bytes: u64,
    /// Width of a reference count, a power of two from 1 to 64.
    pub refcount_bits: u32,
    /// Readers may expect that a writer defers its reference counts. We never do.
    pub lazy_refcounts: bool,
    /// How clusters are compressed, if any will be.
    pub compression: Compression,
    /// What lies behind it, as it is to be written into the image.
    pub backing: Option<BackingName>,
}

impl CreateOptions {
    /// What QEMU makes by default: version 3, clusters of 64 KiB.
    pub fn new(size_bytes: u64) -> CreateOptions {
        CreateOptions {
            size_bytes,
            version: 3,
            cluster_bytes: 64 << 10,
            refcount_bits: 16,
            lazy_refcounts: false,
            compression: Compression::Zlib,
            backing: None,
        }
    }

    fn geometry(&self) -> Result<Geometry, FormatError> {
        let refused = |what: String| Err(FormatError::Unsupported(what));
        let cluster_bits = self.cluster_bytes.trailing_zeros();
        let allowed = CLUSTER_BITS_MIN..=CLUSTER_BITS_MAX;
        if !self.cluster_bytes.is_power_of_two() || !allowed.contains(&cluster_bits) {
            return refused(format!(
                "a cluster size of {} bytes (512 to 2M, a power of two)",
                self.cluster_bytes
            ));
        }
        if !self.refcount_bits.is_power_of_two() || self.refcount_bits > 64 {
            return refused(format!("a reference count of {} bits", self.refcount_bits));
        }
        let v3 = self.refcount_bits != 16 || self.lazy_refcounts || self.compression != Compression::Zlib;
        if !(2..=3).contains(&self.version) || (self.version == 2 && v3) {
            return refused(format!("version {} with these options", self.version));
        }
        if self.size_bytes == 0 || !self.size_bytes.is_multiple_of(SECTOR_SIZE) {
            return refused(format!("a disk of {} bytes (it takes a multiple of 512)", self.size_bytes));
        }
        Ok(Geometry { cluster_bits, refcount_order: self.refcount_bits.trailing_zeros() })
    }
}

/// Makes an image in `file`, which is empty.
pub(crate) fn create(file: &dyn ImageFile, options: &CreateOptions) -> Result<(), FormatError> {
    let geometry = options.geometry()?;
    check_size(geometry, options.size_bytes)?;
    let cluster_bytes = geometry.cluster_bytes();
    // Three clusters: the header, the reference count table, its first block.
    let header = header_bytes(options, geometry)?;
    let mut block = vec![0; cluster_bytes as usize];
    for cluster in 0..3 {
        super::refcounts::put_refcount(&mut block, cluster, geometry.refcount_order, 1);
    }
    let write = |offset: u64, data: Vec<u8>| file.write(IoBuffers::from_vec(data), offset);
    file.set_len(3 * cluster_bytes)?;
    write(cluster_bytes, (2 * cluster_bytes).to_be_bytes().to_vec())?;
    write(2 * cluster_bytes, block)?;
    write(0, header)?;
    Ok(())
}

/// Gives a new image, without L1 table, its size.
pub(crate) fn set_first_size(image: &Image, size_bytes: u64) -> Result<(), FormatError> {
    let mut owner = image.lock();
    lengthen_l1(&mut owner, size_bytes)?;
    owner.header.size_bytes = size_bytes;
    owner.header_changed = true;
    drop(owner);
    Ok(image.close()?)
}

/// Makes the disk of an open image larger, while it is used or not. Requests up to there are served when this returns,
/// and the file says so.
///
/// What a backing file has behind the old end does not come to light.
pub(crate) fn grow(image: &Image, size_bytes: u64) -> io::Result<()> {
    let old_bytes = image.size_bytes();
    check_growth(image, size_bytes)?;
    let backed_bytes = {
        let mut owner = image.lock();
        owner.check_writable()?;
        lengthen_l1(&mut owner, size_bytes)?;
        owner.backed_bytes
    };
    let cluster_end = old_bytes.next_multiple_of(image.geometry.cluster_bytes());
    image.zero_behind(old_bytes, backed_bytes.max(cluster_end).min(size_bytes))?;
    // The zeros are there before anything reads them.
    image.flush()?;
    set_size(image, size_bytes);
    // Otherwise the next flush would make true what was said to have failed.
    image.flush().inspect_err(|_| set_size(image, old_bytes))?;
    image.grow_to(size_bytes);
    Ok(())
}

/// Whether an image can be so large.
fn check_growth(image: &Image, size_bytes: u64) -> Result<(), FormatError> {
    if size_bytes < image.size_bytes() {
        return Err(FormatError::unsupported("making a qcow2 disk smaller"));
    }
    if image.header.version < 3 && image.header.snapshots > 0 {
        return Err(FormatError::unsupported("resizing an image of version 2 with snapshots"));
    }
    if !size_bytes.is_multiple_of(SECTOR_SIZE) {
        return Err(FormatError::unsupported("a size that is not a multiple of 512"));
    }
    check_size(image.geometry, size_bytes)
}

/// Has the next commit write this length.
fn set_size(image: &Image, size_bytes: u64) {
    let mut owner = image.lock();
    owner.header.size_bytes = size_bytes;
    owner.header_changed = true;
}

fn check_size(geometry: Geometry, size_bytes: u64) -> Result<(), FormatError> {
    if size_bytes > SIZE_BYTES_MAX || geometry.l1_entries_for(size_bytes) * 8 > L1_BYTES_MAX {
        let clusters = geometry.cluster_bytes();
        return Err(FormatError::unsupported(format!(
            "a disk of {size_bytes} bytes in clusters of {clusters} bytes"
        )));
    }
    Ok(())
}

/// Moves the L1 table to where it has room for `size_bytes`.
fn lengthen_l1(owner: &mut Owner, size_bytes: u64) -> io::Result<()> {
    let geometry = owner.geometry;
    let entries = geometry.l1_entries_for(size_bytes);
    let old_entries = u64::from(owner.header.l1_entries);
    if entries <= old_entries {
        return Ok(());
    }
    let run = owner.allocate_all(geometry.clusters_for(entries * 8))?;
    take_room(owner, run).or_else(|error| owner.drop_references(run).and(Err(error)))?;
    if old_entries > 0 {
        let first = geometry.cluster_of(owner.header.l1_offset);
        owner.free_later(Run { first, count: geometry.clusters_for(old_entries * 8) });
    }
    owner.l1.resize(entries as usize, 0);
    owner.header.l1_entries = entries as u32;
    owner.header.l1_offset = geometry.offset_of(run.first);
    owner.l1_moved = true;
    Ok(())
}

/// Has the host give room for a table before anything depends on it: on a full file system, the table's first commit would
/// fail otherwise, and with it each flush of the guest's.
fn take_room(owner: &Owner, run: Run) -> io::Result<()> {
    let length_bytes = run.count * owner.geometry.cluster_bytes();
    let zeros = IoBuffers::from_vec(vec![0; length_bytes as usize]);
    owner.file.write(zeros, owner.geometry.offset_of(run.first))
}

/// The first cluster of an image of no size, with reference counts in the two behind it.
fn header_bytes(options: &CreateOptions, geometry: Geometry) -> Result<Vec<u8>, FormatError> {
    let length = if options.version == 2 { V2_HEADER_BYTES } else { OUR_HEADER_BYTES };
    let mut header = vec![0; length];
    let mut put = |field: std::ops::Range<usize>, value: u64| {
        let bytes = value.to_be_bytes();
        let width = field.len();
        header[field].copy_from_slice(&bytes[8 - width..]);
    };
    put(VERSION, u64::from(options.version));
    put(CLUSTER_BITS, u64::from(geometry.cluster_bits));
    put(REFTABLE_OFFSET, geometry.cluster_bytes());
    put(REFTABLE_CLUSTERS, 1);
    let zstd = options.compression == Compression::Zstd;
    if options.version >= 3 {
        put(INCOMPATIBLE, if zstd { INCOMPATIBLE_COMPRESSION } else { 0 });
        put(COMPATIBLE, if options.lazy_refcounts { COMPATIBLE_LAZY_REFCOUNTS } else { 0 });
        put(REFCOUNT_ORDER, u64::from(geometry.refcount_order));
        put(HEADER_LENGTH, length as u64);
        put(COMPRESSION_TYPE..COMPRESSION_TYPE + 1, u64::from(zstd));
    }
    header[..4].copy_from_slice(&MAGIC);
    if let Some(backing) = &options.backing {
        put_backing(&mut header, backing);
    } else {
        header.extend([0; 8]);
    }
    if header.len() as u64 > geometry.cluster_bytes() {
        return Err(FormatError::unsupported("a backing file's name that is too long for the cluster size"));
    }
    header.resize(geometry.cluster_bytes() as usize, 0);
    Ok(header)
}

/// The extension with the backing file's format, the end of extensions, and the name.
fn put_backing(header: &mut Vec<u8>, backing: &BackingName) {
    if let Some(format) = &backing.format {
        header.extend(EXTENSION_BACKING_FORMAT.to_be_bytes());
        header.extend((format.len() as u32).to_be_bytes());
        header.extend(format.as_bytes());
        header.resize(header.len().next_multiple_of(8), 0);
    }
    header.extend([0; 8]);
    let offset = header.len() as u64;
    header[BACKING_OFFSET].copy_from_slice(&offset.to_be_bytes());
    header[BACKING_LENGTH].copy_from_slice(&(backing.path.len() as u32).to_be_bytes());
    header.extend(backing.path.as_bytes());
}
