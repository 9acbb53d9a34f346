//! Disks with partition tables, made by `sfdisk`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tools::{Folder, MIB};

pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
pub const ROOT_X86: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
pub const XBOOTLDR: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";

const SECTOR: u64 = 512;

/// A partition: its number, its type, what it holds.
pub struct Part<'a>(u32, &'a str, &'a Path);

impl<'a> Part<'a> {
    pub fn new(number: u32, kind: &'a str, image: &'a Path) -> Part<'a> {
        Part(number, kind, image)
    }
}

fn len(image: &Path) -> u64 {
    fs::metadata(image).unwrap().len()
}

/// A disk with a GPT.
pub fn gpt(folder: &Folder, parts: &[Part<'_>]) -> PathBuf {
    let mut script = "label: gpt\n".to_owned();
    let mut places = Vec::new();
    let mut at = MIB;
    for Part(number, kind, image) in parts {
        let sectors = len(image) / SECTOR;
        let uuid = format!("0f0f0f0f-0000-4000-8000-{number:012x}");
        let start = at / SECTOR;
        script.push_str(&format!("disk{number} : start={start}, size={sectors}, type={kind}, uuid={uuid}\n"));
        places.push((at, *image));
        at += len(image).next_multiple_of(MIB);
    }
    make(folder, &script, at + MIB, &places)
}

/// A disk with an MBR; numbers from 5 on are logical partitions.
pub fn mbr(folder: &Folder, parts: &[(u32, &Path)]) -> PathBuf {
    let mut script = "label: dos\nlabel-id: 0x1234abcd\n".to_owned();
    let mut places = Vec::new();
    let mut at = MIB;
    let logical: u64 =
        parts.iter().filter(|(number, _)| *number > 4).map(|(_, image)| len(image) + MIB).sum();
    let mut has_extended = false;
    for (number, image) in parts {
        if *number > 4 && !has_extended {
            script.push_str(&format!(
                "disk4 : start={}, size={}, type=5\n",
                at / SECTOR,
                (logical + MIB) / SECTOR
            ));
            has_extended = true;
        }
        if *number > 4 {
            at += MIB;
        }
        script.push_str(&format!(
            "disk{number} : start={}, size={}, type=83\n",
            at / SECTOR,
            len(image) / SECTOR
        ));
        places.push((at, *image));
        at += len(image).next_multiple_of(MIB);
    }
    make(folder, &script, at + 2 * MIB, &places)
}

fn make(folder: &Folder, script: &str, len_bytes: u64, places: &[(u64, &Path)]) -> PathBuf {
    let path = folder.path("disk");
    let disk = File::create(&path).unwrap();
    disk.set_len(len_bytes).unwrap();
    let search = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut sfdisk = Command::new("sfdisk")
        .args(["-q", "--no-reread", "--no-tell-kernel"])
        .arg(&path)
        .env("PATH", search)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success(), "{script}");
    for (at, image) in places {
        copy_sparse(image, &disk, *at);
    }
    path
}

/// Copies what is not zeros.
fn copy_sparse(image: &Path, disk: &File, at: u64) {
    let image = fs::read(image).unwrap();
    for (index, block) in image.chunks(MIB as usize / 16).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            disk.write_all_at(block, at + index as u64 * (MIB / 16)).unwrap();
        }
    }
}
