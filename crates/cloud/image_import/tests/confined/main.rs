//! Imports by children of their own, as `yagura` does them: good images, hostile ones, and children that do not do
//! as they should.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod archives;
mod boot;
mod children;
mod disks;
mod layers;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use disk::SourceFormat;
use image_import::{Converted, DiskFile, ImportError, Importer};
use tempfile::TempDir;

const CHILD: &str = env!("CARGO_BIN_EXE_import_child");

fn importer() -> Importer {
    Importer::new(CHILD.into(), Vec::new())
}

/// Importers whose children are started by this user, by one without rights, and where user namespaces are off.
fn all_importers() -> Vec<Importer> {
    let without = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let nobody: &[&str] = &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let started: [&[&str]; 2] = [nobody, &["unshare", "-Ur", "sh", "-c", without, "sh"]];
    let mut importers = vec![importer()];
    for prefix in started {
        // No environment is given to children, so programs are named by their paths.
        let Some(program) = ["/usr/bin", "/bin"]
            .map(|folder| Path::new(folder).join(prefix[0]))
            .into_iter()
            .find(|path| path.exists())
        else {
            println!("SKIPPED: {} is not installed", prefix[0]);
            continue;
        };
        let test = Command::new(&program).args(&prefix[1..]).args(["test", "-x", CHILD]).status();
        if test.is_ok_and(|status| status.success()) {
            let arguments = prefix[1..].iter().chain([&CHILD]).map(|word| word.into());
            importers.push(Importer::new(program, arguments.collect()));
        } else {
            println!("SKIPPED: this host does not let us start children by {}", prefix[0]);
        }
    }
    importers
}

/// Files of one test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// A file with these bytes, open for reading only.
    fn unnamed(&self, bytes: &[u8]) -> File {
        let path = self.write("unnamed", bytes);
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    /// Has a disk copied to the file `out`.
    fn convert(
        &self,
        importer: &Importer,
        name: &str,
        format: SourceFormat,
    ) -> Result<Converted, ImportError> {
        let (source, target) = (File::open(self.path(name)).unwrap(), self.new_file("out"));
        let disk = DiskFile::new(source.as_fd(), format, Path::new(name));
        let extents = importer.open_extents(disk, self.0.path())?;
        importer.convert(disk, &extents, target.as_fd(), &mut messages::unwatched)
    }

    fn new_file(&self, name: &str) -> File {
        File::options().read(true).write(true).create(true).truncate(true).open(self.path(name)).unwrap()
    }
}
