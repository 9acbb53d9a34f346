//! Layers, merged by a child and unpacked by `tar`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use image_import::{ImportError, Importer, LayerFile, Limits, Merged};
use image_model::Digest;
use oci_image::{ByteRange, LayerCompression};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::{Folder, all_importers, importer};

/// A layer of entries: kind, name, link, data.
fn layer(entries: &[(EntryType, &str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, link, data) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(data.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn merge(
    folder: &Folder,
    importer: &Importer,
    layers: &[(LayerCompression, Vec<u8>)],
) -> Result<Merged, ImportError> {
    let files: Vec<File> = layers.iter().map(|(_, bytes)| folder.unnamed(bytes)).collect();
    let layers = files.iter().zip(layers).map(|(file, (compression, bytes))| LayerFile {
        file: file.as_fd(),
        range: ByteRange::whole(bytes.len() as u64),
        compression: *compression,
        diff_id: None,
        name: "sha256:abc".to_owned(),
    });
    merge_files(folder, importer, &layers.collect::<Vec<_>>())
}

fn merge_files(
    folder: &Folder,
    importer: &Importer,
    layers: &[LayerFile<'_>],
) -> Result<Merged, ImportError> {
    let (output, scratch) = (folder.new_file("out.tar"), folder.new_file("scratch"));
    let mut told = (0, 0);
    let merged = importer.merge_layers(layers, output.as_fd(), scratch.as_fd(), &mut |done, all| {
        told = (done, all);
        ControlFlow::Continue(())
    });
    assert!(told.0 <= told.1);
    merged
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// Everything below a folder: path, and contents or target.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(inside).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if kind.is_dir() {
                found.insert(name + "/", String::new());
                folders.push(path);
            } else if kind.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(path).unwrap().display()));
            } else if std::os::unix::fs::FileTypeExt::is_fifo(&kind) {
                found.insert(name, "a pipe".to_owned());
            } else {
                assert!(kind.is_file(), "{name} is a {kind:?}");
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn what_tar_unpacks_stays_in_its_folder() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let base = layer(&[
        (Directory, "etc/", "", ""),
        (Regular, "etc/hostname", "", "base"),
        (Symlink, "tmp", "/", ""),
        (Regular, "tmp/escaped", "", "in the tree"),
        (Symlink, "up", "../../../..", ""),
        (Regular, "up/escaped2", "", "in the tree"),
        (Regular, "/absolute", "", "relative"),
        (Regular, "../above", "", "no"),
        (Link, "shadow", "../../../etc/shadow", ""),
        (Link, "passwd", "/etc/passwd", ""),
        (Char, "null", "", ""),
        (Block, "sda", "", ""),
        (Fifo, "pipe", "", ""),
        (Regular, "bin/su", "", "su"),
        (Link, "bin/sudo", "bin/su", ""),
    ]);
    let upper = layer(&[
        (Regular, "etc/.wh.hostname", "", ""),
        (Regular, "etc/motd", "", "upper"),
        (Symlink, "bin/escaped", "/tmp", ""),
    ]);
    let upper = zstd::bulk::compress(&upper, 3).unwrap();
    for importer in all_importers() {
        let folder = Folder::new();
        let layers = [(LayerCompression::None, base.clone()), (LayerCompression::Zstd, upper.clone())];
        let merged = merge(&folder, &importer, &layers).unwrap();
        let dropped = merged.dropped;
        assert_eq!((dropped.devices, dropped.outside, dropped.links), (2, 2, 1));
        assert_eq!((dropped.made_relative, dropped.shortened), (2, 1));
        fs::create_dir_all(folder.path("around/root")).unwrap();
        let output = Command::new("tar")
            .args(["-x", "-f"])
            .arg(folder.path("out.tar"))
            .arg("-C")
            .arg(folder.path("around/root"))
            .output()
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let expected = [
            ("absolute", "relative"),
            ("bin/", ""),
            ("bin/escaped", "-> /tmp"),
            ("bin/su", "su"),
            ("bin/sudo", "su"),
            ("escaped", "in the tree"),
            ("escaped2", "in the tree"),
            ("etc/", ""),
            ("etc/motd", "upper"),
            ("pipe", "a pipe"),
            ("tmp", "-> /"),
            ("up", "-> ."),
        ];
        let found = tree(&folder.path("around/root"));
        assert_eq!(found.iter().map(|(name, text)| (&**name, &**text)).collect::<Vec<_>>(), expected);
        assert_eq!(fs::read_dir(folder.path("around")).unwrap().count(), 1);
        let inode = |name: &str| fs::metadata(folder.path("around/root").join(name)).unwrap();
        assert_eq!(inode("bin/su").ino(), inode("bin/sudo").ino());
        assert_eq!(inode("bin/su").permissions().mode() & 0o777, 0o755);
    }
}

#[test]
fn the_same_layers_make_the_same_archive() {
    let entries = [(EntryType::Regular, "b", "", "2"), (EntryType::Regular, "a", "", "1")];
    let other = [(EntryType::Regular, "a", "", "1"), (EntryType::Regular, "b", "", "2")];
    let (folder, importer) = (Folder::new(), importer());
    merge(&folder, &importer, &[(LayerCompression::None, layer(&entries))]).unwrap();
    let first = fs::read(folder.path("out.tar")).unwrap();
    merge(&folder, &importer, &[(LayerCompression::None, layer(&other))]).unwrap();
    assert_eq!(fs::read(folder.path("out.tar")).unwrap(), first);
}

#[test]
fn bombs_and_nonsense_end_in_a_line_that_names_the_layer() {
    let folder = Folder::new();
    let zeros = layer(&[(EntryType::Regular, "zeros", "", &"\0".repeat(32 << 20))]);
    let bomb = zstd::bulk::compress(&zeros, 19).unwrap();
    let limits = Limits { data_bytes: 16 << 20, ..Limits::default() };
    let cases = [
        (LayerCompression::Zstd, bomb.clone(), "unpacks to more than 16 MiB"),
        (LayerCompression::Zstd, bomb[..bomb.len() / 2].to_vec(), ""),
        (LayerCompression::Gzip, bomb, "cannot be unpacked"),
        (LayerCompression::Gzip, Vec::new(), "cut short"),
        (LayerCompression::None, vec![1; 4096], "checksum"),
        (LayerCompression::None, vec![0; 100], "cut short"),
    ];
    for (compression, bytes, words) in cases {
        let error =
            merge(&folder, &importer().with_limits(limits.clone()), &[(compression, bytes)]).unwrap_err();
        let ImportError::Refused(line) = error else { panic!("{error:?}") };
        assert!(line.contains("layer sha256:abc") && line.contains(words), "{line}");
    }
}

/// A layer as it is, and packed in each way.
fn packings(plain: &[u8]) -> [(LayerCompression, Vec<u8>); 3] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    [
        (LayerCompression::None, plain.to_vec()),
        (LayerCompression::Gzip, gzip.finish().unwrap()),
        (LayerCompression::Zstd, zstd::bulk::compress(plain, 3).unwrap()),
    ]
}

#[test]
fn a_layer_is_what_its_configuration_says_to_its_last_byte() {
    let folder = Folder::new();
    let mut plain = layer(&[(EntryType::Regular, "a", "", "1")]);
    // `tar` pads its archives; all of it is part of the digest.
    plain.resize(plain.len() + 5120, 0);
    plain.push(7);
    for (compression, packed) in packings(&plain) {
        let file = folder.unnamed(&packed);
        let merge = |diff_id: &[u8]| {
            let layer = LayerFile {
                file: file.as_fd(),
                range: ByteRange::whole(packed.len() as u64),
                compression,
                diff_id: Some(digest(diff_id)),
                name: "sha256:abc".to_owned(),
            };
            merge_files(&folder, &importer(), &[layer])
        };
        assert_eq!(merge(&plain).unwrap().data_bytes, 1, "{compression:?}");
        for other in [&plain[..plain.len() - 1], &plain[1..], b""] {
            let error = merge(other).unwrap_err();
            let ImportError::Refused(line) = error else { panic!("{error:?}") };
            assert!(line.starts_with("layer sha256:abc: it is damaged"), "{line}");
            assert!(
                line.contains(&digest(&plain).to_string()) && line.contains("get the image again"),
                "{line}"
            );
        }
    }
}

#[test]
fn layers_are_ranges_of_one_file_however_many() {
    let folder = Folder::new();
    let mut file = b"something before".to_vec();
    let mut ranges = Vec::new();
    for index in 0..300 {
        let name = format!("{index:03}");
        let plain = layer(&[(EntryType::Regular, &name, "", &name), (EntryType::Regular, "last", "", &name)]);
        let (compression, packed) = packings(&plain)[index % 3].clone();
        let (offset_bytes, length_bytes) = (file.len() as u64, packed.len() as u64);
        ranges.push((ByteRange { offset_bytes, length_bytes }, compression, digest(&plain)));
        file.extend(packed);
        file.push(1);
    }
    let file_bytes = file.len() as u64;
    let file = folder.unnamed(&file);
    let layer = |(range, compression, diff_id): &(ByteRange, LayerCompression, Digest)| LayerFile {
        file: file.as_fd(),
        range: *range,
        compression: *compression,
        diff_id: Some(*diff_id),
        name: "sha256:abc".to_owned(),
    };
    let mut layers: Vec<LayerFile<'_>> = ranges.iter().map(layer).collect();
    let merged = merge_files(&folder, &importer(), &layers).unwrap();
    assert_eq!(merged.data_bytes, 301 * 3);
    let output = Command::new("tar").arg("-xOf").arg(folder.path("out.tar")).arg("last").output().unwrap();
    assert_eq!(output.stdout, b"299");
    // The archive was cut meanwhile, or who says where its layers are lies.
    for (offset_bytes, length_bytes) in [(file_bytes - 1, 2), (u64::MAX, 2), (u64::MAX - 1, 1)] {
        layers[0].range = ByteRange { offset_bytes, length_bytes };
        let error = merge_files(&folder, &importer(), &layers).unwrap_err().to_string();
        assert!(error.contains("layer sha256:abc") && error.contains("cut short"), "{error}");
    }
}

#[test]
fn what_may_come_out_goes_by_the_file_not_by_layers_over_each_other() {
    let folder = Folder::new();
    let zeros = layer(&[(EntryType::Regular, "zeros", "", &"\0".repeat(1 << 20))]);
    let packed = zstd::bulk::compress(&zeros, 19).unwrap();
    let file = folder.unnamed(&packed);
    let layer = LayerFile {
        file: file.as_fd(),
        range: ByteRange::whole(packed.len() as u64),
        compression: LayerCompression::Zstd,
        diff_id: Some(digest(&zeros)),
        name: "sha256:abc".to_owned(),
    };
    let limits = Limits { data_bytes: 3 << 20, ..Limits::default() };
    let merge =
        |count| merge_files(&folder, &importer().with_limits(limits.clone()), &vec![layer.clone(); count]);
    assert_eq!(merge(2).unwrap().data_bytes, 1 << 20);
    assert!(merge(3).unwrap_err().to_string().contains("unpacks to more than 3 MiB"));
}
