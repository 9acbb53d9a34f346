//! Records and folders: what is there is whole, and what is wrong is told in one line.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod chain;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const UUID: &str = "0b54a1f6-6a43-4b5c-9c0a-1f2e3d4c5b6a";

fn id(text: &str) -> SnapshotId {
    text.parse().unwrap()
}

fn record(id: &SnapshotId) -> Record {
    let file = |name: &str| FileName::try_from(name.to_owned()).unwrap();
    let (version, program, architecture) = Record::writer();
    let kernel = KeptFile { name: file("kernel"), size_bytes: 4, crc32c: Some(crc32c::crc32c(b"code")) };
    Record {
        version,
        program,
        architecture,
        name: id.name.clone(),
        vm: id.vm.clone(),
        uuid: UUID.to_owned(),
        created_s: 1_796_074_310,
        description: "before the upgrade".to_owned(),
        expires_s: None,
        engine: "soft".to_owned(),
        cpus: 1,
        memory_bytes: 64 << 20,
        ram_bytes: 8192,
        base: None,
        compressed: false,
        pause_us: 1200,
        boot: KeptBoot { kernel: file("kernel"), initrds: vec![], modules: vec![] },
        disks: vec![],
        cards: vec![],
        virtio_console: false,
        merge: false,
        on_reset: Default::default(),
        on_panic: Default::default(),
        files: vec![kernel],
    }
}

fn fill(folder: &Path, record: &Record) {
    fs::write(folder.join("kernel"), "code").unwrap();
    fs::write(folder.join(RECORD), record.to_json().unwrap()).unwrap();
}

fn make(snapshots: &Snapshots, text: &str) -> Snapshot {
    let staging = snapshots.begin(&id(text)).unwrap();
    fill(staging.folder(), &record(&id(text)));
    staging.keep().unwrap()
}

fn place() -> (TempDir, Snapshots) {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path());
    (folder, snapshots)
}

fn names(snapshots: &Snapshots) -> Vec<String> {
    let names = snapshots.names(&"web1".parse().unwrap()).unwrap();
    names.iter().map(|name| name.to_string()).collect()
}

/// What was written under version 1 is read, and written, for ever.
#[test]
fn a_record_of_version_1() {
    let kept = include_bytes!("../states/snapshot-1.json");
    let record = Record::from_json(Path::new(RECORD), kept).unwrap();
    assert_eq!((record.id(), record.disks.len(), record.cpus), (id("web1/before-upgrade"), 2, 2));
    assert_eq!(String::from_utf8(record.to_json().unwrap()).unwrap(), String::from_utf8_lossy(kept));
}

#[test]
fn names_are_of_one_form() {
    assert_eq!(id("web1/before-upgrade").to_string(), "web1/before-upgrade");
    for bad in ["web1", "web1/", "/a", "web1/a/b", "web1/..", "../x", "Web1/a", "web1/A"] {
        assert!(bad.parse::<SnapshotId>().is_err(), "{bad}");
    }
    let error = "Nightly!".parse::<SnapshotName>().unwrap_err().0;
    assert!(error.contains("not a name for a snapshot") && error.contains("'nightly'"), "{error}");
    for bad in ["", ".", "..", ".new", "a/b", "a\0", "ä", &"x".repeat(97)] {
        assert!(FileName::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

#[test]
fn a_snapshot_is_there_when_it_is_kept_and_gone_when_it_is_deleted() {
    let (folder, snapshots) = place();
    assert_eq!(names(&snapshots), [] as [&str; 0]);
    let made = make(&snapshots, "web1/a");
    assert_eq!(snapshots.open(&id("web1/a")).unwrap().record, made.record);
    made.check().unwrap();
    assert!(matches!(snapshots.begin(&id("web1/a")), Err(SnapshotError::Exists(_))));
    make(&snapshots, "web1/b");
    assert_eq!(names(&snapshots), ["a", "b"]);
    let error = snapshots.open(&id("web1/aa")).unwrap_err().to_string();
    assert_eq!(error, "VM web1 has no snapshot aa; see 'yagura snapshot list web1'");
    assert!(snapshots.open(&id("db/a")).unwrap_err().to_string().ends_with("; it has none"));
    for name in ["web1/a", "web1/b"] {
        snapshots.delete(&id(name)).unwrap();
        assert!(matches!(snapshots.delete(&id(name)), Err(SnapshotError::Missing { .. })));
    }
    assert_eq!(fs::read_dir(folder.path().join("snapshots")).unwrap().count(), 0);
}

#[test]
fn what_is_not_kept_leaves_nothing_and_what_was_killed_is_removed() {
    let (folder, snapshots) = place();
    let vm = folder.path().join("snapshots/web1");
    let staging = snapshots.begin(&id("web1/a")).unwrap();
    fs::write(staging.folder().join("ram"), "half").unwrap();
    assert!(matches!(snapshots.begin(&id("web1/b")), Err(SnapshotError::Busy(_))));
    assert!(snapshots.begin(&id("web2/b")).is_ok(), "another VM's is its own");
    drop(staging);
    assert!(!vm.exists());
    // Without a record it is none.
    assert!(snapshots.begin(&id("web1/a")).unwrap().keep().is_err());
    assert!(!vm.exists());
    make(&snapshots, "web1/a");
    for leftover in [".new-1", ".new-2", ".gone"] {
        fs::create_dir(vm.join(leftover)).unwrap();
        fs::write(vm.join(leftover).join("ram"), "half").unwrap();
    }
    assert_eq!(names(&snapshots), ["a"]);
    make(&snapshots, "web1/b");
    let hidden = fs::read_dir(&vm)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
    fs::create_dir(vm.join(".gone")).unwrap();
    snapshots.delete(&id("web1/b")).unwrap();
    assert!(!vm.join(".gone").exists());
}

#[test]
fn what_has_expired_is_found() {
    let (_folder, snapshots) = place();
    let vm = "web1".parse().unwrap();
    make(&snapshots, "web1/kept");
    let staging = snapshots.begin(&id("web1/old")).unwrap();
    fill(staging.folder(), &Record { expires_s: Some(100), ..record(&id("web1/old")) });
    staging.keep().unwrap();
    assert_eq!(snapshots.expired(&vm, 99).unwrap(), []);
    assert_eq!(snapshots.expired(&vm, 100).unwrap(), [id("web1/old")]);
}

#[test]
fn what_others_build_upon_stays() {
    let (folder, snapshots) = place();
    let made = make(&snapshots, "web1/a");
    let restored = snapshots.restored(&"copy".parse().unwrap());
    restored.make(&Origin { snapshot: id("web1/a") }).unwrap();
    let error = snapshots.delete(&id("web1/a")).unwrap_err().to_string();
    assert!(
        error.contains("VM copy was restored from it") && error.contains("'yagura delete copy'"),
        "{error}"
    );
    restored.remove().unwrap();
    let staging = snapshots.begin(&id("copy/b")).unwrap();
    let file = FileName::try_from("kernel".to_owned()).unwrap();
    let backing = KeptBacking {
        name: "x".to_owned(),
        file: None,
        path: Some(made.folder().join("disk-root.qcow2").display().to_string()),
    };
    let disk = KeptDisk {
        id: "disk-root".parse().unwrap(),
        file,
        format: vm_spec::DiskFormat::Qcow2,
        size_bytes: 512,
        block_size: None,
        readonly: false,
        on_error: Default::default(),
        kept: Keeping::Copied,
        path: "/srv/a.img".to_owned(),
        backing: Some(backing),
    };
    fill(staging.folder(), &Record { disks: vec![disk], ..record(&id("copy/b")) });
    staging.keep().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    for snapshots in [&snapshots, &Snapshots::new(&link)] {
        let error = snapshots.delete(&id("web1/a")).unwrap_err().to_string();
        assert!(error.contains("snapshot copy/b build upon it"), "{error}");
    }
    snapshots.delete(&id("copy/b")).unwrap();
    snapshots.delete(&id("web1/a")).unwrap();
}

#[test]
fn a_folder_of_a_restored_vm_is_its_maker_s_and_what_it_builds_upon_has_to_be_known() {
    let (folder, snapshots) = place();
    make(&snapshots, "web1/a");
    let restored = snapshots.restored(&"copy".parse().unwrap());
    let origin = Origin { snapshot: id("web1/a") };
    restored.make(&origin).unwrap();
    let disk = restored.folder().join("disk-root.qcow2");
    fs::write(&disk, "disk").unwrap();
    assert!(restored.make(&origin).is_err(), "it is somebody else's");
    assert_eq!(restored.disks().unwrap(), [disk]);
    // Nothing in it, and nothing that is a folder, builds upon anything yet; what cannot be read may.
    fs::create_dir(folder.path().join("restored/begun")).unwrap();
    fs::write(folder.path().join("restored/plain"), "").unwrap();
    fs::write(restored.folder().join("origin.json"), "{").unwrap();
    let error = snapshots.delete(&id("web1/a")).unwrap_err().to_string();
    assert!(error.contains("origin.json") && error.contains("it ends too early"), "{error}");
    restored.remove().unwrap();
    snapshots.delete(&id("web1/a")).unwrap();
}

#[test]
fn a_file_that_somebody_left_is_in_nobody_s_way() {
    let (folder, snapshots) = place();
    make(&snapshots, "web1/a");
    fs::write(folder.path().join("snapshots/web1/.DS_Store"), "x").unwrap();
    make(&snapshots, "web1/b");
    assert_eq!(names(&snapshots), ["a", "b"]);
    // Of what is no file no end need come.
    let fifo = folder.path().join("snapshots/web1/a/kernel");
    fs::remove_file(&fifo).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    assert!(snapshots.open(&id("web1/a")).unwrap().check().is_err());
    fs::remove_file(folder.path().join("snapshots/web1/a").join(RECORD)).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        folder.path().join("snapshots/web1/a").join(RECORD),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    assert!(snapshots.open(&id("web1/a")).is_err());
}

#[test]
fn what_is_not_whole_is_refused_in_one_line() {
    let (_folder, snapshots) = place();
    let made = make(&snapshots, "web1/a");
    let path = made.folder().join(RECORD);
    let good = fs::read_to_string(&path).unwrap();
    let said = |text: &str| {
        fs::write(&path, text).unwrap();
        let error = messages::in_words(&snapshots.open(&id("web1/a")).unwrap_err());
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    for (from, to, why) in [
        ("\"version\": 1", "\"version\": 3", "in version 3; this program reads version 2, use a newer one"),
        ("\"version\": 1", "\"version\": 2", "it builds upon another one, or not"),
        ("x86_64", "riscv64", "a machine of architecture riscv64, and this one is x86_64"),
        ("\"vm\": \"web1\"", "\"vm\": \"db\"", "holds snapshot db/a; it was renamed or copied by hand"),
        ("\"kernel\": \"kernel\"", "\"kernel\": \"../../kernel\"", "no name of a file in a snapshot"),
        ("\"kernel\": \"kernel\"", "\"kernel\": \"initrd\"", "a file is used that it does not list"),
        ("\"name\": \"kernel\"", "\"name\": \"snapshot.json\"", "it names itself"),
        (UUID, "x", "its UUID is none"),
        ("\"cpus\": 1", "\"cpus\": \"one\"", "no record of a snapshot"),
        ("{", "", "no record of a snapshot"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert!(changed != good, "{from}");
        let error = said(&changed);
        assert!(error.contains(why), "{to}: {error}");
    }
    assert!(said("").contains("no record of a snapshot"));
    assert!(said(&" ".repeat(2 << 20)).contains("cannot read"));
    fs::write(&path, &good).unwrap();
    let kernel = made.folder().join("kernel");
    for (text, why) in [("codes", "has 5 bytes and should have 4"), ("cone", "is damaged")] {
        fs::write(&kernel, text).unwrap();
        let error = snapshots.open(&id("web1/a")).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    // What is a link leads elsewhere, whatever it leads to.
    fs::remove_file(&kernel).unwrap();
    std::os::unix::fs::symlink(&path, &kernel).unwrap();
    assert!(made.check().is_err());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("kernel", &path).unwrap();
    assert!(snapshots.open(&id("web1/a")).is_err());
}
