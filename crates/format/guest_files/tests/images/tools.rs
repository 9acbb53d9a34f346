//! Images on disk, made by `mke2fs`, `mkfs.vfat`, `mkfs.xfs`, `mkfs.btrfs` out of folders, without root rights.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use guest_files::{FileSystem, ReadAt, open_file_system};
use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;

/// A file of the host as a disk.
pub struct FileDisk(File, u64);

impl FileDisk {
    pub fn open(path: &Path) -> Rc<dyn ReadAt> {
        let file = File::open(path).unwrap();
        let len = file.metadata().unwrap().len();
        Rc::new(FileDisk(file, len))
    }
}

impl ReadAt for FileDisk {
    fn len_bytes(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset_bytes)
    }
}

pub fn open(path: &Path) -> Box<dyn FileSystem> {
    open_file_system(FileDisk::open(path)).unwrap().unwrap()
}

/// A folder to work in, if the tools are there.
pub struct Folder(TempDir);

impl Folder {
    pub fn with_tools(tools: &[&str]) -> Option<Folder> {
        let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let is_there = |tool: &&str| folders.split(':').any(|folder| Path::new(folder).join(tool).exists());
        for tool in tools {
            if !is_there(tool) {
                println!("SKIPPED: {tool} is not installed");
                return None;
            }
        }
        Some(Folder(TempDir::new().unwrap()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A folder below, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.path(name)).unwrap();
        self.path(name)
    }

    /// Runs a tool in here.
    #[track_caller]
    pub fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let output =
            Command::new(tool).args(arguments).env("PATH", path).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn image(&self, name: &str, len_bytes: u64) -> String {
        File::create(self.path(name)).unwrap().set_len(len_bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// An ext4 of the folder `tree`.
    pub fn ext4(&self, name: &str, tree: &Path, len_bytes: u64, options: &str) -> PathBuf {
        let image = self.image(name, len_bytes);
        let mut arguments = vec!["-q", "-F", "-d", tree.to_str().unwrap()];
        arguments.extend(options.split_whitespace());
        arguments.push(&image);
        self.run("mke2fs", &arguments);
        self.path(name)
    }

    /// A vfat of the folder `tree`, which may hold directories and regular files only.
    pub fn vfat(&self, name: &str, tree: &Path, len_bytes: u64, options: &str) -> PathBuf {
        let image = self.image(name, len_bytes);
        let mut arguments: Vec<&str> = options.split_whitespace().collect();
        arguments.push(&image);
        self.run("mkfs.vfat", &arguments);
        for entry in fs::read_dir(tree).unwrap() {
            let path = entry.unwrap().path();
            self.run("mcopy", &["-s", "-o", "-i", &image, path.to_str().unwrap(), "::"]);
        }
        self.path(name)
    }

    /// A btrfs of the folder `tree`.
    pub fn btrfs(&self, name: &str, tree: &Path, len_bytes: u64, options: &str) -> PathBuf {
        let image = self.image(name, len_bytes);
        let mut arguments = vec!["-q", "-f", "--rootdir", tree.to_str().unwrap()];
        arguments.extend(options.split_whitespace());
        arguments.push(&image);
        self.run("mkfs.btrfs", &arguments);
        self.path(name)
    }

    /// An xfs of the folder `tree`.
    pub fn xfs(&self, name: &str, tree: &Path, len_bytes: u64, options: &str) -> PathBuf {
        let image = self.image(name, len_bytes);
        let mut proto = "/dev/null\n0 0\nd--755 0 0\n".to_owned();
        add_to_proto(tree, &mut proto);
        proto.push_str("$\n");
        let proto_path = self.path(&format!("{name}.proto"));
        fs::write(&proto_path, proto).unwrap();
        let mut arguments = vec!["-q", "-f", "-p", proto_path.to_str().unwrap()];
        arguments.extend(options.split_whitespace());
        arguments.push(&image);
        self.run("mkfs.xfs", &arguments);
        self.path(name)
    }
}

/// Adds a folder's entries to what `mkfs.xfs` makes files by (`mkfs.xfs(8)`, option -p).
fn add_to_proto(folder: &Path, proto: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            proto.push_str(&format!("{name} d--755 0 0\n"));
            add_to_proto(&path, proto);
            proto.push_str("$\n");
        } else if kind.is_symlink() {
            proto.push_str(&format!("{name} l--777 0 0 {}\n", fs::read_link(&path).unwrap().display()));
        } else if kind.is_fifo() {
            proto.push_str(&format!("{name} p--644 0 0\n"));
        } else {
            proto.push_str(&format!("{name} ---644 0 0 {}\n", path.display()));
        }
    }
}
