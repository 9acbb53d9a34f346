//! Images made by the file systems' own tools, read by us. Each test says so where a tool is missing.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod boots;
mod contents;
mod disks;
mod fixtures;
mod grub;
mod hostile;
mod patched;
mod systemd_boot;
mod tools;
mod trees;
