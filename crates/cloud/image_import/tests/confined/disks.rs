//! Disks of all formats, sound and hostile.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use disk::{
    BackingName, BackingPolicy, Compression, ConvertOptions, CreateOptions, DiskFormat, RawContents,
    SourceFormat, convert, create_qcow2,
};
use image_import::{DiskFile, ImportError, Limits};

use super::{Folder, all_importers, importer};

const MIB: u64 = 1 << 20;

/// Bytes that compress somewhat, with many zeros among them.
fn contents(bytes: u64) -> Vec<u8> {
    let unit = |at: u64| {
        if (at / 64 % 4) < 3 { 0 } else { (at.wrapping_mul(0x9e37_79b9) >> 13) as u8 }
    };
    (0..bytes).map(|at| unit(at / 512).wrapping_mul((at % 5) as u8)).collect()
}

/// A raw disk and the same as qcow2, compressed.
fn sound_disks(folder: &Folder) -> Vec<u8> {
    let data = contents(4 * MIB + 512);
    folder.write("a.raw", &data);
    let image = CreateOptions { compression: Compression::Zstd, ..CreateOptions::new(0) };
    let options = ConvertOptions {
        from: DiskFormat::Raw,
        contents: RawContents::Any,
        policy: BackingPolicy::Refuse,
        to: Some(image),
        compress: true,
    };
    convert(&folder.path("a.raw"), &folder.path("a.qcow2"), &options, |_, _| {}).unwrap();
    data
}

fn qemu_img(folder: &Folder, arguments: &str) -> bool {
    let output =
        Command::new("qemu-img").args(arguments.split_whitespace()).current_dir(folder.0.path()).output();
    let Ok(output) = output else {
        println!("SKIPPED: qemu-img is not installed");
        return false;
    };
    assert!(output.status.success(), "qemu-img {arguments}: {output:?}");
    true
}

#[test]
fn disks_are_described_and_copied_whoever_starts_the_child() {
    let folder = Folder::new();
    let data = sound_disks(&folder);
    for importer in all_importers() {
        for (name, format) in [("a.raw", SourceFormat::Raw), ("a.qcow2", SourceFormat::Qcow2)] {
            let file = File::open(folder.path(name)).unwrap();
            let described = importer.describe(DiskFile::new(file.as_fd(), format, Path::new(name))).unwrap();
            assert_eq!((described.size_bytes, described.backing), (data.len() as u64, None));
            let converted = folder.convert(&importer, name, format).unwrap();
            assert_eq!(converted.size_bytes, data.len() as u64);
            assert!(converted.data_bytes < data.len() as u64 / 2, "{converted:?}");
            assert!(fs::read(folder.path("out")).unwrap() == data);
            assert!(fs::metadata(folder.path("out")).unwrap().blocks() * 512 < data.len() as u64 / 2);
        }
    }
}

#[test]
fn foreign_formats_are_copied() {
    let folder = Folder::new();
    let data = sound_disks(&folder);
    for (name, format, options) in [
        ("a.vhdx", SourceFormat::Vhdx, "-O vhdx"),
        ("b.vhdx", SourceFormat::Vhdx, "-O vhdx -o subformat=fixed,block_size=2M"),
        ("a.vmdk", SourceFormat::Vmdk, "-O vmdk"),
        ("b.vmdk", SourceFormat::Vmdk, "-O vmdk -o subformat=streamOptimized"),
        ("c.vmdk", SourceFormat::Vmdk, "-O vmdk -o subformat=monolithicFlat"),
        ("d.vmdk", SourceFormat::Vmdk, "-O vmdk -o subformat=twoGbMaxExtentSparse"),
        ("e.vmdk", SourceFormat::Vmdk, "-O vmdk -o subformat=twoGbMaxExtentFlat"),
    ] {
        if !qemu_img(&folder, &format!("convert -f raw {options} a.raw {name}")) {
            return;
        }
        folder.convert(&importer(), name, format).unwrap();
        let copy = fs::read(folder.path("out")).unwrap();
        assert!(copy[..data.len()] == data, "{name}");
        assert!(copy[data.len()..].iter().all(|byte| *byte == 0), "{name}");
        for (_, other, _) in
            [("", SourceFormat::Qcow2, ""), ("", SourceFormat::Vhdx, ""), ("", SourceFormat::Vmdk, "")]
        {
            if other != format {
                let line = folder.convert(&importer(), name, other).unwrap_err().to_string();
                assert!(line.contains(name) && line.contains("does not begin as"), "{line}");
            }
        }
    }
}

#[test]
fn disks_in_several_files_reach_nothing_but_their_folder() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    folder.write("secret", &[7; 4096]);
    folder.write("in/good-flat.vmdk", &[8; 4096]);
    std::os::unix::fs::symlink("../secret", folder.path("in/link")).unwrap();
    std::os::unix::fs::symlink("good-flat.vmdk", folder.path("in/harmless")).unwrap();
    let read = |extent: &str| {
        let text =
            format!("# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"{extent}\" 0\n");
        folder.write("in/disk.vmdk", text.as_bytes());
        let (source, target) = (File::open(folder.path("in/disk.vmdk")).unwrap(), folder.new_file("out"));
        let disk = DiskFile::new(source.as_fd(), SourceFormat::Vmdk, Path::new("disk.vmdk"));
        let extents = importer().open_extents(disk, &folder.path("in")).map_err(|error| error.to_string())?;
        let converted = importer().convert(disk, &extents, target.as_fd(), &mut messages::unwatched);
        converted.map(|converted| converted.size_bytes).map_err(|error| error.to_string())
    };
    assert_eq!(read("good-flat.vmdk"), Ok(4096));
    assert_eq!(fs::read(folder.path("out")).unwrap(), [8; 4096]);
    for (extent, words) in [
        ("link", "cannot be opened beside it"),
        ("harmless", "cannot be opened beside it"),
        ("missing", "cannot be opened beside it"),
        ("../secret", "which is no file beside its descriptor"),
    ] {
        let line = read(extent).unwrap_err();
        assert!(line.contains("disk.vmdk") && line.contains(words), "{line}");
    }
}

#[test]
fn backing_files_are_described_and_refused() {
    let folder = Folder::new();
    let backing = Some(BackingName { path: "/etc/shadow".into(), format: Some("raw".into()) });
    create_qcow2(&folder.path("a.qcow2"), &CreateOptions { backing, ..CreateOptions::new(MIB) }).unwrap();
    let file = File::open(folder.path("a.qcow2")).unwrap();
    let disk = DiskFile::new(file.as_fd(), SourceFormat::Qcow2, Path::new("a.qcow2"));
    assert_eq!(importer().describe(disk).unwrap().backing.as_deref(), Some("/etc/shadow"));
    let error = folder.convert(&importer(), "a.qcow2", SourceFormat::Qcow2).unwrap_err();
    assert!(error.to_string().contains("differs from a backing file"), "{error}");
}

#[test]
fn claims_of_2_to_the_60_bytes_are_refused_in_words() {
    let folder = Folder::new();
    let options = CreateOptions { cluster_bytes: 2 * MIB, ..CreateOptions::new(1 << 60) };
    create_qcow2(&folder.path("huge.qcow2"), &options).unwrap();
    let mut vmdk = vec![0u8; 2 << 20];
    vmdk[..4].copy_from_slice(b"KDMV");
    for (at, value) in [(4, 1u64), (12, 1 << 51), (20, 128), (28, 1), (36, 1), (44, 512), (56, 3)] {
        let width = if [4, 44].contains(&at) { 4 } else { 8 };
        vmdk[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
    vmdk[512..512 + 30].copy_from_slice(b"createType=\"monolithicSparse\"\n");
    folder.write("huge.vmdk", &vmdk);
    for (name, format) in [("huge.qcow2", SourceFormat::Qcow2), ("huge.vmdk", SourceFormat::Vmdk)] {
        let error = folder.convert(&importer(), name, format).unwrap_err().to_string();
        assert!(error.contains("claims to be 1048576 TiB long"), "{error}");
        let file = File::open(folder.path(name)).unwrap();
        let error = importer().describe(DiskFile::new(file.as_fd(), format, Path::new(name)));
        assert!(error.unwrap_err().to_string().contains("claims to be 1048576 TiB long"));
    }
}

#[test]
fn an_image_that_unpacks_without_end_is_refused() {
    let folder = Folder::new();
    let data = vec![0xa5; 64 << 20];
    folder.write("a.raw", &data);
    let image = CreateOptions { compression: Compression::Zstd, ..CreateOptions::new(0) };
    let options = ConvertOptions {
        from: DiskFormat::Raw,
        contents: RawContents::Any,
        policy: BackingPolicy::Refuse,
        to: Some(image),
        compress: true,
    };
    convert(&folder.path("a.raw"), &folder.path("bomb.qcow2"), &options, |_, _| {}).unwrap();
    assert!(fs::metadata(folder.path("bomb.qcow2")).unwrap().len() < 2 * MIB);
    let limits = Limits { data_bytes: 16 * MIB, ..Limits::default() };
    let error =
        folder.convert(&importer().with_limits(limits), "bomb.qcow2", SourceFormat::Qcow2).unwrap_err();
    assert!(error.to_string().contains("unpacks to more than"), "{error}");
}

#[test]
fn an_image_that_wants_much_memory_does_not_get_it() {
    let folder = Folder::new();
    // Its L1 table has 16 MiB.
    let options = CreateOptions { cluster_bytes: 2 * MIB, ..CreateOptions::new(1 << 60) };
    create_qcow2(&folder.path("huge.qcow2"), &options).unwrap();
    let limits = Limits { memory_bytes: 16 * MIB, disk_bytes: u64::MAX, ..Limits::default() };
    let error =
        folder.convert(&importer().with_limits(limits), "huge.qcow2", SourceFormat::Qcow2).unwrap_err();
    assert!(matches!(error, ImportError::Memory { .. }), "{error:?}");
    assert!(error.to_string().contains("needs more than 16 MiB of memory"), "{error}");
}

#[test]
fn images_that_are_cut_short_or_changed_end_in_a_line() {
    let folder = Folder::new();
    let data = sound_disks(&folder);
    for options in ["-O vhdx a.raw a.vhdx", "-O vmdk -o subformat=streamOptimized a.raw a.vmdk"] {
        if !qemu_img(&folder, &format!("convert -f raw {options}")) {
            return;
        }
    }
    let formats =
        [("a.qcow2", SourceFormat::Qcow2), ("a.vhdx", SourceFormat::Vhdx), ("a.vmdk", SourceFormat::Vmdk)];
    let mut state = 7u64;
    for (name, format) in formats {
        let whole = fs::read(folder.path(name)).unwrap();
        for part in [1, 3, 511, 513, 70_000, whole.len() / 2, whole.len() * 9 / 10] {
            folder.write("cut", &whole[..part.min(whole.len())]);
            match folder.convert(&importer(), "cut", format) {
                Err(ImportError::Refused(line)) => assert!(line.contains("cut"), "{part} of {name}: {line}"),
                // What was cut off is behind the disk's end.
                Ok(_) => {
                    assert!(fs::read(folder.path("out")).unwrap()[..data.len()] == data, "{part} of {name}");
                }
                Err(other) => panic!("{part} of {name}: {other:?}"),
            }
        }
        for _ in 0..40 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % bytes.len().min(4096 * (1 + (state as usize >> 20) % 100));
                bytes[at] = (state >> 13) as u8;
            }
            folder.write("changed", &bytes);
            match folder.convert(&importer(), "changed", format) {
                Ok(_) | Err(ImportError::Refused(_)) => {}
                Err(other) => panic!("{name}: {other:?}"),
            }
        }
    }
}
