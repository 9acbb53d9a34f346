//! Disks of instances: what they hold, and what they cost.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use disk::DiskFormat;
use image_model::{Architecture, FirstBoot, ImageDescription, ImageSource, SourceKind, UtcTime};
use image_store::{BootFiles, DiskMethod, GarbageOptions, Image, InstanceDisk, NewImage, Store, StoreError};

const MIB: u64 = 1 << 20;

fn silent(_: u64, _: u64) {}

/// An image of 64 MiB with data in every MiB.
fn image(store: &Store) -> Image {
    let staging = store.stage().unwrap();
    let path = staging.file("disk.raw");
    let file = File::create(&path).unwrap();
    for at in 0..64 {
        file.write_all_at(&[at as u8 + 1; 4096], at * MIB).unwrap();
    }
    file.set_len(64 * MIB).unwrap();
    let description = ImageDescription {
        os: "test".to_owned(),
        release: "1".to_owned(),
        architecture: Architecture::X86_64,
        variant: "default".to_owned(),
        description: String::new(),
        default_user: None,
        min_disk_bytes: 100 * MIB,
        min_memory_bytes: 0,
        machine: image_model::MachineDefaults::default(),
        first_boot: FirstBoot::None,
        source: ImageSource { kind: SourceKind::File, location: "x".to_owned(), checksum: None },
        built: UtcTime::now(),
    };
    store.add_image(NewImage { description, disk: path, boot: BootFiles::FromDisk }, &mut silent).unwrap()
}

/// Makes an instance and says how long it took and what its folder takes.
fn create(store: &Store, image: &Image, name: &str, size_bytes: Option<u64>) -> InstanceDisk {
    let start = Instant::now();
    let disk = store.create_instance_disk(image, &name.parse().unwrap(), size_bytes).unwrap();
    println!("instance {name} ({:?}): {:.1} ms", disk.method, start.elapsed().as_secs_f64() * 1e3);
    disk
}

/// What the files in a folder take, in bytes.
fn folder_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

fn contents(disk: &InstanceDisk, folder: &Path) -> Vec<u8> {
    let raw = folder.join("contents.raw");
    let options = disk::ConvertOptions {
        from: disk.format,
        contents: disk::RawContents::Any,
        policy: disk::BackingPolicy::Open,
        to: None,
        compress: false,
    };
    disk::convert(&disk.path, &raw, &options, |_, _| ()).unwrap();
    let bytes = fs::read(&raw).unwrap();
    fs::remove_file(raw).unwrap();
    bytes
}

fn check_instances(folder: &Path, expected: DiskMethod) {
    let store = Store::open(&folder.join("data")).unwrap();
    let image = image(&store);
    let blob = fs::read(store.blob_path(&image.metadata.disk)).unwrap();
    let smallest = create(&store, &image, "small", None);
    assert_eq!((smallest.size_bytes, smallest.method), (100 * MIB, expected));
    for at in 0..10 {
        let disk = create(&store, &image, &format!("web{at}"), Some(1024 * MIB));
        assert_eq!(store.instance_disk(&format!("web{at}").parse().unwrap()).unwrap(), disk);
        assert_eq!(
            disk::info(&disk.path, disk.format, disk::RawContents::Any).unwrap().size_bytes,
            1024 * MIB
        );
        let bytes = folder_bytes(disk.path.parent().unwrap());
        println!("instance web{at}: {} KiB in its folder", bytes >> 10);
        if expected == DiskMethod::Overlay {
            // A block each of header, table and first block of reference counts, L1 table, and the record.
            assert!(bytes <= 20 << 10, "{bytes}");
            assert_eq!(disk.format, DiskFormat::Qcow2);
        }
    }
    let bytes = contents(&smallest, folder);
    assert_eq!(&bytes[..blob.len()], &blob[..]);
    assert!(bytes[blob.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(store.instances().unwrap().len(), 11);
}

#[test]
fn ten_instances_cost_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Whatever the file system of temporary files can do.
    let probe = folder.path().join("probe");
    fs::write(&probe, "x").unwrap();
    let can_share =
        Command::new("cp").arg("--reflink=always").arg(&probe).arg(folder.path().join("probe2")).status();
    let expected = if can_share.unwrap().success() { DiskMethod::Reflink } else { DiskMethod::Overlay };
    check_instances(folder.path(), expected);
}

#[test]
fn the_store_can_be_moved_with_its_instances() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data")).unwrap();
    let image = image(&store);
    create(&store, &image, "web1", None);
    fs::rename(folder.path().join("data"), folder.path().join("moved")).unwrap();
    let store = Store::open(&folder.path().join("moved")).unwrap();
    let disk = store.instance_disk(&"web1".parse().unwrap()).unwrap();
    assert_eq!(contents(&disk, folder.path())[..4096], [1; 4096]);
}

#[test]
fn names_sizes_and_ends_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let image = image(&store);
    let name = "web1".parse().unwrap();
    let small = store.create_instance_disk(&image, &name, Some(64 * MIB)).unwrap_err();
    assert!(small.to_string().contains("100 MiB or more"), "{small}");
    create(&store, &image, "web1", None);
    let twice = store.create_instance_disk(&image, &name, None).unwrap_err();
    assert!(matches!(twice, StoreError::InstanceExists(_)), "{twice}");
    let unknown = store.instance_disk(&"web2".parse().unwrap()).unwrap_err();
    assert!(unknown.to_string().contains("did you mean 'web1'"), "{unknown}");
    store.remove_instance(&name).unwrap();
    assert!(!store.instance_folder(&name).exists());
    assert!(matches!(store.remove_instance(&name), Err(StoreError::NoSuchInstance { .. })));
    create(&store, &image, "web1", None);
}

/// Whoever renames a folder by hand makes it no instance, and does not lose what its disk needs.
#[test]
fn a_folder_with_a_name_that_nothing_can_have_keeps_its_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let image = image(&store);
    create(&store, &image, "web1", None);
    let (right, wrong) = (folder.path().join("instances/web1"), folder.path().join("instances/Web One"));
    fs::rename(&right, &wrong).unwrap();
    assert!(store.instances().unwrap().is_empty());
    store.delete(&image.id.to_string().parse().unwrap()).unwrap();
    let now = GarbageOptions { dry_run: false, partial_older_than: Duration::ZERO };
    assert_eq!(store.collect_garbage(now).unwrap().removed, []);
    fs::rename(&wrong, &right).unwrap();
    let disk = store.instance_disk(&"web1".parse().unwrap()).unwrap();
    assert_eq!(contents(&disk, folder.path())[..4096], [1; 4096]);
}
