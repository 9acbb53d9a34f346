//! The disks that guests read and write.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cases::{Format, READ_MIB};
use crate::process;

const MIB: usize = 1 << 20;

/// Full disks, to be read: one of each format with the same contents, in the host's page cache.
pub fn filled(yagura: &Path, folder: &Path) -> Result<[PathBuf; 2]> {
    let [raw, qcow2] = Format::ALL.map(|format| folder.join(format!("full.{}", format.name())));
    fill(&raw).with_context(|| format!("cannot write {}", raw.display()))?;
    let mut convert = Command::new(yagura);
    convert.args(["disk", "convert", "--from", "raw", "--to", "qcow2"]);
    process::run(convert.arg(&raw).arg(&qcow2))?;
    // What the host still has to write back would be written while others are measured.
    for file in [&raw, &qcow2] {
        File::open(file)?.sync_all()?;
    }
    Ok([raw, qcow2])
}

/// Bytes without a pattern that a format could leave out.
fn fill(path: &Path) -> Result<()> {
    let mut file = BufWriter::with_capacity(MIB, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..READ_MIB as usize * MIB / size_of::<u64>() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// A disk that holds nothing yet and takes no room; one that was there goes. The host's memory for what will be written
/// to it is free and has just been in use: where the host is a virtual machine itself, pages that its own host has to
/// find first would be on the account of whoever writes first.
pub fn fresh(yagura: &Path, path: &Path, format: Format, mib: u32) -> Result<()> {
    let zeros = vec![0; MIB];
    let mut before = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    for _ in 0..mib {
        before.write_all(&zeros).with_context(|| format!("cannot write {}", path.display()))?;
    }
    drop(before);
    fs::remove_file(path)?;
    let mut create = Command::new(yagura);
    create.args(["disk", "create", "--disk-format", format.name(), "--size", &format!("{mib}M")]);
    process::run(create.arg(path))
}
