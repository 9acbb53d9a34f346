//! Reading a disk in one thread, from descriptors that somebody else has opened.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{FormatError, ImageFile, Layer, OfflineError, OpenError, RawLayer, SourceFormat, copy_layer};
use guest_memory::IoBuffers;
use rustix::fs::fstat;

use crate::source::{SourceFile, bad_source, image_file, open_layer};

/// Most files of a chain.
const CHAIN_MAX: usize = 32;

/// A disk that is read only. It opens nothing and starts no thread: it is what a confined process uses.
pub struct DiskReader {
    layer: Arc<dyn Layer>,
    name: PathBuf,
}

impl DiskReader {
    /// The disk in the first file of `chain`, each of which is behind the one before it. What files say
    /// themselves about names behind them is not followed.
    ///
    /// # Errors
    /// One [`OpenError`] for each thing that can be wrong, a chain that is too short or too long among them.
    pub fn open(chain: Vec<SourceFile>) -> Result<DiskReader, OpenError> {
        let name = chain.first().map(|first| first.name.clone()).unwrap_or_default();
        let mut behind: Option<Arc<dyn Layer>> = None;
        let mut seen = Vec::new();
        if chain.len() > CHAIN_MAX {
            return Err(OpenError::ChainTooLong { path: name, limit: CHAIN_MAX });
        }
        for source in chain.into_iter().rev() {
            let (format, range) = (source.format, source.range);
            let (host, extents) = source.host()?;
            let bad = bad_source(host.path(), format);
            let identity = fstat(host.file()).map(|stat| (stat.st_dev, stat.st_ino));
            let identity = identity.map_err(|errno| bad(io::Error::from(errno).into()))?;
            if seen.contains(&identity) {
                return Err(OpenError::ChainTooLong { path: host.path().to_owned(), limit: CHAIN_MAX });
            }
            seen.push(identity);
            behind = Some(match format {
                SourceFormat::Raw if behind.is_none() && range.is_none() => Arc::new(RawLayer::new(host)),
                _ => open_layer(image_file(host, range), format, behind, extents).map_err(bad)?.layer,
            });
        }
        let layer = behind.ok_or_else(|| OpenError::Missing(name.clone()))?;
        Ok(DiskReader { layer, name })
    }

    /// The disk in a file, and in those that it names, that need not be the host's; nothing is behind it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open_file(
        file: Arc<dyn ImageFile>,
        extents: Vec<Arc<dyn ImageFile>>,
        format: SourceFormat,
    ) -> Result<DiskReader, FormatError> {
        let layer = open_layer(file, format, None, extents)?.layer;
        Ok(DiskReader { layer, name: PathBuf::from("(memory)") })
    }

    /// What messages call the disk.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Length of the disk in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.layer.size_bytes()
    }

    /// Fills `out` from `offset_bytes` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where that is not all on the disk; what the file or its format has against it.
    pub fn read_at(&self, offset_bytes: u64, out: &mut [u8]) -> io::Result<()> {
        let end_bytes = offset_bytes.checked_add(out.len() as u64);
        if end_bytes.is_none_or(|end_bytes| end_bytes > self.len_bytes()) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the disk"));
        }
        let buffers = IoBuffers::from_vec(vec![0; out.len()]);
        self.layer.read(&buffers, offset_bytes)?;
        out.copy_from_slice(&buffers.to_vec(out.len()));
        Ok(())
    }

    /// Copies the disk into `target`, an empty file that messages call `target_name`, each byte to its place;
    /// zeros take no room. `progress` is told the bytes done and the bytes in all. Returns the bytes written.
    ///
    /// # Errors
    /// The disk cannot be read, holds more than `data_bytes_max` beside its zeros, or the target cannot be
    /// written.
    pub fn copy_to(
        &self,
        target: File,
        target_name: &Path,
        data_bytes_max: u64,
        progress: impl FnMut(u64, u64),
    ) -> Result<u64, OfflineError> {
        copy_layer(&*self.layer, &self.name, target, target_name, data_bytes_max, progress)
    }
}
