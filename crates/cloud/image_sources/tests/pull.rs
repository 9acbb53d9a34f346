//! From an entry of a catalogue to an instance's disk, and back to a sound store after damage.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use image_import::unpack;
use image_model::{Alias, Architecture, UtcTime};
use image_sources::{Catalogue, CatalogueEntry, FetchSettings, Fetcher};
use image_store::{BootFiles, Image, NewImage, StagingFolder, Store, StoreError};
use server::{Reply, Server, body, file};
use sha2::{Digest, Sha256};

const SIZE: usize = 3 << 20;
const LIMIT: u64 = 1 << 30;
const ARCHITECTURE: Architecture = Architecture::X86_64;

fn silent(_: u64, _: u64) {}

/// The disk of the vendor: some data, and much that is zero.
fn vendors_disk() -> Vec<u8> {
    let mut disk = body(200_000);
    disk.resize(SIZE, 0);
    disk
}

fn vendor() -> Server {
    let mut packed = Vec::new();
    liblzma::read::XzEncoder::new(&vendors_disk()[..], 1).read_to_end(&mut packed).unwrap();
    let digits: String = Sha256::digest(&packed).iter().map(|byte| format!("{byte:02x}")).collect();
    Server::start(move |asked| match asked.path.as_str() {
        "/acme.raw.xz" => file(asked, &packed, "\"1\""),
        "/SHA256SUMS" => Reply::ok(format!("SHA256 (acme.raw.xz) = {digits}\n").as_bytes()),
        _ => Reply::status(404),
    })
}

fn catalogue(server: &Server) -> Catalogue {
    let text = format!(
        r#"
        [[image]]
        alias = "acme/1"
        os = "acme"
        release = "1"
        description = "Acme"
        min_disk = "8M"
        min_memory = "64M"
        boot = "from-disk"
        first_boot = "cloud-init"
        [[image.file]]
        architecture = "x86_64"
        url = "{}"
        format = "raw.xz"
        sha256_list = "{}"
        "#,
        server.url("/acme.raw.xz"),
        server.url("/SHA256SUMS")
    );
    let mut catalogue = Catalogue::default();
    catalogue.add(Path::new("test"), &text).unwrap();
    catalogue
}

/// Fetches an entry's file and makes a raw disk of it. Returns the folder that it is in, its path, and what it was.
fn fetch(store: &Store, entry: &CatalogueEntry) -> (StagingFolder, NewImage) {
    let file = entry.file(ARCHITECTURE).unwrap();
    let lock = store.lock_key(entry.alias.as_str(), |_| Ok::<(), StoreError>(())).unwrap();
    let fetcher = Fetcher::new(FetchSettings::default()).unwrap();
    let partial = store.partial_path(&lock);
    let go_on = &mut |_| ControlFlow::Continue(());
    let fetched = fetcher.fetch_vendor_file(file, &partial, LIMIT, go_on).unwrap();
    let staging = store.stage().unwrap();
    let disk = staging.file("disk.raw");
    let source = File::open(&fetched.path).unwrap();
    unpack(source, file.kind.compression, File::create_new(&disk).unwrap(), LIMIT, &mut |_| ()).unwrap();
    store.remove_partial(&lock).unwrap();
    let description = entry.describe(ARCHITECTURE, fetched.checksum, UtcTime::from_unix(0));
    (staging, NewImage { description, disk, boot: BootFiles::FromDisk })
}

fn pull(store: &Store, entry: &CatalogueEntry) -> Image {
    let (_staging, new) = fetch(store, entry);
    let image = store.add_image(new, &mut silent).unwrap();
    store.set_alias(&entry.alias, &image.id).unwrap();
    image
}

#[test]
fn a_vendors_file_becomes_an_instances_disk() {
    let server = vendor();
    let catalogue = catalogue(&server);
    let entry = catalogue.entry(&"acme/1".parse::<Alias>().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let image = pull(&store, entry);
    assert_eq!(store.resolve(&"acme/1".parse().unwrap()).unwrap(), image);
    assert!(fs::read(store.blob_path(&image.metadata.disk)).unwrap() == vendors_disk());
    assert!(store.image_room_bytes(&image) < 400_000);
    let disk = store.create_instance_disk(&image, &"web1".parse().unwrap(), None).unwrap();
    assert_eq!(disk.size_bytes, 8 << 20);
    assert_eq!(fs::read_dir(folder.path().join("partial")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path().join("staging")).unwrap().count(), 0);
    // The same file makes the same image.
    assert_eq!(pull(&store, entry), image);
}

#[test]
fn a_damaged_image_is_fetched_again() {
    let server = vendor();
    let catalogue = catalogue(&server);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let image = pull(&store, catalogue.entry(&"acme/1".parse::<Alias>().unwrap()).unwrap());
    let path = store.blob_path(&image.metadata.disk);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"damage").unwrap();

    let report = store.verify(&mut silent).unwrap();
    for damaged in report.damaged {
        let image = &damaged.images[0];
        let source = &image.metadata.description.source;
        assert!(source.can_be_fetched_again());
        let entry = catalogue.entry(&source.location.parse::<Alias>().unwrap()).unwrap();
        let (_staging, again) = fetch(&store, entry);
        store.restore_blob(&again.disk, &damaged.blob, &mut silent).unwrap();
    }
    assert!(store.verify(&mut silent).unwrap().damaged.is_empty());
    assert!(store.missing_blobs(&image).is_empty());
    assert!(fs::read(path).unwrap() == vendors_disk());
}
