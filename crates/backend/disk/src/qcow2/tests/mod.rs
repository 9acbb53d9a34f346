//! Images against a plain array of sectors, on a file whose power can be cut.

mod crash;
mod hostile;
mod memory_file;
mod model;
mod random;
mod threads;

use std::sync::Arc;

use guest_memory::IoBuffers;

use super::check::CheckReport;
use super::image::Image;
use super::{CreateOptions, check, create};
use crate::error::FormatError;
use crate::image_file::ImageFile;
use crate::layer::Layer;
use crate::map_piece::MapPiece;
use memory_file::MemoryFile;
use random::Random;

/// A disk behind an image, in memory.
struct MemoryLayer(Vec<u8>);

impl Layer for MemoryLayer {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> std::io::Result<()> {
        buffers.fill_from(&self.0[offset_bytes as usize..][..buffers.len_bytes()]);
        Ok(())
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> std::io::Result<MapPiece> {
        let (start_bytes, offset_bytes) = (offset_bytes, Some(offset_bytes));
        Ok(MapPiece { start_bytes, length_bytes, depth: 0, zero: false, data: true, offset_bytes })
    }
}

/// An image in memory.
fn new_image(options: &CreateOptions) -> Arc<MemoryFile> {
    let file = Arc::new(MemoryFile::new(Vec::new()));
    create(&(Arc::clone(&file) as Arc<dyn ImageFile>), options).unwrap();
    file
}

fn open(file: &Arc<MemoryFile>, behind: Option<Arc<dyn Layer>>) -> Image {
    try_open(file, behind, false).unwrap()
}

fn try_open(
    file: &Arc<MemoryFile>,
    behind: Option<Arc<dyn Layer>>,
    read_only: bool,
) -> Result<Image, FormatError> {
    Image::open(Arc::clone(file) as Arc<dyn ImageFile>, behind, read_only)
}

/// Asserts that an image has no corruption, and returns what was found.
#[track_caller]
fn assert_sound(file: &MemoryFile, what: &str) -> CheckReport {
    let report = check(file).unwrap();
    assert_eq!(report.corruptions, 0, "{what}: {report:#?}");
    report
}

/// Options of all kinds that go together.
fn any_options(random: &mut Random) -> CreateOptions {
    let cluster_bytes = 1 << [9, 9, 10, 12, 16][random.below(5)];
    let size_bytes = (1 + random.below(600) as u64) * 512;
    let mut options = CreateOptions { cluster_bytes, ..CreateOptions::new(size_bytes) };
    if random.below(4) == 0 {
        options.version = 2;
    } else {
        options.refcount_bits = 1 << random.below(7);
        options.lazy_refcounts = random.below(2) == 0;
    }
    options
}
