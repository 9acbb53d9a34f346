//! Formats by contents, and formats that were said and are not.

use std::fs::File;
use std::io::{Cursor, Write};
use std::process::Command;

use image_ops::ImportOptions;

use super::make::{Grains, vdi, vhd, vhd_footer, vhdx, vmdk};
use super::{Folder, raw_disk};

/// The same disk in every format.
fn all_formats(folder: &Folder) -> Vec<(&'static str, Vec<u8>)> {
    let raw = raw_disk();
    let blocks = |size: usize| raw.chunks(size).enumerate().collect::<Vec<_>>();
    let grains: Vec<(u32, &[u8])> =
        raw.chunks(4096).enumerate().map(|(at, grain)| (at as u32, grain)).collect();
    let large: Vec<(u64, &[u8])> =
        raw.chunks(1 << 20).enumerate().map(|(at, block)| (at as u64, block)).collect();
    let size = raw.len() as u64;
    let fixed = [&raw[..], &vhd_footer(2, b"win ", size, (65535, 16, 255))].concat();
    let qcow2 = folder.path("made.qcow2");
    let options = disk::ConvertOptions {
        from: disk::DiskFormat::Raw,
        contents: disk::RawContents::Any,
        policy: disk::BackingPolicy::Refuse,
        to: Some(disk::CreateOptions::new(0)),
        compress: false,
    };
    disk::convert(&folder.write("made.raw", &raw), &qcow2, &options, |_, _| ()).unwrap();
    let image = std::fs::read(&qcow2).unwrap();
    std::fs::remove_file(qcow2).unwrap();
    vec![
        ("raw", raw.clone()),
        ("qcow2", image),
        ("vhdx", vhdx(size, &large)),
        ("vhd", vhd(size, &blocks(64 << 10))),
        ("vhd", fixed),
        ("vdi", vdi(size, &blocks(64 << 10))),
        ("vmdk", vmdk(size, Grains::Plain, &grains)),
        ("vmdk", vmdk(size, Grains::Deflated, &grains)),
    ]
}

/// Bytes as each compression has them, by its ending.
fn packed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    let zstd = zstd::stream::encode_all(Cursor::new(bytes), 1).unwrap();
    vec![("gz", gzip.finish().unwrap()), ("zst", zstd)]
}

#[test]
fn formats_are_found_where_nobody_says_them() {
    let folder = Folder::new();
    for (format, bytes) in all_formats(&folder) {
        for name in ["disk.img", "disk", "disk.bin"] {
            folder.write(name, &bytes);
            let (image, notes) = folder.import(name, None);
            assert!(folder.disk(&image.unwrap()) == raw_disk(), "{format} as {name}");
            assert!(
                notes.0[0].contains(&format!("{name} is taken as {format}, by its contents")),
                "{:?}",
                notes.0
            );
        }
        // What is said, or what a name says, is as good.
        for (name, stated) in [(format!("stated.{format}"), None), ("stated".to_owned(), Some(format))] {
            folder.write(&name, &bytes);
            assert!(folder.disk(&folder.import(&name, stated).0.unwrap()) == raw_disk(), "{name}");
        }
        for (ending, bytes) in packed(&bytes) {
            for (name, stated) in [
                (format!("packed.img.{ending}"), None),
                ("packed".to_owned(), None),
                (format!("packed.{format}.{ending}"), None),
                ("packed.bin".to_owned(), Some(format!("{format}.{ending}"))),
            ] {
                folder.write(&name, &bytes);
                let image = folder.import(&name, stated.as_deref()).0.unwrap();
                assert!(folder.disk(&image) == raw_disk(), "{name}");
            }
        }
    }
}

#[test]
fn archives_and_compressions_are_unpacked_by_the_tools_that_people_use() {
    let folder = Folder::new();
    folder.write("disk.raw", &raw_disk());
    for (program, arguments, ending) in [
        ("bzip2", &["-k", "disk.raw"][..], "bz2"),
        ("xz", &["-k", "-0", "disk.raw"], "xz"),
        ("zip", &["-q", "disk.raw.zip", "disk.raw"], "zip"),
        ("python3", &["-m", "zipfile", "-c", "disk.raw.zip", "disk.raw"], "zip"),
    ] {
        let made = Command::new(program).args(arguments).current_dir(folder.folder.path()).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("SKIPPED: {program} is not installed");
            continue;
        }
        let packed = folder.path(&format!("disk.raw.{ending}"));
        for name in [format!("disk.raw.{ending}"), "unnamed".to_owned()] {
            if name == "unnamed" {
                std::fs::copy(&packed, folder.path(&name)).unwrap();
            }
            assert!(folder.disk(&folder.import(&name, None).0.unwrap()) == raw_disk(), "{program} {name}");
        }
        std::fs::remove_file(packed).unwrap();
    }
}

#[test]
fn what_is_said_to_be_raw_and_is_not_is_refused_unless_forced() {
    let folder = Folder::new();
    for (format, bytes) in all_formats(&folder).into_iter().skip(1) {
        for (name, stated) in [("named.raw", None), ("stated", Some("raw"))] {
            folder.write(name, &bytes);
            let line = folder.refusal(name, stated);
            assert!(line.contains(&format!("give --format {format}")), "{line}");
            assert!(line.contains("if it is raw all the same, add --force-raw"), "{line}");
        }
        let options = ImportOptions { force_raw: true, ..folder.options("stated") };
        let image = folder.import_with("stated", Some("raw"), &options).0.unwrap();
        assert!(folder.disk(&image).starts_with(&bytes), "{format}");
        let error = folder.import_with("stated", Some("qcow2"), &options).0.unwrap_err().to_string();
        assert!(error.contains("--force-raw is for raw disks"), "{error}");
    }
    for (ending, bytes) in packed(&raw_disk()) {
        folder.write("named.raw", &bytes);
        let line = folder.refusal("named.raw", None);
        assert!(line.contains("leave the format out"), "{ending}: {line}");
    }
    // What is within a compression is looked at as well.
    let (_, bytes) = packed(&all_formats(&folder)[1].1).remove(0);
    folder.write("packed.raw.gz", &bytes);
    assert!(folder.refusal("packed.raw.gz", None).contains("give --format qcow2"));
}

#[test]
fn what_says_nothing_is_refused() {
    let folder = Folder::new();
    for (bytes, words) in [
        (vec![0; 1 << 20], "does not say what is in it; give --format"),
        (vec![7; 1 << 20], "does not say what is in it; give --format"),
        (Vec::new(), "does not say what is in it; give --format"),
        (b"QED\0aaaaaaaaaaaa".repeat(64), "a QED image, which is not read here"),
        (b"WithouFreSpacExt".repeat(64), "a Parallels image, which is not read here"),
        (b"7z\xbc\xaf\x27\x1c".repeat(64), "a 7z archive, which is not read here"),
    ] {
        folder.write("disk.img", &bytes);
        let line = folder.refusal("disk.img", None);
        assert!(line.contains(words), "{line}");
    }
    assert!(folder.refusal("disk.img", Some("qcow2")).contains("does not begin as a qcow2 image"));
}

/// A guest can write a descriptor to its raw disk that names the disks beside it.
#[test]
fn descriptors_that_nobody_said_to_be_some_open_nothing() {
    let folder = Folder::new();
    folder.write("neighbour.raw", &raw_disk());
    let text = format!(
        "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW {} FLAT \"neighbour.raw\" 0\n",
        raw_disk().len() / 512
    );
    let mut disk = text.into_bytes();
    disk.resize(64 << 10, b'\n');
    folder.write("disk.img", &disk);
    let line = folder.refusal("disk.img", None);
    assert!(line.contains("neighbour.raw") && line.contains("--format vmdk"), "{line}");
    assert!(folder.disk(&folder.import("disk.img", Some("vmdk")).0.unwrap()) == raw_disk());
    let (_, bytes) = packed(&disk).remove(0);
    folder.write("disk.vmdk.gz", &bytes);
    assert!(folder.refusal("disk.vmdk.gz", None).contains("which are not looked for"));
}

#[test]
fn bombs_are_stopped() {
    let folder = Folder::new();
    let mut importer = folder.images.importer.clone();
    let limits = image_import::Limits { data_bytes: 8 << 20, ..importer.limits().clone() };
    importer = importer.with_limits(limits);
    let images = image_ops::Images { importer, ..image_ops::Images::open(&folder.path("other")).unwrap() };
    for (ending, bytes) in packed(&vec![7; 64 << 20]) {
        let path = folder.write("bomb.img", &bytes);
        let error =
            images.import_file(&path, None, &folder.options("bomb.img"), &mut super::Notes::default());
        assert!(error.unwrap_err().to_string().contains("more than is let through"), "{ending}");
    }
    assert!(File::open(folder.path("other/staging")).is_ok());
}
