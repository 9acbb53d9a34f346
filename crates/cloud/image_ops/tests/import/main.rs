//! Files that become images: by what was said of them, by their contents, and what is refused.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod appliance;
mod contents;
#[allow(dead_code, reason = "what other tests make is not made here")]
#[path = "../../../../format/foreign_disks/tests/foreign/make.rs"]
mod make;
mod sectors;
mod undo;

use std::path::{Path, PathBuf};

use image_import::Importer;
use image_model::ImageSource;
use image_ops::{ImageError, Images, ImportOptions, Watch};
use image_store::Image;
use tempfile::TempDir;

const CHILD: &str = env!("CARGO_BIN_EXE_import_child_of_ops");

/// A store, and files of one test.
struct Folder {
    folder: TempDir,
    images: Images,
}

/// What was said meanwhile.
#[derive(Default)]
struct Notes(Vec<String>);

impl Watch for Notes {
    fn stage(&mut self, _what: &str) {}

    fn bytes(&mut self, _done: u64, _all: Option<u64>) {}

    fn note(&mut self, what: &str) {
        self.0.push(what.to_owned());
    }
}

impl Folder {
    fn new() -> Folder {
        let folder = TempDir::new().unwrap();
        let mut images = Images::open(&folder.path().join("store")).unwrap();
        images.importer = Importer::new(CHILD.into(), Vec::new());
        Folder { folder, images }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn options(&self, name: &str) -> ImportOptions {
        ImportOptions::of(ImageSource::file(&self.path(name)))
    }

    /// Imports a file as `image import` does, and tells what was said.
    fn import(&self, name: &str, format: Option<&str>) -> (Result<Image, ImageError>, Notes) {
        self.import_with(name, format, &self.options(name))
    }

    fn import_with(
        &self,
        name: &str,
        format: Option<&str>,
        options: &ImportOptions,
    ) -> (Result<Image, ImageError>, Notes) {
        let kind = format.map(|format| format.parse().unwrap());
        let kind = kind.or_else(|| image_sources::FileKind::of_name(Path::new(name)));
        let mut notes = Notes::default();
        let image = self.images.import_file(&self.path(name), kind, options, &mut notes);
        (image, notes)
    }

    /// The bytes of an image's disk.
    fn disk(&self, image: &Image) -> Vec<u8> {
        std::fs::read(self.images.store.blob_path(&image.metadata.disk)).unwrap()
    }

    /// Why a file is not taken, in one line that says which one.
    #[track_caller]
    fn refusal(&self, name: &str, format: Option<&str>) -> String {
        let error = self.import(name, format).0.unwrap_err();
        let mut line = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        assert!(line.contains(name) && !line.contains("staging") && !line.contains('\n'), "{line}");
        line
    }
}

/// A raw disk of 4 MiB with an ext4 file system's mark and nothing that boots.
fn raw_disk() -> Vec<u8> {
    let mut disk: Vec<u8> =
        (0..4 << 20).map(|at| if at % 9000 < 100 { (at / 9000) as u8 } else { 0 }).collect();
    disk[..4096].fill(0);
    disk[1080..1082].copy_from_slice(&[0x53, 0xef]);
    disk
}
