//! A disk that is full, in a mount namespace of the test's own.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use image_import::{UnpackError, unpack};
use image_model::{Architecture, Compression, FirstBoot, ImageDescription, ImageSource, SourceKind, UtcTime};
use image_sources::{Download, FetchError, FetchSettings, Fetcher};
use image_store::{BootFiles, NewImage, Store};
use server::{Piece, Reply, Server, body};

/// Where the small disk is; only inside of the namespace.
const INSIDE: &str = "YAGURA_TEST_SMALL_DISK";
const DISK: &str = "1M";
const ENTER: &str = "mount -t tmpfs -o size=\"$2\" tmpfs \"$1\" && ip link set lo up && \
    exec \"$0\" a_full_disk_is_said_and_nothing_is_broken --exact --nocapture";

#[test]
fn a_full_disk_is_said_and_nothing_is_broken() {
    if let Some(folder) = env::var_os(INSIDE) {
        return check(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", ENTER])
        .arg(env::current_exe().unwrap())
        .arg(folder.path())
        .arg(DISK)
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn check(folder: &Path) {
    let store = Store::open(&folder.join("data")).unwrap();
    downloads(folder);
    unpacking(folder);
    adding(&store);
    assert!(store.images().unwrap().is_empty());
    assert!(store.verify(&mut |_, _| ()).unwrap().damaged.is_empty());
}

/// The server does not say how long the file is, so that it is found out too late.
fn downloads(folder: &Path) {
    let served = body(2 << 20);
    let server = Server::start(move |_| Reply::status(200).piece(Piece::Bytes(served.clone())));
    let partial = folder.join("part");
    let url = server.url("/x");
    let download = Download { url: &url, partial: &partial, expected: None, bytes_max: 1 << 30 };
    let fetcher = Fetcher::new(FetchSettings::default()).unwrap();
    let error = fetcher.download(&download, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(&error, FetchError::NoSpace { path, .. } if *path == partial), "{error}");
    assert!(error.to_string().contains("yagura image gc"), "{error}");
    assert_eq!(server.asked().len(), 1);
    fs::remove_file(partial).unwrap();
}

fn unpacking(folder: &Path) {
    let path = folder.join("unpacked");
    let target = fs::File::create(&path).unwrap();
    let error = unpack(std::io::Cursor::new(body(2 << 20)), Compression::None, target, 1 << 30, &mut |_| ())
        .unwrap_err();
    let UnpackError::Write(source) = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    fs::remove_file(path).unwrap();
}

fn adding(store: &Store) {
    let staging = store.stage().unwrap();
    let source = staging.file("source");
    fs::write(&source, body(600_000)).unwrap();
    let error = staging.copy_in(&source, "disk", &mut |_, _| ()).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert!(!staging.file("disk").exists());
    // Not even a word of metadata fits.
    fs::write(store.root().join("filler"), body(1 << 20)).unwrap_err();
    let description = ImageDescription {
        os: "test".to_owned(),
        release: "1".to_owned(),
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
    let new = NewImage { description, disk: source, boot: BootFiles::FromDisk };
    let error = store.add_image(new, &mut |_, _| ()).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    fs::remove_file(store.root().join("filler")).unwrap();
}
