//! Disks that a person says are raw, and that are something else: refused wherever they can be named, unless that is
//! forced.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs;
use std::path::Path;

use disk::{
    BackingPolicy, ConvertOptions, DiskFormat, RawContents, RawDisk, StatedBy, convert, info, map, resize,
};
use tempfile::TempDir;

static MACHINE: StatedBy =
    StatedBy { option: "format=", force: "force-raw", takes_foreign: false, takes_packed: false };
static IMPORT: StatedBy =
    StatedBy { option: "--format ", force: "--force-raw", takes_foreign: true, takes_packed: true };

/// 64 KiB that have these bytes at a place; from the end where that is below zero.
fn image(at: i64, bytes: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 64 << 10];
    let at = if at < 0 { image.len() as i64 + at } else { at } as usize;
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

/// What is tried with a disk, and what came of it.
fn tried(path: &Path, contents: RawContents) -> Vec<Result<(), String>> {
    let options = ConvertOptions {
        from: DiskFormat::Raw,
        contents,
        policy: BackingPolicy::Refuse,
        to: None,
        compress: false,
    };
    let target = path.with_extension("copy");
    let outcomes = vec![
        RawDisk::open(path, false, contents).map(drop).map_err(|error| error.to_string()),
        RawDisk::open(path, true, contents).map(drop).map_err(|error| error.to_string()),
        convert(path, &target, &options, |_, _| ()).map_err(|error| error.to_string()),
        info(path, DiskFormat::Raw, contents).map(drop).map_err(|error| error.to_string()),
        map(path, DiskFormat::Raw, contents, drop).map_err(|error| error.to_string()),
        resize(path, DiskFormat::Raw, contents, 128 << 10).map_err(|error| error.to_string()),
    ];
    let _ = fs::remove_file(target);
    outcomes
}

#[test]
fn disks_of_other_formats_are_not_used_as_raw() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    for (bytes, is, for_machines, for_imports) in [
        (image(0, b"QFI\xfb\0\0\0\x03"), "a qcow2 image", "give format=qcow2", "give --format qcow2"),
        (image(0, b"QFI\xfb\0\0\0\x01"), "a qcow image of version 1", "qemu-img", "qemu-img"),
        (image(0, b"vhdxfile"), "a VHDX image", "--from vhdx --to qcow2", "give --format vhdx"),
        (image(0, b"conectix"), "a VHD image", "--from vhd --to qcow2", "give --format vhd"),
        (image(-512, b"conectix"), "a VHD image", "--from vhd --to qcow2", "give --format vhd"),
        (image(64, b"\x7f\x10\xda\xbe"), "a VDI image", "--from vdi", "give --format vdi"),
        (image(0, b"KDMV"), "a VMDK image", "--from vmdk", "give --format vmdk"),
        (b"# Disk DescriptorFile\n".to_vec(), "the descriptor of a VMDK", "--from vmdk", "--format vmdk"),
        (image(0, b"QED\0"), "a QED image", "qemu-img", "qemu-img"),
        (image(0, b"WithoutFreeSpace"), "a Parallels image", "qemu-img", "qemu-img"),
        (image(0, b"WithouFreSpacExt"), "a Parallels image", "qemu-img", "qemu-img"),
        (image(0, b"\x1f\x8b\x08"), "compressed by gzip", "unpack it first", "leave the format out"),
        (image(0, b"\xfd7zXZ\0"), "compressed by xz", "unpack it first", "leave the format out"),
        (image(0, b"\x28\xb5\x2f\xfd"), "compressed by zstd", "unpack it first", "leave the format out"),
        (image(0, b"BZh91AY&SY"), "compressed by bzip2", "unpack it first", "leave the format out"),
        (image(0, b"PK\x03\x04"), "a zip archive", "unpack it first", "leave the format out"),
        (image(257, b"ustar"), "a tar archive", "take the disk out", "leave the format out"),
        (image(-512, b"koly\0\0\0\x04\0\0\x02\0"), "(DMG)", "qemu-img", "qemu-img"),
    ] {
        fs::write(&path, &bytes).unwrap();
        for (stated, advice) in [(&MACHINE, for_machines), (&IMPORT, for_imports)] {
            for outcome in tried(&path, RawContents::Checked(stated)) {
                let line = outcome.unwrap_err();
                assert!(line.contains(is) && line.contains(advice), "{line}");
                assert!(
                    line.ends_with(&format!("if it is raw all the same, add {}", stated.force)),
                    "{line}"
                );
                assert!(line.contains(&*path.to_string_lossy()), "{line}");
            }
        }
        assert!(fs::read(&path).unwrap() == bytes, "nothing was written to {is}");
        let whole_sectors = bytes.len() % 512 == 0;
        for outcome in tried(&path, RawContents::Any).into_iter().skip(if whole_sectors { 0 } else { 2 }) {
            outcome.unwrap();
        }
    }
}

#[test]
fn raw_disks_are_used_whatever_is_on_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    for bytes in [
        vec![0; 64 << 10],
        image(510, b"\x55\xaa"),
        image(512, b"EFI PART"),
        image(4096, b"EFI PART"),
        image(0, b"LUKS\xba\xbe"),
        image(32769, b"CD001"),
        image(1080, b"\x53\xef"),
        image(0, b"hsqs"),
    ] {
        fs::write(&path, &bytes).unwrap();
        for outcome in tried(&path, RawContents::Checked(&MACHINE)) {
            outcome.unwrap();
        }
    }
}
