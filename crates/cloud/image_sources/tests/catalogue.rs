//! The catalogue: the shipped one, people's own, and mistakes in them.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod server;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use image_model::{Alias, Architecture, Checksum, ChecksumKind, UtcTime};
use image_sources::{Catalogue, CatalogueError, FetchError, FetchSettings, Fetcher, VendorChecksum};
use server::{Reply, Server, body, file};
use sha2::{Digest, Sha256};

const ENTRY: &str = r#"
[[image]]
alias = "acme/1"
os = "acme"
release = "1"
description = "Acme"
min_disk = "1G"
min_memory = "64M"
boot = "from-disk"
first_boot = "none"
[[image.file]]
architecture = "x86_64"
url = "https://a.example/acme.qcow2"
format = "qcow2"
sha256_list = "https://a.example/SHA256SUMS"
"#;

fn alias(text: &str) -> Alias {
    text.parse().unwrap()
}

fn added(text: &str) -> Result<Catalogue, CatalogueError> {
    let mut catalogue = Catalogue::default();
    catalogue.add(Path::new("/etc/yagura/images.d/x.toml"), text)?;
    Ok(catalogue)
}

#[test]
fn the_shipped_catalogue_makes_sense() {
    let catalogue = Catalogue::shipped().unwrap();
    for entry in catalogue.entries() {
        assert!(!entry.files.is_empty(), "{}", entry.alias);
        for file in &entry.files {
            assert_eq!(file.url.scheme(), "https", "{}", file.url);
            let VendorChecksum::Listed { url, .. } = &file.checksum else { continue };
            assert_eq!((url.scheme(), url.host_str()), ("https", file.url.host_str()));
        }
        // What it says of an image is what the store takes.
        let checksum = Checksum::new(ChecksumKind::Sha256, &"0".repeat(64)).unwrap();
        let described = entry.describe(Architecture::X86_64, checksum, UtcTime::now());
        assert_eq!(described.source.location, entry.alias.as_str());
        assert!(entry.min_memory_bytes >= 64 << 20 && entry.min_disk_bytes >= 512 << 20);
    }
    for name in ["debian/11", "debian/12", "debian/13", "ubuntu/22.04", "ubuntu/24.04"] {
        assert!(catalogue.entry(&alias(name)).unwrap().file(Architecture::Aarch64).is_ok(), "{name}");
    }
    let systems = ["fedora", "alpine", "rocky", "almalinux", "opensuse", "arch", "freebsd", "openbsd"];
    for os in systems {
        assert!(catalogue.entries().any(|entry| entry.os == os), "{os}");
    }
    assert_eq!(catalogue.entry(&alias("debian/12")).unwrap().recipe.as_deref(), Some("debian/12"));
}

#[test]
fn names_that_are_not_there_bring_a_hint() {
    let catalogue = Catalogue::shipped().unwrap();
    let error = catalogue.entry(&alias("debain/12")).unwrap_err().to_string();
    assert!(error.contains("did you mean 'debian/12'"), "{error}");
    let arch = catalogue.entry(&alias("arch/latest")).unwrap();
    let error = arch.file(Architecture::Riscv64).unwrap_err().to_string();
    assert!(error.contains("riscv64") && error.contains("x86_64"), "{error}");
}

#[test]
fn people_add_and_replace_entries() {
    let folder = tempfile::tempdir().unwrap();
    let (system, user) = (folder.path().join("system"), folder.path().join("user"));
    fs::create_dir_all(&system).unwrap();
    fs::create_dir_all(&user).unwrap();
    fs::write(system.join("a.toml"), ENTRY).unwrap();
    fs::write(system.join("ignored.txt"), "not toml").unwrap();
    fs::write(user.join("b.toml"), ENTRY.replace("\"Acme\"", "\"Mine\"")).unwrap();
    let missing = folder.path().join("missing");
    let load = |folders: &[&Path]| {
        Catalogue::load(&folders.iter().map(|folder| (*folder).to_owned()).collect::<Vec<_>>()).unwrap()
    };
    let system_only = load(&[&system, &missing]);
    assert_eq!(system_only.entry(&alias("acme/1")).unwrap().description, "Acme");
    assert!(system_only.entry(&alias("debian/12")).is_ok());
    let both = load(&[&system, &user]);
    let entry = both.entry(&alias("acme/1")).unwrap();
    assert_eq!((entry.description.as_str(), &entry.from), ("Mine", &user.join("b.toml")));
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    assert!(added(ENTRY).is_ok());
    for (from, to, line, words) in [
        ("os = \"acme\"", "so = \"acme\"", 4, "so"),
        ("alias = \"acme/1\"", "alias = \"../etc\"", 3, "alias"),
        ("alias = \"acme/1\"", "alias = \"Acme\"", 3, "alias"),
        ("release = \"1\"", "release = \"1\\u001b[2J\"", 5, "letters"),
        ("description = \"Acme\"", "description = \"a\\nb\"", 6, "one line"),
        ("release = \"1\"", "\"\\u001b[2J\" = \"1\"", 5, "unknown key"),
        ("min_disk = \"1G\"", "min_disk = \"1\"", 7, "unit"),
        ("min_disk = \"1G\"", "min_disk = \"99999999P\"", 7, "larger"),
        ("min_memory = \"64M\"", "min_memory = 64", 8, "text in quotes"),
        ("boot = \"from-disk\"", "boot = \"pxe\"", 9, "pxe"),
        ("architecture = \"x86_64\"", "architecture = \"vax\"", 12, "vax"),
        ("https://a.example/acme.qcow2", "file:///etc/shadow", 13, "https://"),
        ("https://a.example/acme.qcow2", "https://u:p@a.example/x.qcow2", 13, "password"),
        ("https://a.example/acme.qcow2", "https://a.example/folder/", 13, "folder"),
        ("format = \"qcow2\"", "format = \"img\"", 14, "img"),
        ("https://a.example/SHA256SUMS", "http://a.example/SHA256SUMS", 11, "changed on its way"),
        ("sha256_list", "sha1_list", 15, "sha1_list"),
        ("sha256_list = \"https://a.example/SHA256SUMS\"", "", 11, "one of checksum"),
        ("sha256_list = \"https://a.example/SHA256SUMS\"", "checksum = \"sha256:00\"", 15, "64"),
        ("[[image.file]]", "[[image.files]]", 11, "files"),
        ("\n[[image]]", "[images]\n[[image]]", 1, "images"),
        ("alias = ", "alias ", 3, ""),
    ] {
        let error = added(&ENTRY.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("/etc/yagura/images.d/x.toml, line {line}: ")), "{to}: {error}");
        assert!(error.contains(words) && !error.contains('\u{1b}'), "{to}: {error}");
    }
    let twice = added(&format!("{ENTRY}{ENTRY}")).unwrap_err().to_string();
    assert!(twice.contains("x.toml, line 17: ") && twice.contains("twice"), "{twice}");
    let file = ENTRY.split_once("[[image.file]]").unwrap().1;
    let two_files = added(&format!("{ENTRY}[[image.file]]{file}")).unwrap_err().to_string();
    assert!(two_files.contains("two files for x86_64"), "{two_files}");
    let none = added(ENTRY.split_once("[[image.file]]").unwrap().0).unwrap_err().to_string();
    assert!(none.contains("neither a file nor a recipe"), "{none}");
}

#[test]
fn catalogues_without_end_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.toml");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = Catalogue::load(&[folder.path().to_owned()]).unwrap_err();
    assert!(matches!(&error, CatalogueError::Read { path: read, .. } if *read == path), "{error}");
}

/// An entry whose file and list a local server has.
fn local(server: &Server) -> Catalogue {
    added(
        &ENTRY
            .replace("https://a.example/acme.qcow2", &server.url("/acme.qcow2"))
            .replace("https://a.example/SHA256SUMS", &server.url("/SHA256SUMS")),
    )
    .unwrap()
}

fn fetch(catalogue: &Catalogue, partial: &Path) -> Result<Checksum, FetchError> {
    let settings =
        FetchSettings { attempts_max: 2, first_wait: Duration::from_millis(1), ..FetchSettings::default() };
    let fetcher = Fetcher::new(settings).unwrap();
    let file = catalogue.entry(&alias("acme/1")).unwrap().file(Architecture::X86_64).unwrap();
    let fetched = fetcher.fetch_vendor_file(file, partial, 1 << 20, &mut |_| ControlFlow::Continue(()))?;
    Ok(fetched.checksum)
}

#[test]
fn a_vendors_file_is_checked_against_the_vendors_list() {
    let served = body(50_000);
    let digits: String = Sha256::digest(&served).iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{}  other.qcow2\n{digits} *acme.qcow2\n", "0".repeat(64));
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/SHA256SUMS" => Reply::ok(list.as_bytes()),
        _ => file(asked, &served, "\"1\""),
    });
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("part");
    assert_eq!(fetch(&local(&server), &partial).unwrap().hex(), digits);
    // The vendor's file is here and right: only the list is asked for again.
    fetch(&local(&server), &partial).unwrap();
    let paths: Vec<String> = server.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/SHA256SUMS", "/acme.qcow2", "/SHA256SUMS"]);
}

#[test]
fn lists_that_do_not_help_and_files_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("part");
    let wrong = format!("{}  acme.qcow2\n", "0".repeat(64));
    for (list, words) in [("", "has no sha256 of acme.qcow2"), (wrong.as_str(), "its checksum is")] {
        let list = list.to_owned();
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/SHA256SUMS" => Reply::ok(list.as_bytes()),
            _ => file(asked, &[1; 100], "\"1\""),
        });
        let error = fetch(&local(&server), &partial).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.is_unreachable());
        assert!(!partial.exists());
    }
    let gone = Server::start(move |_| Reply::status(404));
    assert!(fetch(&local(&gone), &partial).unwrap_err().is_unreachable());
}
