//! A folder in which `qemu-img` works. Tests of other crates have it, too.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;

/// A child that one test is just starting would hold the files, and the locks, that another one has open.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A folder, if `qemu-img` is there to work in it.
pub struct Folder {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Folder {
    pub fn new() -> Option<Folder> {
        if Command::new("qemu-img").arg("--version").output().is_err() {
            println!("SKIPPED: qemu-img is not installed");
            return None;
        }
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Folder { folder: TempDir::new().unwrap(), _alone: alone })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(&self, text: &str) -> Output {
        Command::new("qemu-img")
            .args(text.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    #[track_caller]
    pub fn qemu_img(&self, text: &str) -> String {
        let output = self.run(text);
        assert!(output.status.success(), "qemu-img {text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Length of a disk as QEMU sees it.
    #[track_caller]
    pub fn virtual_size(&self, name: &str, format: &str) -> u64 {
        let info = self.qemu_img(&format!("info --output=json -f {format} {name}"));
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        info["virtual-size"].as_u64().unwrap()
    }
}

/// Bytes that compress somewhat, with zeros among them.
pub fn contents(bytes: u64) -> Vec<u8> {
    let sector =
        |at: u64| if (at / 97).is_multiple_of(3) { 0 } else { (at.wrapping_mul(0x9e37_79b9) >> 13) as u8 };
    (0..bytes).map(|at| sector(at / 512).wrapping_mul((at % 5) as u8)).collect()
}
