//! A store from outside: images in and out, names, damage, garbage, several at once.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use image_model::{
    Alias, Architecture, Digest, FirstBoot, ImageDescription, ImageReference, ImageSource, SourceKind,
    UtcTime,
};
use image_store::{
    BootFiles, DamageKind, GarbageOptions, Image, NewImage, RemovedKind, Store, StoreError, Waiting,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const NOW: GarbageOptions = GarbageOptions { dry_run: false, partial_older_than: Duration::ZERO };

fn silent(_: u64, _: u64) {}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data")).unwrap();
    (folder, store)
}

fn description() -> ImageDescription {
    ImageDescription {
        os: "debian".to_owned(),
        release: "12".to_owned(),
        architecture: Architecture::X86_64,
        variant: "default".to_owned(),
        description: "Debian 12".to_owned(),
        default_user: None,
        min_disk_bytes: 4 * MIB,
        min_memory_bytes: 64 * MIB,
        machine: image_model::MachineDefaults::default(),
        first_boot: FirstBoot::None,
        source: ImageSource { kind: SourceKind::Catalogue, location: "debian/12".to_owned(), checksum: None },
        built: UtcTime::from_unix(0),
    }
}

/// Adds an image whose disk of 8 MiB holds one block of `byte`, and whose kernel is `kernel`.
fn add(store: &Store, byte: u8, kernel: &str) -> Image {
    let staging = store.stage().unwrap();
    let disk = staging.file("disk.raw");
    fs::write(&disk, [byte; 4096]).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_len(8 * MIB - 100).unwrap();
    fs::write(staging.file("kernel"), kernel).unwrap();
    let boot = BootFiles::Kernel {
        kernel: staging.file("kernel"),
        initrd: None,
        cmdline: "root=/dev/vda".to_owned(),
    };
    store.add_image(NewImage { description: description(), disk, boot }, &mut silent).unwrap()
}

fn reference(text: &str) -> ImageReference {
    text.parse().unwrap()
}

fn alias(text: &str) -> Alias {
    text.parse().unwrap()
}

#[test]
fn an_image_is_found_by_alias_digest_and_prefix() {
    let (_folder, store) = store();
    let image = add(&store, 1, "linux");
    assert_eq!(image.metadata.disk_bytes, 8 * MIB);
    assert_eq!(store.set_alias(&alias("debian/12"), &image.id).unwrap(), None);
    for text in ["debian/12", &image.id.hex(), &image.id.to_string(), &image.id.hex()[..8]] {
        assert_eq!(store.resolve(&reference(text)).unwrap(), image, "{text}");
    }
    assert_eq!(store.aliases_of(&image.id).unwrap(), [alias("debian/12")]);
    let error = store.resolve(&reference("debain/12")).unwrap_err().to_string();
    assert!(error.contains("did you mean 'debian/12'"), "{error}");
    let error = store.resolve(&reference("00000000")).unwrap_err();
    assert!(matches!(error, StoreError::NoSuchImage { .. }), "{error}");
    store.remove_alias(&alias("debian/12")).unwrap();
    assert!(store.resolve(&reference("debian/12")).is_err());
    assert_eq!(store.images().unwrap(), [image]);
}

#[test]
fn folders_are_closed_and_blobs_write_protected() {
    let (_folder, store) = store();
    let image = add(&store, 1, "linux");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.root()), 0o700);
    assert_eq!(mode(&store.blob_path(&image.metadata.disk)), 0o444);
    assert!(fs::metadata(store.blob_path(&image.metadata.disk)).unwrap().blocks() * 512 < MIB);
}

#[test]
fn the_same_image_again_is_the_same() {
    let (_folder, store) = store();
    let first = add(&store, 1, "linux");
    assert_eq!(add(&store, 1, "linux"), first);
    let other = add(&store, 2, "linux");
    assert_ne!(other.id, first.id);
    assert_eq!(other.metadata.blobs()[1], first.metadata.blobs()[1]);
    assert_eq!(store.images().unwrap().len(), 2);
}

#[test]
fn an_image_that_comes_again_mends_a_blob_that_was_cut_off() {
    let (_folder, store) = store();
    let image = add(&store, 1, "linux");
    let path = store.blob_path(&image.metadata.disk);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "short").unwrap();
    assert_eq!(add(&store, 1, "linux"), image);
    assert!(store.verify(&mut silent).unwrap().damaged.is_empty());
}

#[test]
fn images_that_make_no_sense_are_refused() {
    let (folder, store) = store();
    let staging = store.stage().unwrap();
    let disk = staging.file("disk.raw");
    let new = |description| NewImage { description, disk: disk.clone(), boot: BootFiles::FromDisk };
    assert!(store.add_image(new(description()), &mut silent).is_err(), "no disk");
    fs::write(&disk, "").unwrap();
    assert!(store.add_image(new(description()), &mut silent).is_err(), "an empty disk");
    fs::remove_file(&disk).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &disk).unwrap();
    assert!(store.add_image(new(description()), &mut silent).is_err(), "a link");
    fs::remove_file(&disk).unwrap();
    fs::write(&disk, "x").unwrap();
    let bad = ImageDescription { os: "../etc".to_owned(), ..description() };
    assert!(store.add_image(new(bad), &mut silent).is_err(), "a bad name");
    assert!(store.images().unwrap().is_empty());
    drop(staging);
    assert_eq!(fs::read_dir(folder.path().join("data/staging")).unwrap().count(), 0);
}

#[test]
fn deleting_leaves_what_others_need() {
    let (_folder, store) = store();
    let (first, second) = (add(&store, 1, "linux"), add(&store, 2, "linux"));
    store.set_alias(&alias("one"), &first.id).unwrap();
    store.set_alias(&alias("two"), &second.id).unwrap();
    let kernel = first.metadata.blobs()[1];
    let deleted = store.delete(&reference("one")).unwrap();
    assert_eq!(deleted.aliases, [alias("one")]);
    assert!(deleted.freed_bytes >= 4096);
    assert!(!store.has_blob(&first.metadata.disk));
    assert!(store.has_blob(&kernel));
    store.delete(&reference("two")).unwrap();
    assert!(!store.has_blob(&kernel));
    assert!(store.aliases().unwrap().is_empty());
}

#[test]
fn garbage_is_what_nothing_refers_to() {
    let (_folder, store) = store();
    let image = add(&store, 1, "linux");
    store.create_instance_disk(&image, &"web1".parse().unwrap(), None).unwrap();
    store.delete(&ImageReference::Digest(image.id)).unwrap();
    // What a killed process leaves: a blob without an image, a staging folder, a half-written file, a
    // download.
    let stray = Digest::from_bytes([9; 32]);
    fs::write(store.blob_path(&stray), [1; 5000]).unwrap();
    let left = store.root().join("staging/left");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("disk"), "x").unwrap();
    fs::write(store.root().join("aliases.new-1"), "x").unwrap();
    let in_use = store.stage().unwrap();
    let key = store.lock_key("u", |_| Ok::<(), StoreError>(())).unwrap();
    fs::write(store.partial_path(&key), "x").unwrap();
    fs::write(store.partial_path(&key).with_extension("json"), "x").unwrap();

    let dry = store.collect_garbage(GarbageOptions { dry_run: true, ..NOW }).unwrap();
    assert!(store.has_blob(&stray));
    let report = store.collect_garbage(NOW).unwrap();
    assert_eq!(report, dry);
    let kinds: Vec<RemovedKind> = report.removed.iter().map(|removed| removed.kind).collect();
    assert_eq!(kinds, [RemovedKind::Blob, RemovedKind::Staging, RemovedKind::Staging]);
    assert!(report.freed_bytes >= 8192);
    assert!(store.has_blob(&image.metadata.disk), "an instance lies upon it");
    assert!(in_use.path().exists() && store.partial_path(&key).exists());

    drop(key);
    let patient = GarbageOptions { partial_older_than: Duration::from_secs(3600), ..NOW };
    assert!(store.collect_garbage(patient).unwrap().removed.is_empty());
    assert_eq!(store.collect_garbage(NOW).unwrap().removed.len(), 2);
    store.remove_instance(&"web1".parse().unwrap()).unwrap();
    store.collect_garbage(NOW).unwrap();
    assert!(!store.has_blob(&image.metadata.disk));
}

#[test]
fn unreadable_metadata_stops_garbage_collection() {
    let (_folder, store) = store();
    let image = add(&store, 1, "linux");
    let path = store.root().join(format!("images/{}.json", image.id.hex()));
    let text = fs::read_to_string(&path).unwrap().replace("Debian 12", "Debian 13");
    fs::write(&path, text).unwrap();
    let error = store.collect_garbage(NOW).unwrap_err().to_string();
    assert!(error.contains(&image.id.short()), "{error}");
    let report = store.verify(&mut silent).unwrap();
    assert_eq!(report.damaged_metadata.len(), 1);
    assert!(report.damaged_metadata[0].1.exists());
    assert!(store.images().unwrap().is_empty());
    store.collect_garbage(NOW).unwrap();
}

#[test]
fn a_damaged_blob_is_named_moved_aside_and_put_back() {
    let (_folder, store) = store();
    let image = add(&store, 1, "linux");
    let name = "web1".parse().unwrap();
    store.create_instance_disk(&image, &name, None).unwrap();
    assert!(store.verify(&mut silent).unwrap().damaged.is_empty());
    let disk = image.metadata.disk;
    let path = store.blob_path(&disk);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[5_000_000] ^= 1;
    fs::write(&path, bytes).unwrap();

    let mut last = (0, 0);
    let report = store.verify(&mut |done, total| last = (done, total)).unwrap();
    assert_eq!(last.0, last.1);
    assert_eq!(report.blobs, 2);
    let [damaged] = &report.damaged[..] else { panic!("{report:?}") };
    assert_eq!((damaged.blob, &damaged.images[..]), (disk, &[image.clone()][..]));
    assert_eq!(damaged.instances, [name]);
    assert!(image.metadata.description.source.can_be_fetched_again());
    assert!(matches!(&damaged.kind, DamageKind::Changed(aside) if aside.exists()));
    assert_eq!(store.missing_blobs(&image), [disk]);
    assert!(matches!(
        store.create_instance_disk(&image, &"web2".parse().unwrap(), None),
        Err(StoreError::MissingBlob { .. })
    ));
    assert_eq!(store.verify(&mut silent).unwrap().damaged[0].kind, DamageKind::Missing);

    let staging = store.stage().unwrap();
    let again = staging.file("disk.raw");
    fs::write(&again, [1; 4096]).unwrap();
    let error = store.restore_blob(&again, &disk, &mut silent).unwrap_err();
    assert!(matches!(error, StoreError::OtherBlob { .. }), "{error}");
    fs::File::options().write(true).open(&again).unwrap().set_len(8 * MIB).unwrap();
    store.restore_blob(&again, &disk, &mut silent).unwrap();
    assert!(store.verify(&mut silent).unwrap().damaged.is_empty());
}

#[test]
fn one_of_many_pulls_and_the_others_find_it() {
    let (_folder, store) = store();
    let pulls = AtomicUsize::new(0);
    let waits = AtomicUsize::new(0);
    let pull_once = || {
        store.pull_once(
            "debian/12",
            |_: Waiting| {
                waits.fetch_add(1, Ordering::Relaxed);
                Ok(())
            },
            |_| match store.resolve(&reference("debian/12")) {
                Err(StoreError::NoSuchImage { .. }) => Ok(None),
                answer => answer.map(Some),
            },
            |_| {
                pulls.fetch_add(1, Ordering::Relaxed);
                while waits.load(Ordering::Relaxed) < 3 {
                    thread::sleep(Duration::from_millis(10));
                }
                let image = add(&store, 1, "linux");
                store.set_alias(&alias("debian/12"), &image.id)?;
                Ok(image)
            },
        )
    };
    let images: Vec<Image> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(pull_once)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert_eq!(pulls.into_inner(), 1);
    assert!(waits.into_inner() >= 3);
    assert!(images.iter().all(|image| *image == images[0]));
}

#[test]
fn waiting_can_be_given_up() {
    let (_folder, store) = store();
    let _held = store.lock_key("k", |_| Ok::<(), StoreError>(())).unwrap();
    let mut waits = 0;
    let refused = store.lock_key("k", |_| {
        waits += 1;
        if waits == 2 { Err(StoreError::InstanceExists("x".parse().unwrap())) } else { Ok(()) }
    });
    assert!(refused.is_err());
    assert_eq!(waits, 2);
}

#[test]
fn images_leave_the_store_as_they_are() {
    let (folder, store) = store();
    let image = add(&store, 1, "linux");
    let target = folder.path().join("out.raw");
    assert_eq!(store.export_disk(&image, &target, &mut silent).unwrap(), 8 * MIB);
    assert_eq!(fs::read(&target).unwrap(), fs::read(store.blob_path(&image.metadata.disk)).unwrap());
    assert!(fs::metadata(&target).unwrap().blocks() * 512 < MIB);
    assert!(store.export_disk(&image, &target, &mut silent).is_err(), "the file is there");
}

#[test]
fn a_store_of_another_version_is_left_alone() {
    let (_folder, store) = store();
    fs::write(store.root().join("version"), "2\n").unwrap();
    let error = Store::open(store.root()).unwrap_err().to_string();
    assert!(error.contains("'2'"), "{error}");
}

#[test]
fn an_image_that_cannot_be_named_is_not_there() {
    let (_folder, store) = store();
    let names = store.root().join("aliases.json");
    let hashed = || {
        let staging = store.stage().unwrap();
        let disk = staging.file("disk.raw");
        fs::write(&disk, [9; 4096]).unwrap();
        let new = NewImage { description: description(), disk, boot: BootFiles::FromDisk };
        // The folder goes when this ends: the image is added before.
        (store.hash_image(new, &mut messages::unwatched).unwrap(), staging)
    };
    let blobs = || fs::read_dir(store.root().join("blobs/sha256")).unwrap().count();
    let add = |name: Option<&Alias>| {
        let (image, _staging) = hashed();
        store.add_hashed(image, name)
    };
    fs::create_dir(&names).unwrap();
    add(Some(&alias("mine"))).unwrap_err();
    assert_eq!((store.images().unwrap().len(), blobs()), (0, 0));
    // One that was there before stays.
    let image = add(None).unwrap();
    add(Some(&alias("mine"))).unwrap_err();
    assert_eq!((store.images().unwrap(), blobs()), (vec![image.clone()], 1));
    fs::remove_dir(&names).unwrap();
    assert_eq!(add(Some(&alias("mine"))).unwrap(), image);
    assert_eq!(store.resolve(&reference("mine")).unwrap(), image);
}
