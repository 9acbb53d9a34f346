//! Archives that somebody has made up: nothing is written but by the record, and what is wrong is told in one line.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use messages::Unwatched;
use snapshot_files::{FileName, KeptBoot, KeptFile, RECORD, Record, SnapshotId, Snapshots};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

struct Made {
    kind: EntryType,
    name: &'static str,
    data: Vec<u8>,
}

fn plain(name: &'static str, data: &[u8]) -> Made {
    Made { kind: EntryType::Regular, name, data: data.to_vec() }
}

fn record() -> Record {
    let file = |name: &str| FileName::try_from(name.to_owned()).unwrap();
    let (version, program, architecture) = Record::writer();
    let listed = |name: &str, size_bytes| KeptFile { name: file(name), size_bytes, crc32c: None };
    Record {
        version,
        program,
        architecture,
        name: "a".parse().unwrap(),
        vm: "web1".parse().unwrap(),
        uuid: "0b54a1f6-6a43-4b5c-9c0a-1f2e3d4c5b6a".to_owned(),
        created_s: 7,
        description: String::new(),
        expires_s: Some(1),
        engine: "soft".to_owned(),
        cpus: 1,
        memory_bytes: 2 << 20,
        ram_bytes: 0,
        base: None,
        compressed: false,
        pause_us: 1,
        boot: KeptBoot { kernel: file("kernel"), initrds: vec![], modules: vec![] },
        disks: vec![],
        cards: vec![],
        virtio_console: false,
        merge: false,
        on_reset: Default::default(),
        on_panic: Default::default(),
        files: vec![listed("kernel", 4), listed("state", 5)],
    }
}

fn the_record() -> Made {
    plain(RECORD, &record().to_json().unwrap())
}

fn packed(entries: &[Made]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for Made { kind, name, data } in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        // As it is: the library would refuse some.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/shadow");
        }
        header.set_size(data.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        archive.append(&header, &data[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn place() -> (TempDir, Snapshots) {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path());
    (folder, snapshots)
}

/// What is said of an archive; nothing of it is left.
fn said_of_tar(archive: &[u8], id: Option<&SnapshotId>) -> String {
    let (folder, snapshots) = place();
    let error = import_tar(&snapshots, archive, id, &mut Unwatched).unwrap_err();
    let left = std::fs::read_dir(folder.path().join("snapshots")).map_or(0, |entries| entries.count());
    assert_eq!(left, 0);
    let said = messages::in_words(&error);
    assert_eq!(said.lines().count(), 1);
    said
}

fn said(entries: &[Made]) -> String {
    said_of_tar(&packed(entries), None)
}

#[test]
fn what_the_record_does_not_tell_of_is_refused() {
    let (kernel, state) = (|| plain("kernel", b"code"), || plain("state", b"state"));
    let of = |kind, name| Made { kind, name, data: vec![] };
    for (entries, why) in [
        (vec![kernel(), state()], "its first file has to be snapshot.json"),
        (vec![], "its first file has to be snapshot.json"),
        (vec![plain(RECORD, b"{}")], "no record of a snapshot"),
        (vec![plain(RECORD, &vec![b' '; 2 << 20])], "its first file has to be snapshot.json"),
        (vec![the_record(), kernel()], "the archive ends before state"),
        (vec![the_record(), kernel(), kernel()], "kernel is there twice"),
        (vec![the_record(), the_record()], "snapshot.json is not in its record"),
        (vec![the_record(), plain("passwd", b"x")], "passwd is not in its record"),
        (vec![the_record(), plain("kernel", b"codes")], "kernel is not as long as its record has it"),
        (vec![the_record(), plain("/etc/passwd", b"x")], "/etc/passwd is no name of a file"),
        (vec![the_record(), plain("../../kernel", b"code")], "../../kernel is no name of a file"),
        (vec![the_record(), plain("a/kernel", b"code")], "a/kernel is no name of a file"),
        (vec![the_record(), plain(".kernel", b"code")], ".kernel is no name of a file"),
        (vec![the_record(), plain("a\nb", b"x")], "is no name of a file"),
        (vec![the_record(), of(EntryType::Symlink, "kernel")], "kernel is no plain file"),
        (vec![the_record(), of(EntryType::Link, "kernel")], "kernel is no plain file"),
        (vec![the_record(), of(EntryType::Char, "kernel")], "kernel is no plain file"),
        (vec![the_record(), of(EntryType::Fifo, "kernel")], "kernel is no plain file"),
        (vec![the_record(), of(EntryType::GNULongName, "kernel")], "kernel is no plain file"),
        (vec![the_record(), of(EntryType::GNUSparse, "kernel")], "kernel is no plain file"),
        // Whole by its record, and no snapshot all the same.
        (vec![the_record(), kernel(), state()], "ram-index"),
    ] {
        let said = said(&entries);
        assert!(said.contains(why), "{why}: {said}");
    }
    let mut many: Vec<Made> = (0..5000).map(|_| of(EntryType::Directory, "./")).collect();
    many.insert(0, the_record());
    assert!(said(&many).contains("too many"));
    let mut header = vec![the_record()];
    header.push(Made { kind: EntryType::XHeader, name: "x", data: vec![b'1'; 100_000] });
    assert!(said(&header).contains("is no plain file"));
}

/// What tools add when they pack it again.
#[test]
fn an_archive_may_have_been_packed_again() {
    let dot = || Made { kind: EntryType::Directory, name: "./", data: vec![] };
    let times =
        || Made { kind: EntryType::XHeader, name: "PaxHeaders/x", data: b"20 mtime=17.1234567\n".to_vec() };
    let entries = [
        dot(),
        times(),
        plain("./snapshot.json", &record().to_json().unwrap()),
        times(),
        plain("./state", b"state"),
        plain("./kernel", b"code"),
    ];
    // All of it was found.
    assert!(said(&entries).contains("ram-index"), "{}", said(&entries));
}

#[test]
fn what_was_cut_or_goes_on_is_refused() {
    let whole = packed(&[the_record(), plain("kernel", b"code"), plain("state", b"state")]);
    for length in (0..whole.len() - 1024).step_by(97) {
        said_of_tar(&whole[..length], None);
    }
    let more = [&whole[..], b"more"].concat();
    assert!(said_of_tar(&more, None).contains("something follows"));
    let padded = [&whole[..], &[0; 20 << 10]].concat();
    assert!(said_of_tar(&padded, None).contains("ram-index"), "blocks of tools are no harm");
    let mut changed = whole.clone();
    changed[100] ^= 1;
    assert!(said_of_tar(&changed, None).contains("is damaged"));
    let (_folder, snapshots) = place();
    for other in [&b""[..], b"PK\x03\x04", &whole] {
        let error = import(&snapshots, other, None, &mut Unwatched).unwrap_err();
        assert!(error.to_string().contains("tar archive compressed with zstd"), "{error}");
    }
    let mut packed = zstd::bulk::compress(&whole, 1).unwrap();
    packed.truncate(packed.len() - 3);
    let error = messages::in_words(&import(&snapshots, &packed[..], None, &mut Unwatched).unwrap_err());
    assert!(error.contains("the archive was cut or is damaged"), "{error}");
}

struct Unwanted;

impl Watch for Unwanted {
    fn stage(&mut self, _what: &str) {}
    fn bytes(&mut self, _done: u64, _all: Option<u64>) {}
    fn note(&mut self, _what: &str) {}
    fn is_cancelled(&self) -> bool {
        true
    }
}

#[test]
fn what_nobody_wants_leaves_nothing() {
    let (folder, snapshots) = place();
    let whole = packed(&[the_record(), plain("kernel", b"code"), plain("state", b"state")]);
    let error = import_tar(&snapshots, &whole[..], None, &mut Unwanted).unwrap_err();
    assert!(matches!(error, ArchiveError::Cancelled));
    assert!(!folder.path().join("snapshots/web1").exists());
}
