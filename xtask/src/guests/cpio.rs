//! Writing cpio archives in the "newc" form that the kernel unpacks as an initramfs.
//!
//! Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Written here and not by the
//! cpio program, so that no root rights are needed for owners and device nodes.

use anyhow::{Context, Result};
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const TRAILER: &str = "TRAILER!!!";
const ALIGNMENT: usize = 4;

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds folders.
    pub fn folders(&mut self, paths: &[&str]) -> &mut Self {
        for path in paths {
            self.entry(path, DIRECTORY | 0o755, (0, 0), b"");
        }
        self
    }

    /// Adds a file that holds `content`.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> &mut Self {
        self.entry(path, FILE | permissions, (0, 0), content);
        self
    }

    /// Adds a copy of a file on this host.
    pub fn copy(&mut self, path: &str, permissions: u32, from: &Path) -> Result<&mut Self> {
        let content = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        Ok(self.file(path, permissions, &content))
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes());
        self
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) -> &mut Self {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), b"");
        self
    }

    /// Ends the archive and returns its bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), b"");
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let size = content.len() as u32;
        let name_size = path.len() as u32 + 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0]
            .map(|field| format!("{field:08x}"));
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend_from_slice(fields.concat().as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_contents_are_aligned() {
        let mut archive = Archive::default();
        archive.folders(&["bin"]).file("bin/a", 0o755, b"12345").link("b", "bin/a");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|at| at % ALIGNMENT == 0));
        assert!(text.contains("TRAILER!!!"));
    }
}
