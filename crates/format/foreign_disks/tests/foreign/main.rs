//! VHDX, VMDK, VHD and VDI: images made by hand, sound ones and such that lie.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod blocks;
mod make;

use std::fs::File;
use std::io;
use std::io::{Seek, Write};
use std::sync::Arc;

use disk::{FormatError, ImageFile, SourceFormat};
use foreign_disks::{DiskReader, SourceFile, describe_source};
use guest_memory::IoBuffers;
use make::{GRAIN_BYTES, Grains, VHDX_BAT, VHDX_METADATA, sum_vhdx, vhdx, vmdk};

const MIB: u64 = 1 << 20;

/// A file in memory that cannot be written to.
struct Bytes(Vec<u8>);

impl ImageFile for Bytes {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let start = usize::try_from(offset_bytes).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(buffers.len_bytes()).min(self.0.len());
        let done = buffers.fill_from(&self.0[start..end]);
        let rest = buffers.slice(done, usize::MAX);
        rest.fill_from(&vec![0; rest.len_bytes()]);
        Ok(())
    }

    fn write(&self, _buffers: IoBuffers, _offset_bytes: u64) -> io::Result<()> {
        panic!("a reader writes")
    }

    fn write_zeroes(&self, _offset_bytes: u64, _length_bytes: u64, _may_unmap: bool) -> io::Result<()> {
        panic!("a reader writes")
    }

    fn set_len(&self, _length_bytes: u64) -> io::Result<()> {
        panic!("a reader writes")
    }

    fn sync(&self) -> io::Result<()> {
        panic!("a reader writes")
    }
}

fn open(bytes: Vec<u8>, format: SourceFormat) -> Result<DiskReader, FormatError> {
    DiskReader::open_file(Arc::new(Bytes(bytes)), Vec::new(), format)
}

/// What is wrong with an image, in words: when it is opened, or else when it is read.
#[track_caller]
fn complaint(bytes: Vec<u8>, format: SourceFormat) -> String {
    match open(bytes, format) {
        Err(error) => error.to_string(),
        Ok(reader) => {
            let mut out = vec![0; 4 << 20];
            let length = out.len().min(reader.len_bytes() as usize);
            reader.read_at(0, &mut out[..length]).unwrap_err().to_string()
        }
    }
}

fn sound_vhdx() -> Vec<u8> {
    vhdx(4 * MIB + 512, &[(1, &[1; 1 << 20]), (4, &[4; 512])])
}

fn sound_vmdk(kind: Grains) -> Vec<u8> {
    vmdk(4 * MIB + 512, kind, &[(0, &[1; GRAIN_BYTES]), (600, &[2; GRAIN_BYTES]), (1024, &[3; 512])])
}

#[test]
fn blocks_and_grains_are_where_they_belong() {
    let disk = open(sound_vhdx(), SourceFormat::Vhdx).unwrap();
    assert_eq!(disk.len_bytes(), 4 * MIB + 512);
    let mut all = vec![9; 4 << 20 | 512];
    disk.read_at(0, &mut all).unwrap();
    let expected = |at: usize| match at >> 20 {
        1 => 1,
        4 => 4,
        _ => 0,
    };
    assert!(all.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
    for kind in [Grains::Plain, Grains::Deflated] {
        let disk = open(sound_vmdk(kind), SourceFormat::Vmdk).unwrap();
        let mut all = vec![9; 4 << 20 | 512];
        disk.read_at(0, &mut all).unwrap();
        let expected = |at: usize| match at / GRAIN_BYTES {
            0 => 1,
            600 => 2,
            1024 => 3,
            _ => 0,
        };
        assert!(all.iter().enumerate().all(|(at, byte)| *byte == expected(at)), "{kind:?}");
        let mut part = [0; 1000];
        disk.read_at(600 * GRAIN_BYTES as u64 - 500, &mut part).unwrap();
        assert!(part[..500].iter().all(|byte| *byte == 0) && part[500..].iter().all(|byte| *byte == 2));
        disk.read_at(4 * MIB + 1, &mut [0; 512]).unwrap_err();
    }
}

#[test]
fn vhdx_images_that_lie_are_told() {
    let with = |at: usize, bytes: &[u8]| {
        let mut image = sound_vhdx();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        sum_vhdx(&mut image);
        image
    };
    let (items, bat) = (VHDX_METADATA + (64 << 10), VHDX_BAT);
    for (image, words) in [
        (with(0, b"nothing!"), "does not begin as a VHDX image does"),
        (with(VHDX_METADATA, b"x"), "metadata table"),
        (with(items, &3u32.to_le_bytes()), "blocks of 3 bytes"),
        (with(items, &(1u32 << 31).to_le_bytes()), "blocks of 2147483648 bytes"),
        (with(items + 4, &2u32.to_le_bytes()), "a differencing image"),
        (with(items + 16, &(1u64 << 60).to_le_bytes()), "a disk of 1152921504606846976 bytes"),
        (with(items + 16, &(64u64 << 40).to_le_bytes()), "too short for the disk"),
        (with(items + 16, &0u64.to_le_bytes()), "a disk of 0 bytes"),
        (with(items + 32, &1u32.to_le_bytes()), "sectors of 1 bytes"),
        (with(VHDX_METADATA + 32 + 16, &u32::MAX.to_le_bytes()), "impossible place"),
        (with(bat, &(6u64 | 1 << 60).to_le_bytes()), "behind the end of the file"),
        (with(bat, &6u64.to_le_bytes()), "behind the end of the file"),
        (with(bat, &7u64.to_le_bytes()), "in a parent image"),
        (with(bat, &5u64.to_le_bytes()), "in state 5"),
        (with((192 << 10) + 8, &3000u32.to_le_bytes()), "too many entries"),
        (with((192 << 10) + 32, &(1u64 << 62).to_le_bytes()), "impossible place"),
        (with((128 << 10) + 66, &2u16.to_le_bytes()), "VHDX version 2"),
    ] {
        let found = complaint(image, SourceFormat::Vhdx);
        assert!(found.contains(words), "{found}, not {words}");
    }
    let mut image = sound_vhdx();
    (image[64 << 10 | 9], image[128 << 10 | 9]) = (1, 1);
    assert!(complaint(image, SourceFormat::Vhdx).contains("neither of its headers"));
}

#[test]
fn a_vhdx_log_is_refused_only_if_something_is_in_it() {
    let mut image = sound_vhdx();
    let log = image.len();
    image.resize(log + (1 << 20), 0);
    for at in [64 << 10, 128 << 10] {
        image[at + 48..at + 64].fill(7);
        image[at + 68..at + 72].copy_from_slice(&(1u32 << 20).to_le_bytes());
        image[at + 72..at + 80].copy_from_slice(&(log as u64).to_le_bytes());
    }
    sum_vhdx(&mut image);
    assert!(open(image.clone(), SourceFormat::Vhdx).is_ok(), "an empty log");
    let entry = log + 3 * 4096;
    image[entry..entry + 4].copy_from_slice(b"loge");
    image[entry + 32..entry + 48].fill(6);
    assert!(open(image.clone(), SourceFormat::Vhdx).is_ok(), "an entry of an older log");
    image[entry + 32..entry + 48].fill(7);
    assert!(complaint(image, SourceFormat::Vhdx).contains("not in their places yet"));
}

#[test]
fn vmdk_images_that_lie_are_told() {
    let with = |kind, at: usize, bytes: &[u8]| {
        let mut image = sound_vmdk(kind);
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    let plain = |at, bytes: &[u8]| with(Grains::Plain, at, bytes);
    let flat = b"# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/shadow\" 0\n";
    let parent = b"parentCID=12345678\n";
    let other = b"createType=\"twoGbMaxExtentSparse\"\n\0";
    let deflated = |at, bytes: &[u8]| with(Grains::Deflated, at, bytes);
    let marker = 1024;
    for (image, words) in [
        (flat.to_vec(), "'/etc/shadow', which is no file beside its descriptor"),
        (plain(0, b"COWD"), "a sparse extent of ESX"),
        (plain(0, b"nope"), "does not begin as a VMDK image does"),
        (plain(4, &9u32.to_le_bytes()), "VMDK version 9"),
        (plain(12, &u64::MAX.to_le_bytes()), "a disk of this length"),
        (plain(12, &0u64.to_le_bytes()), "a disk of this length"),
        (plain(20, &(1u64 << 40).to_le_bytes()), "grains of 1099511627776 sectors"),
        (plain(20, &9u64.to_le_bytes()), "grains of 9 sectors"),
        (plain(28, &u64::MAX.to_le_bytes()), "its descriptor is at an impossible place"),
        (plain(36, &u64::MAX.to_le_bytes()), "its descriptor is at an impossible place"),
        (plain(36, &0u64.to_le_bytes()), "one of several files"),
        (plain(44, &0u32.to_le_bytes()), "grain tables of 0"),
        (plain(44, &u32::MAX.to_le_bytes()), "grain tables of 4294967295"),
        (plain(56, &(1u64 << 50).to_le_bytes()), "behind the end of the file"),
        (plain(56, &(1u64 << 60).to_le_bytes()), "impossible place"),
        (plain(512, parent), "a VMDK image with a parent"),
        (plain(512, other), "the VMDK kind 'twoGbMaxExtentSparse'"),
        (plain(8, &(1u32 << 16).to_le_bytes()), "VMDK compression 0"),
        (deflated(77, &2u16.to_le_bytes()), "VMDK compression 2"),
        (deflated(marker, &8u64.to_le_bytes()), "does not fit its place"),
        (deflated(marker + 8, &u32::MAX.to_le_bytes()), "behind the end of the file"),
        (deflated(marker + 8, &3u32.to_le_bytes()), "a compressed grain is damaged"),
        (deflated(marker + 12, &[0xff; 4]), "a compressed grain is damaged"),
    ] {
        let found = complaint(image, SourceFormat::Vmdk);
        assert!(found.contains(words), "{found}, not {words}");
    }
    let mut cut = sound_vmdk(Grains::Deflated);
    cut.truncate(cut.len() - 512);
    assert!(complaint(cut, SourceFormat::Vmdk).contains("its footer is missing"));
}

#[test]
fn images_that_are_cut_short_never_read_as_whole() {
    for (image, format) in [
        (sound_vhdx(), SourceFormat::Vhdx),
        (sound_vmdk(Grains::Plain), SourceFormat::Vmdk),
        (sound_vmdk(Grains::Deflated), SourceFormat::Vmdk),
    ] {
        // The last block is only 512 bytes of the disk.
        let end = if format == SourceFormat::Vhdx { image.len() - (1 << 20) } else { image.len() - 1024 };
        let step = (end / 150).max(1);
        for length in (0..end).step_by(step) {
            let Ok(disk) = open(image[..length].to_vec(), format) else { continue };
            let mut all = vec![0; disk.len_bytes() as usize];
            disk.read_at(0, &mut all).unwrap_err();
        }
    }
}

#[test]
fn changed_bytes_are_errors_or_other_disks() {
    let mut state = 3u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let metadata = [
        0..4096,
        64 << 10..68 << 10,
        192 << 10..(192 << 10) + 128,
        1 << 20..(1 << 20) + 64,
        2 << 20..(2 << 20) + 128,
        (2 << 20) + (64 << 10)..(2 << 20) + (64 << 10) + 64,
    ];
    for round in 0..3000 {
        let (mut image, format) = match round % 3 {
            0 => (sound_vhdx(), SourceFormat::Vhdx),
            1 => (sound_vmdk(Grains::Plain), SourceFormat::Vmdk),
            _ => (sound_vmdk(Grains::Deflated), SourceFormat::Vmdk),
        };
        for _ in 0..1 + next() % 4 {
            let at = match format {
                SourceFormat::Vhdx => {
                    let part = metadata[next() % metadata.len()].clone();
                    part.start + next() % part.len()
                }
                _ => next() % image.len(),
            };
            image[at] = next() as u8;
        }
        if format == SourceFormat::Vhdx {
            sum_vhdx(&mut image);
        }
        if let Ok(disk) = open(image, format) {
            let mut out = vec![0; (disk.len_bytes() as usize).min(5 << 20)];
            // Right or wrong, but it comes back.
            let _ = disk.read_at(0, &mut out);
        }
    }
}

fn temporary(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn source(file: &File, format: SourceFormat, name: &str) -> SourceFile {
    SourceFile::new(file.try_clone().unwrap(), format, name)
}

#[test]
fn chains_are_what_is_given_and_nothing_that_is_named() {
    let folder = tempfile::TempDir::new().unwrap();
    let backing = disk::BackingName { path: "/etc/passwd".into(), format: Some("raw".into()) };
    let options = disk::CreateOptions { backing: Some(backing), ..disk::CreateOptions::new(MIB) };
    disk::create_qcow2(&folder.path().join("front"), &options).unwrap();
    let front = File::open(folder.path().join("front")).unwrap();
    let behind = temporary(&[7; 4096]);
    let alone = DiskReader::open(vec![source(&front, SourceFormat::Qcow2, "front")]).map(|_| ()).unwrap_err();
    assert!(format!("{alone:?}").contains("BackingRefused"), "{alone:?}");
    let chain =
        vec![source(&front, SourceFormat::Qcow2, "front"), source(&behind, SourceFormat::Raw, "behind")];
    let disk = DiskReader::open(chain).unwrap();
    let mut out = [1; 8192];
    disk.read_at(0, &mut out).unwrap();
    assert!(out[..4096].iter().all(|byte| *byte == 7) && out[4096..].iter().all(|byte| *byte == 0));
    let circle = ["front", "front"].map(|name| source(&front, SourceFormat::Qcow2, name)).into();
    assert!(DiskReader::open(circle).is_err());
    let odd = vec![source(&behind, SourceFormat::Raw, "a"), source(&front, SourceFormat::Qcow2, "b")];
    assert!(DiskReader::open(odd).is_err(), "nothing is behind a raw disk");
    assert!(DiskReader::open(Vec::new()).is_err());
}

#[test]
fn disks_are_described() {
    let vmdk = temporary(&sound_vmdk(Grains::Deflated));
    let info = describe_source(source(&vmdk, SourceFormat::Vmdk, "a.vmdk")).unwrap();
    assert_eq!((info.size_bytes, &*info.kind), (4 * MIB + 512, "streamOptimized"));
    let vhdx = temporary(&sound_vhdx());
    let info = describe_source(source(&vhdx, SourceFormat::Vhdx, "a.vhdx")).unwrap();
    assert_eq!((info.size_bytes, &*info.kind), (4 * MIB + 512, "dynamic, blocks of 1 MiB"));
    let error = describe_source(source(&vhdx, SourceFormat::Vmdk, "a.vhdx")).unwrap_err();
    assert!(error.to_string().contains("disk a.vhdx cannot be read as vmdk"), "{error}");
}
