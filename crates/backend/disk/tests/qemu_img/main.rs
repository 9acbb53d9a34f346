//! Images of ours read by QEMU, and QEMU's by us. Needs `qemu-img`; says so where it is missing.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod disk_user;
mod folder;
mod growth;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use disk::{
    BackingName, BackingPolicy, Compression, ConvertOptions, CreateOptions, Disk, DiskFormat, IoMethod,
    Qcow2Disk, RawContents, check, convert, create_qcow2, map, resize,
};
use disk_user::User;
use folder::{Folder, MIB, contents};

impl Folder {
    /// Asserts that QEMU and we find nothing wrong with an image.
    #[track_caller]
    fn assert_clean(&self, name: &str) {
        self.qemu_img(&format!("check -f qcow2 {name}"));
        let report = check(&self.path(name), DiskFormat::Qcow2, None).unwrap();
        assert!(report.is_clean(), "{report:#?}");
    }

    /// Asserts that QEMU and we read the contents of `raw` in an image.
    #[track_caller]
    fn assert_same(&self, name: &str, raw: &str) {
        self.qemu_img(&format!("compare -f qcow2 -F raw {name} {raw}"));
        let _ = fs::remove_file(self.path("copy.raw"));
        let options = ConvertOptions {
            from: DiskFormat::Qcow2,
            contents: RawContents::Any,
            policy: BackingPolicy::Open,
            to: None,
            compress: false,
        };
        convert(&self.path(name), &self.path("copy.raw"), &options, |_, _| {}).unwrap();
        assert!(fs::read(self.path("copy.raw")).unwrap() == fs::read(self.path(raw)).unwrap());
    }

    /// The image, open for a user who keeps `model` in step with it.
    fn user(&self, name: &str, method: IoMethod, model: Vec<u8>, seed: u64) -> User {
        let disk = Qcow2Disk::open(&self.path(name), false, BackingPolicy::Open).unwrap().with_method(method);
        assert_eq!(disk.size_bytes(), model.len() as u64);
        User::new(Arc::new(disk), model, seed)
    }

    /// Works at random on an image and asserts what QEMU finds in it afterwards; returns the contents.
    #[track_caller]
    fn work_on(&self, name: &str, model: Vec<u8>, seed: u64) -> Vec<u8> {
        let mut model = model;
        for method in [IoMethod::Auto, IoMethod::Threads] {
            let mut user = self.user(name, method, model, seed);
            (0..200).for_each(|_| user.step());
            model = user.leave();
            fs::write(self.path("model.raw"), &model).unwrap();
            self.assert_clean(name);
            self.assert_same(name, "model.raw");
        }
        model
    }
}

#[test]
fn what_we_make_and_write_qemu_reads() {
    let Some(folder) = Folder::new() else { return };
    let usual = CreateOptions::new(5 * MIB + 512);
    let kinds = [
        usual.clone(),
        CreateOptions { cluster_bytes: 512, ..usual.clone() },
        CreateOptions { cluster_bytes: 2 << 20, lazy_refcounts: true, ..usual.clone() },
        CreateOptions { version: 2, cluster_bytes: 4096, ..usual.clone() },
        CreateOptions { refcount_bits: 1, cluster_bytes: 1024, ..usual.clone() },
        CreateOptions { refcount_bits: 64, compression: Compression::Zstd, ..usual.clone() },
    ];
    for (index, options) in kinds.iter().enumerate() {
        let name = format!("{index}.qcow2");
        create_qcow2(&folder.path(&name), options).unwrap();
        folder.assert_clean(&name);
        folder.work_on(&name, vec![0; options.size_bytes as usize], index as u64);
    }
}

#[test]
fn what_qemu_makes_we_read_and_write() {
    let Some(folder) = Folder::new() else { return };
    let data = contents(6 * MIB);
    fs::write(folder.path("a.raw"), &data).unwrap();
    let kinds = [
        "",
        "-o cluster_size=512",
        "-o cluster_size=2M,lazy_refcounts=on",
        "-o compat=0.10",
        "-o refcount_bits=2,preallocation=metadata",
        "-c",
        "-c -o compression_type=zstd",
        "-c -o cluster_size=4k",
    ];
    for (index, kind) in kinds.iter().enumerate() {
        let name = format!("{index}.qcow2");
        folder.qemu_img(&format!("convert -f raw -O qcow2 {kind} a.raw {name}"));
        folder.assert_clean(&name);
        folder.assert_same(&name, "a.raw");
        folder.work_on(&name, data.clone(), index as u64);
    }
}

#[test]
fn what_we_compress_qemu_reads() {
    let Some(folder) = Folder::new() else { return };
    fs::write(folder.path("a.raw"), contents(6 * MIB)).unwrap();
    for compression in [Compression::Zlib, Compression::Zstd] {
        for cluster_bytes in [512, 4096, 64 << 10, 2 << 20] {
            let name = format!("{compression:?}{cluster_bytes}.qcow2");
            let image = CreateOptions { compression, cluster_bytes, ..CreateOptions::new(0) };
            let (from, policy, to) = (DiskFormat::Raw, BackingPolicy::Open, Some(image));
            let options = ConvertOptions { from, contents: RawContents::Any, policy, to, compress: true };
            convert(&folder.path("a.raw"), &folder.path(&name), &options, |_, _| {}).unwrap();
            folder.assert_clean(&name);
            folder.assert_same(&name, "a.raw");
            let report = check(&folder.path(&name), DiskFormat::Qcow2, None).unwrap();
            assert!(report.compressed_clusters > 0, "{report:?}");
        }
    }
}

#[test]
fn chains_of_both_hands_are_one_disk() {
    let Some(folder) = Folder::new() else { return };
    let data = contents(2 * MIB);
    fs::write(folder.path("a.raw"), &data).unwrap();
    folder.qemu_img("create -q -f qcow2 -b a.raw -F raw b.qcow2 3M");
    let mut model = data;
    model.resize(3 << 20, 0);
    let model = folder.work_on("b.qcow2", model, 1);
    for (version, cluster_bytes) in [(3, 4096), (2, 65536)] {
        let name = format!("c{version}.qcow2");
        let backing = Some(BackingName { path: "b.qcow2".into(), format: Some("qcow2".into()) });
        let options = CreateOptions { version, cluster_bytes, backing, ..CreateOptions::new(4 * MIB) };
        create_qcow2(&folder.path(&name), &options).unwrap();
        let mut model = model.clone();
        model.resize(4 << 20, 0);
        folder.work_on(&name, model, 2);
    }
}

#[test]
fn snapshots_inside_stay_as_they_are() {
    let Some(folder) = Folder::new() else { return };
    let data = contents(4 * MIB);
    fs::write(folder.path("a.raw"), &data).unwrap();
    folder.qemu_img("convert -f raw -O qcow2 -o cluster_size=4k a.raw a.qcow2");
    folder.qemu_img("snapshot -c first a.qcow2");
    let later = folder.work_on("a.qcow2", data, 3);
    fs::write(folder.path("later.raw"), &later).unwrap();
    folder.qemu_img("snapshot -c second a.qcow2");
    let last = folder.work_on("a.qcow2", later, 4);
    for (snapshot, raw) in [("first", "a.raw"), ("second", "later.raw")] {
        folder
            .qemu_img(&format!("convert -f qcow2 -O raw -l snapshot.name={snapshot} a.qcow2 {snapshot}.raw"));
        assert!(
            fs::read(folder.path(&format!("{snapshot}.raw"))).unwrap() == fs::read(folder.path(raw)).unwrap()
        );
    }
    folder.qemu_img("snapshot -d first a.qcow2");
    folder.assert_clean("a.qcow2");
    folder.work_on("a.qcow2", last, 5);
}

#[test]
fn both_hands_make_a_disk_larger() {
    let Some(folder) = Folder::new() else { return };
    let data = contents(2 * MIB);
    fs::write(folder.path("a.raw"), &data).unwrap();
    folder.qemu_img("create -q -f qcow2 -o cluster_size=512 -b a.raw -F raw b.qcow2 1M");
    let model = folder.work_on("b.qcow2", data[..1 << 20].to_vec(), 6);
    resize(&folder.path("b.qcow2"), DiskFormat::Qcow2, RawContents::Any, 40 * MIB).unwrap();
    let mut longer = model;
    longer.resize(40 << 20, 0);
    let mut longer = folder.work_on("b.qcow2", longer, 7);
    folder.qemu_img("resize -q -f qcow2 b.qcow2 50M");
    longer.resize(50 << 20, 0);
    folder.work_on("b.qcow2", longer, 8);
}

#[test]
fn maps_agree() {
    let Some(folder) = Folder::new() else { return };
    let cluster = 64 << 10;
    let mut data = vec![0; 40 * cluster];
    data[..3 * cluster].fill(1);
    data[10 * cluster..11 * cluster].fill(2);
    fs::write(folder.path("a.raw"), &data).unwrap();
    folder.qemu_img("convert -f raw -O qcow2 a.raw a.qcow2");
    folder.qemu_img("create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2");
    let mut user = folder.user("b.qcow2", IoMethod::Auto, data, 9);
    user.write(cluster as u64, vec![3; cluster]);
    user.write(20 * cluster as u64, vec![3; 2 * cluster]);
    user.write_zeroes(10 * cluster as u64, cluster as u64);
    user.leave();
    let theirs = folder.qemu_img("map -f qcow2 --output=json b.qcow2");
    assert_eq!(ours_as_json(&folder.path("b.qcow2")), theirs_as_json(&theirs));
}

/// Start, length, depth, zero, data of each part, neighbours that say the same made one.
fn merged(parts: impl Iterator<Item = (u64, u64, u64, bool, bool)>) -> Vec<(u64, u64, u64, bool, bool)> {
    let mut merged: Vec<(u64, u64, u64, bool, bool)> = Vec::new();
    for (start, length, depth, zero, data) in parts {
        // Of zeros it does not matter which file has nothing to say about them.
        let depth = if zero { 0 } else { depth };
        match merged.last_mut() {
            Some(last) if (last.2, last.3, last.4) == (depth, zero, data) => last.1 += length,
            _ => merged.push((start, length, depth, zero, data)),
        }
    }
    merged
}

fn ours_as_json(path: &Path) -> Vec<(u64, u64, u64, bool, bool)> {
    let mut parts = Vec::new();
    map(path, DiskFormat::Qcow2, RawContents::Any, |piece| {
        parts.push((piece.start_bytes, piece.length_bytes, u64::from(piece.depth), piece.zero, piece.data));
    })
    .unwrap();
    merged(parts.into_iter())
}

fn theirs_as_json(text: &str) -> Vec<(u64, u64, u64, bool, bool)> {
    let parts: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let number = |part: &serde_json::Value, key: &str| part[key].as_u64().unwrap();
    merged(parts.iter().map(|part| {
        let truth = |key: &str| part[key].as_bool().unwrap();
        (number(part, "start"), number(part, "length"), number(part, "depth"), truth("zero"), truth("data"))
    }))
}

#[test]
fn leaks_are_found_and_repaired() {
    let Some(folder) = Folder::new() else { return };
    folder.qemu_img("create -q -f qcow2 a.qcow2 1M");
    // A count in the first block for a cluster that nothing refers to.
    let mut bytes = fs::read(folder.path("a.qcow2")).unwrap();
    bytes.resize(20 << 16, 0);
    bytes[(2 << 16) + 10 * 2 + 1] = 1;
    fs::write(folder.path("a.qcow2"), bytes).unwrap();
    assert_eq!(folder.run("check -f qcow2 a.qcow2").status.code(), Some(3), "QEMU's word for leaks");
    let path = folder.path("a.qcow2");
    assert_eq!(check(&path, DiskFormat::Qcow2, None).unwrap().leaks, 1);
    assert!(check(&path, DiskFormat::Qcow2, Some(disk::Repair::Leaks)).unwrap().is_clean());
    folder.assert_clean("a.qcow2");
}
