//! Merging the layers of an OCI image (image-spec, "Image Layer Filesystem Changeset") into one archive.
//!
//! ```text
//! layer ─► input (unpacked, counted, hashed) ─► archive (entries) ─► tree in memory ─► output (a clean archive)
//!                                          └── data of files ─► scratch ──────────┘
//! ```
//!
//! No name of a layer ever reaches a file system: the tree is a data structure, and links are followed in it alone.

mod archive;
mod error;
mod input;
mod names;
mod output;
mod pax;
mod tree;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use oci_image::LayerCompression;

use self::archive::{Archive, Entry, Kind};
use self::error::LayerError;
use self::input::{Budget, Hashed, unpacked};
use self::names::{Marker, Path};
use self::tree::{Content, Inode, Tree};
use crate::inputs::{Dropped, Merged};
use crate::limits::Limits;
use crate::position::{PositionReader, PositionWriter, length_bytes};
use crate::wire::{Answered, LayerPart};
use messages::in_words;

/// Bytes of data that are moved at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Where the data of files waits for its place in the archive.
pub(crate) trait Scratch {
    fn write_at(&mut self, data: &[u8], offset_bytes: u64) -> io::Result<()>;
    fn read_at(&self, out: &mut [u8], offset_bytes: u64) -> io::Result<()>;
}

impl Scratch for File {
    fn write_at(&mut self, data: &[u8], offset_bytes: u64) -> io::Result<()> {
        self.write_all_at(data, offset_bytes)
    }

    fn read_at(&self, out: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        self.read_exact_at(out, offset_bytes)
    }
}

/// The job: see [`Importer::merge_layers`](crate::Importer::merge_layers).
pub(crate) fn merge(
    files: &[File],
    layers: &[LayerPart],
    (output, scratch): (File, File),
    limits: &Limits,
    mut progress: impl FnMut(u64, u64),
) -> Answered<Merged> {
    let files = files.iter().map(|file| Ok((file, length_bytes(file)?)));
    let files: Vec<(&File, u64)> = files.collect::<io::Result<_>>().map_err(|error| in_words(&error))?;
    // Layers may lie over each other: what may come out goes by what there is, not by what they have together.
    let source_bytes = files.iter().map(|(_, file_bytes)| *file_bytes).fold(0, u64::saturating_add);
    let all_bytes = layers.iter().map(|layer| layer.range.length_bytes).fold(0, u64::saturating_add);
    let mut merge = Merge::new(limits, source_bytes, scratch);
    let mut done_bytes = 0;
    for layer in layers {
        let bad = |error: LayerError| format!("layer {}: {}", layer.name, in_words(&error));
        let (file, file_bytes) = files.get(layer.file).ok_or("a file is missing from the order")?;
        if !layer.range.lies_in(*file_bytes) {
            return Err(bad(LayerError::CutShort));
        }
        let mut reader = PositionReader::new(file, layer.range, |bytes| {
            done_bytes += bytes;
            progress(done_bytes, all_bytes);
        });
        let mut unpacked = unpacked(layer.compression, &mut reader).map_err(|error| bad(error.into()))?;
        let mut hashed = Hashed::new(&mut *unpacked, layer.diff_id);
        merge.add_layer(&mut hashed).and_then(|()| hashed.check()).map_err(bad)?;
    }
    let output = PositionWriter::new(output, u64::MAX);
    merge.write(output).map_err(|error| format!("the merged layers: {}", in_words(&error)))
}

/// Layers that were merged so far.
pub(crate) struct Merge<'a, S> {
    limits: &'a Limits,
    budget: Budget,
    tree: Tree,
    scratch: S,
    scratch_bytes: u64,
    entries: u64,
    names_bytes: u64,
    dropped: Dropped,
}

impl<'a, S: Scratch> Merge<'a, S> {
    /// Nothing yet; there will be layers of `source_bytes` together.
    pub(crate) fn new(limits: &'a Limits, source_bytes: u64, scratch: S) -> Merge<'a, S> {
        Merge {
            limits,
            budget: Budget::new(limits.data_bytes_for(source_bytes)),
            tree: Tree::new(),
            scratch,
            scratch_bytes: 0,
            entries: 0,
            names_bytes: 0,
            dropped: Dropped::default(),
        }
    }

    /// Puts a layer over those before it. All of it is read, to what is behind the archive's end.
    pub(crate) fn add_layer(&mut self, unpacked: &mut dyn Read) -> Result<(), LayerError> {
        self.tree.begin_layer()?;
        let mut archive = Archive::new(unpacked, self.budget.clone());
        while let Some(entry) = archive.next_entry(&mut self.dropped)? {
            self.count(&entry)?;
            let data_offset = self.scratch_bytes;
            let data_bytes = entry.data_bytes;
            self.add(entry, data_offset)?;
            self.save_data(&mut archive, data_bytes)?;
        }
        archive.drain()
    }

    /// Counts an entry against the limits.
    fn count(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.entries += 1;
        self.names_bytes += entry.names_bytes();
        // A long name makes many folders.
        if self.entries.max(self.tree.names()) > self.limits.entries {
            return Err(LayerError::TooMany { what: "entries", limit: self.limits.entries });
        }
        if self.names_bytes > self.limits.names_bytes {
            return Err(LayerError::TooMany { what: "bytes of names", limit: self.limits.names_bytes });
        }
        Ok(())
    }

    /// Puts an entry, whose data will be in scratch from `data_offset` on, into the tree.
    fn add(&mut self, entry: Entry, data_offset: u64) -> Result<(), LayerError> {
        let Some(path) = Path::parse(&entry.path, &mut self.dropped)? else { return Ok(()) };
        let (marker, path) = path.marker();
        match marker {
            Marker::None => {}
            Marker::Opaque => return self.tree.hide_contents(&path),
            Marker::Whiteout => return self.tree.hide(&path),
            Marker::Ignored => return Ok(()),
        }
        let content = match entry.kind {
            Kind::File => Content::File { data_offset, data_bytes: entry.data_bytes },
            Kind::Folder => Content::Folder,
            Kind::SymbolicLink if entry.link.is_empty() => {
                self.dropped.links += 1;
                return Ok(());
            }
            Kind::SymbolicLink => Content::SymbolicLink(names::target(&entry.link)?),
            Kind::HardLink => {
                let Some(target) = Path::parse(&entry.link, &mut self.dropped)? else { return Ok(()) };
                let linked = self.tree.link(&path, &target)?;
                self.dropped.links += u64::from(!linked);
                return Ok(());
            }
            Kind::Device => {
                self.dropped.devices += 1;
                return Ok(());
            }
            Kind::Pipe => Content::Pipe,
            Kind::Unknown => {
                self.dropped.unknown += 1;
                return Ok(());
            }
        };
        let Entry { mode, uid, gid, mtime, attributes, .. } = entry;
        self.tree.insert(&path, Inode { content, mode, uid, gid, mtime, attributes, shared: false })
    }

    /// Moves an entry's data to scratch.
    fn save_data(&mut self, archive: &mut Archive<'_>, data_bytes: u64) -> Result<(), LayerError> {
        let mut left = data_bytes;
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(data_bytes).unwrap_or(CHUNK_BYTES))];
        while left > 0 {
            let length = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            archive.read_data(&mut chunk[..length])?;
            self.scratch.write_at(&chunk[..length], self.scratch_bytes).map_err(LayerError::Scratch)?;
            self.scratch_bytes += length as u64;
            left -= length as u64;
        }
        Ok(())
    }

    /// Writes the tree as an archive.
    pub(crate) fn write(self, output: impl Write) -> Result<Merged, LayerError> {
        output::write(&self.tree, &self.scratch, output, self.dropped)
    }
}

impl Scratch for Vec<u8> {
    fn write_at(&mut self, data: &[u8], offset_bytes: u64) -> io::Result<()> {
        let start = offset_bytes as usize;
        self.resize(self.len().max(start + data.len()), 0);
        self[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn read_at(&self, out: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let start = offset_bytes as usize;
        out.copy_from_slice(self.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Merges layers in memory: what the child does, without a child.
///
/// # Errors
/// The line that a person would see.
pub fn merge_in_memory(
    layers: &[(LayerCompression, &[u8])],
    limits: &Limits,
) -> Result<(Merged, Vec<u8>), String> {
    let source_bytes = layers.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let mut merge = Merge::new(limits, source_bytes, Vec::new());
    for (compression, bytes) in layers {
        let mut bytes = *bytes;
        let mut unpacked = unpacked(*compression, &mut bytes).map_err(|error| error.to_string())?;
        merge.add_layer(&mut *unpacked).map_err(|error| in_words(&error))?;
    }
    let mut output = Vec::new();
    let merged = merge.write(&mut output).map_err(|error| in_words(&error))?;
    Ok((merged, output))
}

#[cfg(test)]
mod tests;
