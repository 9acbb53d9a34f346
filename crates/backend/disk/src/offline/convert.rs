//! Copying a disk from one format to another.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use guest_memory::IoBuffers;
use rustix::fs::OFlags;

use super::map::open_layer;
use super::{
    DiskFormat, OfflineError, Output, creation_error, format_error, io_error, is_block_device, new_file,
};
use crate::contract::SECTOR_SIZE;
use crate::host_file::{self, HostFile};
use crate::image_file::ImageFile;
use crate::layer::Layer;
use crate::qcow2::{self, BackingPolicy, CreateOptions, Image};
use crate::raw_contents::RawContents;

/// Bytes that are read at once: the largest cluster.
const CHUNK_BYTES: u64 = 2 << 20;
/// Smallest hole that is left in a raw file: file systems know no smaller ones.
const HOLE_BYTES: u64 = 4096;

/// What to make of a disk.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// The format of what is read.
    pub from: DiskFormat,
    /// What a raw source may look like.
    pub contents: RawContents,
    /// Whether the source may name a backing file.
    pub policy: BackingPolicy,
    /// What is written: a raw file, or an image with these options, whose size is the source's.
    pub to: Option<CreateOptions>,
    /// Compress each cluster that becomes smaller by it.
    pub compress: bool,
}

/// Copies the disk at `source` to a new file at `target`, or raw to a block device; zeros take no room there.
/// `progress` is told the bytes done and the bytes in all.
///
/// # Errors
/// The source cannot be read, the target is there, or the host refuses; then there is no target. A device has some of
/// the disk then.
pub fn convert<'a>(
    source: &Path,
    target: impl Into<Output<'a>>,
    options: &ConvertOptions,
    progress: impl FnMut(u64, u64),
) -> Result<(), OfflineError> {
    let progress = to_the_end(progress);
    let layer = open_layer(source, options.from, options.contents, options.policy)?;
    let size_bytes = layer.size_bytes().next_multiple_of(SECTOR_SIZE);
    let output = target.into();
    let target = output.path;
    if options.to.is_none() && is_block_device(target) {
        return copy_to_device(&*layer, source, target, size_bytes, progress);
    }
    new_file(output, |file| match &options.to {
        None => {
            file.set_len(size_bytes).map_err(io_error(target, "enlarge"))?;
            let sink = |run: Run<'_>| file.write(run.buffers, run.at_bytes);
            copy(&*layer, source, target, HOLE_BYTES, sink, progress)?;
            file.sync().map_err(io_error(target, "write"))
        }
        Some(image) => {
            let image = CreateOptions { size_bytes, ..image.clone() };
            copy_to_image(&*layer, source, file, &image, options.compress, progress)
        }
    })
}

/// Copies the qcow2 image at `source`, with all that is behind it, to `target`, which is empty: an image with nothing behind
/// it. `name` is what `target` is called in errors.
///
/// # Errors
/// The source cannot be read, the host refuses, or nobody wants it any more.
pub fn flatten(
    source: &Path,
    target: &File,
    name: &Path,
    progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), OfflineError> {
    let layer = open_layer(source, DiskFormat::Qcow2, RawContents::Any, BackingPolicy::Open)?;
    let options = CreateOptions::new(layer.size_bytes().next_multiple_of(SECTOR_SIZE));
    let file = Arc::new(target.try_clone().map_err(io_error(name, "open"))?);
    let file = HostFile::regular(file, 0, name);
    copy_to_image(&*layer, source, &file, &options, false, progress)
}

/// Writes a raw disk to the start of a device that nothing else uses.
fn copy_to_device(
    layer: &dyn Layer,
    source: &Path,
    target: &Path,
    size_bytes: u64,
    progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), OfflineError> {
    // A device that is mounted, or part of another, may not be opened so (open(2), `O_EXCL`).
    let exclusive = OFlags::EXCL.bits() as i32;
    let alone = File::options().write(true).custom_flags(exclusive).open(target);
    let _alone = alone.map_err(io_error(target, "take for itself"))?;
    let device = host_file::open(target, false)?;
    if device.size_bytes < size_bytes {
        let has_bytes = device.size_bytes;
        return Err(OfflineError::DeviceTooSmall {
            path: target.to_owned(),
            has_bytes,
            needs_bytes: size_bytes,
        });
    }
    // What the device had before is not the disk's.
    device.write_zeroes(0, size_bytes, true).map_err(io_error(target, "clear"))?;
    let sink = |run: Run<'_>| device.write(run.buffers, run.at_bytes);
    copy(layer, source, target, HOLE_BYTES, sink, progress)?;
    device.sync().map_err(io_error(target, "write"))
}

fn copy_to_image(
    layer: &dyn Layer,
    source: &Path,
    file: &HostFile,
    options: &CreateOptions,
    compress: bool,
    progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), OfflineError> {
    let target = &file.path;
    let file: Arc<dyn ImageFile> = Arc::new(file.clone());
    qcow2::create(&file, options).map_err(creation_error(target))?;
    let image = Image::open(file, None, false).map_err(format_error(target))?;
    let sink = |Run { buffers, data, at_bytes }: Run<'_>| {
        if compress { image.write_compressed(data, at_bytes) } else { image.write(&buffers, at_bytes) }
    };
    copy(layer, source, target, options.cluster_bytes, sink, progress)
        .and_then(|()| image.close().map_err(io_error(target, "write")))
        .inspect_err(|_| image.abandon())
}

/// Copies a disk, which messages call `source`, into `target`, an empty file that messages call `target_name`, each byte
/// to its place; zeros take no room. `progress` is told the bytes done and the bytes in all. Returns the bytes written.
///
/// # Errors
/// The layer cannot be read, holds more than `data_bytes_max` beside its zeros, or the target cannot be written.
pub fn copy_layer(
    layer: &dyn Layer,
    source: &Path,
    target: File,
    target_name: &Path,
    data_bytes_max: u64,
    progress: impl FnMut(u64, u64),
) -> Result<u64, OfflineError> {
    let failed = |operation| io_error(target_name, operation);
    let target = HostFile::of_file(target, target_name).map_err(failed("measure"))?;
    let size_bytes = layer.size_bytes().next_multiple_of(SECTOR_SIZE);
    target.set_len(size_bytes).map_err(failed("enlarge"))?;
    let mut written_bytes = 0;
    let sink = |run: Run<'_>| {
        written_bytes += run.data.len() as u64;
        if written_bytes > data_bytes_max {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        target.write(run.buffers, run.at_bytes)
    };
    let copied = copy(layer, source, target_name, HOLE_BYTES, sink, to_the_end(progress));
    if written_bytes > data_bytes_max {
        return Err(OfflineError::Expands { path: source.to_owned(), limit_bytes: data_bytes_max });
    }
    copied?;
    target.sync().map_err(failed("write"))?;
    Ok(written_bytes)
}

/// Some of a disk that is to be written.
struct Run<'a> {
    /// Its bytes, for writing.
    buffers: IoBuffers,
    /// The same, to look at.
    data: &'a [u8],
    /// Where it lies on the disk.
    at_bytes: u64,
}

/// Gives `sink` everything that is not zeros, in runs of units of `unit_bytes`, until `progress` wants no more.
fn copy(
    layer: &dyn Layer,
    source: &Path,
    target: &Path,
    unit_bytes: u64,
    mut sink: impl FnMut(Run<'_>) -> io::Result<()>,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), OfflineError> {
    let size_bytes = layer.size_bytes();
    // Both are used again for each chunk: memory that is new has to be zeroed by the kernel first.
    let chunk = IoBuffers::from_vec(vec![0; CHUNK_BYTES as usize]);
    let mut data = vec![0; CHUNK_BYTES as usize];
    let mut at_bytes = 0;
    while at_bytes < size_bytes {
        let chunk_end = (at_bytes / CHUNK_BYTES + 1) * CHUNK_BYTES;
        let chunk_bytes = (chunk_end - at_bytes).min(size_bytes - at_bytes);
        let piece = layer.locate(at_bytes, size_bytes - at_bytes).map_err(io_error(source, "read"))?;
        if piece.zero && piece.length_bytes >= chunk_bytes {
            // Whole chunks of zeros are passed over at once, so that chunks stay aligned.
            let passed = at_bytes + piece.length_bytes;
            at_bytes = if passed >= size_bytes {
                size_bytes
            } else {
                (passed / CHUNK_BYTES * CHUNK_BYTES).max(chunk_end)
            };
        } else {
            let padded = chunk_bytes.next_multiple_of(SECTOR_SIZE) as usize;
            chunk
                .slice(chunk_bytes as usize, padded - chunk_bytes as usize)
                .fill_from(&[0; SECTOR_SIZE as usize]);
            layer.read(&chunk.slice(0, chunk_bytes as usize), at_bytes).map_err(io_error(source, "read"))?;
            chunk.copy_out(&mut data[..padded]);
            for (start, end) in runs_of_data(&data[..padded], unit_bytes as usize) {
                let buffers = chunk.slice(start, end - start);
                let run = Run { buffers, data: &data[start..end], at_bytes: at_bytes + start as u64 };
                sink(run).map_err(io_error(target, "write"))?;
            }
            at_bytes += chunk_bytes;
        }
        if progress(at_bytes, size_bytes).is_break() {
            return Err(OfflineError::Cancelled);
        }
    }
    Ok(())
}

/// Progress of what goes on to its end.
fn to_the_end(mut progress: impl FnMut(u64, u64)) -> impl FnMut(u64, u64) -> ControlFlow<()> {
    move |done, all| {
        progress(done, all);
        ControlFlow::Continue(())
    }
}

/// Where the units lie that are not all zeros; neighbours are one.
fn runs_of_data(data: &[u8], unit_bytes: usize) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, unit) in data.chunks(unit_bytes).enumerate() {
        let start = index * unit_bytes;
        if is_zero(unit) {
            continue;
        }
        match runs.last_mut() {
            Some(last) if last.1 == start => last.1 = start + unit.len(),
            _ => runs.push((start, start + unit.len())),
        }
    }
    runs
}

fn is_zero(unit: &[u8]) -> bool {
    let (words, rest) = unit.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_units_with_data_are_copied() {
        let mut data = vec![0; 2048];
        data[511] = 1;
        data[512] = 1;
        data[1999] = 1;
        assert_eq!(runs_of_data(&data, 512), [(0, 1024), (1536, 2048)]);
        assert_eq!(runs_of_data(&data[..2000], 512), [(0, 1024), (1536, 2000)]);
        assert_eq!(runs_of_data(&[0; 4096], 512), []);
    }
}
