//! A process that is killed at any moment leaves a store in which everything that is named is whole.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use image_model::{
    Alias, Architecture, FirstBoot, ImageDescription, ImageReference, ImageSource, SourceKind, UtcTime,
};
use image_store::{BootFiles, GarbageOptions, Image, NewImage, Store, StoreError};

/// Names the store of a worker that works until it is killed.
const STORE: &str = "YAGURA_TEST_STORE";
const KILLS: u64 = 25;
const EVERYTHING: GarbageOptions = GarbageOptions { dry_run: false, partial_older_than: Duration::ZERO };
const SIZE_BYTES: u64 = 4 << 20;

fn silent(_: u64, _: u64) {}

fn add(store: &Store, number: u8) -> Result<Image, StoreError> {
    let staging = store.stage()?;
    let disk = staging.file("disk.raw");
    fs::write(&disk, vec![number; 300_000]).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_len(SIZE_BYTES).unwrap();
    fs::write(staging.file("kernel"), "linux").unwrap();
    let description = ImageDescription {
        os: "test".to_owned(),
        release: number.to_string(),
        architecture: Architecture::X86_64,
        variant: "default".to_owned(),
        description: String::new(),
        default_user: None,
        min_disk_bytes: 0,
        min_memory_bytes: 0,
        machine: image_model::MachineDefaults::default(),
        first_boot: FirstBoot::None,
        source: ImageSource { kind: SourceKind::File, location: "x".to_owned(), checksum: None },
        built: UtcTime::from_unix(0),
    };
    let boot = BootFiles::Kernel { kernel: staging.file("kernel"), initrd: None, cmdline: String::new() };
    store.add_image(NewImage { description, disk, boot }, &mut silent)
}

/// Adds, names, uses and deletes images, as several may do at once.
fn work(store: &Store, rounds: u64) {
    let mine = std::process::id();
    let alias: Alias = format!("test/{mine}").parse().unwrap();
    for round in 0..rounds {
        let image = add(store, (round % 5) as u8).unwrap();
        match store.set_alias(&alias, &image.id) {
            // Another worker has deleted it.
            Err(StoreError::NoSuchImage { .. }) => continue,
            answer => answer.unwrap(),
        };
        let name = format!("i{mine}-{round}").parse().unwrap();
        match store.create_instance_disk(&image, &name, None) {
            Err(StoreError::MissingBlob { .. }) => {}
            answer => {
                answer.unwrap();
                if round % 3 != 0 {
                    store.remove_instance(&name).unwrap();
                }
            }
        }
        if round % 4 == 3 {
            store.collect_garbage(EVERYTHING).unwrap();
            let report = store.verify(&mut silent).unwrap();
            assert!(report.damaged.is_empty(), "{report:?}");
        }
        if round % 2 == 0 {
            match store.delete(&ImageReference::Digest(image.id)) {
                Err(StoreError::NoSuchImage { .. }) => {}
                answer => drop(answer.unwrap()),
            }
        }
    }
}

/// What has to hold however the workers ended.
fn check(folder: &Path) {
    let store = Store::open(folder).unwrap();
    let images = store.images().unwrap();
    for image in &images {
        assert_eq!(store.missing_blobs(image), [], "{}", image.id);
    }
    for (alias, id) in store.aliases().unwrap() {
        assert!(images.iter().any(|image| image.id == id), "{alias} names no image");
    }
    for (name, image) in store.instances().unwrap() {
        assert!(
            image.metadata.blobs().iter().all(|blob| store.has_blob(blob)),
            "{name} has lost its image's disk"
        );
        let disk = store.instance_disk(&name).unwrap();
        assert_eq!(disk.size_bytes, SIZE_BYTES);
        assert!(
            disk::check(&disk.path, disk.format, None).is_ok_and(|report| report.is_clean()) || is_raw(&disk)
        );
    }
    let report = store.verify(&mut silent).unwrap();
    assert!(report.damaged.is_empty() && report.damaged_metadata.is_empty(), "{report:?}");
}

fn is_raw(disk: &image_store::InstanceDisk) -> bool {
    disk.format == disk::DiskFormat::Raw
}

#[test]
fn worker() {
    match env::var_os(STORE) {
        Some(folder) => work(&Store::open(Path::new(&folder)).unwrap(), u64::MAX),
        None => {
            let folder = tempfile::tempdir().unwrap();
            work(&Store::open(folder.path()).unwrap(), 6);
            check(folder.path());
        }
    }
}

#[test]
fn killed_workers_leave_a_sound_store() {
    let folder = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let start = || {
            Command::new(env::current_exe().unwrap())
                .args(["worker", "--exact"])
                .env(STORE, folder.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut workers = [start(), start()];
        thread::sleep(Duration::from_millis(60 + 40 * kill));
        for worker in &mut workers {
            assert!(worker.try_wait().unwrap().is_none(), "a worker failed by itself");
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        check(folder.path());
    }
    let store = Store::open(folder.path()).unwrap();
    assert!(!store.instances().unwrap().is_empty(), "the workers did nothing");
    store.collect_garbage(EVERYTHING).unwrap();
    assert!(store.collect_garbage(EVERYTHING).unwrap().removed.is_empty());
    assert_eq!(fs::read_dir(folder.path().join("staging")).unwrap().count(), 0);
    check(folder.path());
}
