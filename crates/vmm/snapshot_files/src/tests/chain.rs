//! Snapshots that build upon others: found, refused, kept from being deleted, and made whole.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};

use super::*;
use crate::ram::{PageSet, RamLayout, RamWriter, compress, difference};

fn uuid(name: &str) -> String {
    // A digit of its own.
    UUID.replacen('0', &name.len().to_string(), 1)
}

fn memory() -> GuestMemory {
    let range = GpaRange { start: GuestAddress(0), size_bytes: 64 << 20 };
    GuestMemory::allocate(&[range], Policy { huge_pages: false, ..Policy::default() }).unwrap()
}

/// A snapshot of `memory` that builds upon `base`, as a VM's process writes it.
fn keep(
    snapshots: &Snapshots,
    memory: &GuestMemory,
    name: &str,
    base: Option<&str>,
    packed: bool,
) -> Snapshot {
    let id = id(&format!("web1/{name}"));
    let base = base.map(|name| snapshots.open(&super::id(&format!("web1/{name}"))).unwrap());
    let staging = snapshots.begin(&id).unwrap();
    let create = |name: &str| {
        let file = File::options().read(true).write(true).create_new(true).open(staging.folder().join(name));
        file.unwrap()
    };
    let plain = tempfile::tempfile().unwrap();
    plain.set_len(64 << 20).unwrap();
    let mut writer = RamWriter::new(plain.try_clone().unwrap(), RamLayout::of(memory));
    writer.write(memory, &PageSet::touched(memory).unwrap()).unwrap();
    let (mut ram, mut index) = writer.finish();
    if let Some(base) = &base {
        let to = tempfile::tempfile().unwrap();
        to.set_len(64 << 20).unwrap();
        index = difference(&index, ram, &base.ram_layers().unwrap(), &to).unwrap();
        ram = to;
    }
    let file = create(RAM);
    if packed {
        index = compress(&index, ram, &file).unwrap();
    } else {
        host_sys::file_copy::copy_file(&ram, &file).unwrap();
    }
    let bytes = index.to_bytes().unwrap();
    fs::write(staging.folder().join(RAM_INDEX), &bytes).unwrap();
    let base = base.map(|base| KeptBase { name: base.record.name.clone(), uuid: base.record.uuid });
    let mut record = Record {
        version: Record::version_for(base.as_ref()),
        base,
        uuid: uuid(name),
        compressed: packed,
        ram_bytes: index.data_bytes(),
        ..record(&id)
    };
    let listed = |name: &str, size_bytes, crc32c| KeptFile {
        name: FileName::try_from(name.to_owned()).unwrap(),
        size_bytes,
        crc32c,
    };
    record.files.push(listed(RAM, index.file_bytes(), None));
    record.files.push(listed(RAM_INDEX, bytes.len() as u64, Some(crc32c::crc32c(&bytes))));
    fill(staging.folder(), &record);
    staging.keep().unwrap()
}

/// What a snapshot's RAM comes to, by way of all it builds upon.
fn contents(snapshot: &Snapshot) -> Vec<u8> {
    let memory = memory();
    for one in snapshot.chain().unwrap().iter() {
        let index = one.ram_index().unwrap();
        one.ram(&index).unwrap().restore(&memory).unwrap();
    }
    all_of(&memory)
}

fn all_of(memory: &GuestMemory) -> Vec<u8> {
    let mut all = vec![0; 1 << 20];
    memory.slots().read_slice(&mut all, GuestAddress(0)).unwrap();
    all
}

/// `a`, `bb` on it, `ccc` on that, and what their RAM was.
fn three(snapshots: &Snapshots) -> (GuestMemory, Vec<(Snapshot, Vec<u8>)>) {
    let memory = memory();
    let mut made = Vec::new();
    for (at, (name, base)) in [("a", None), ("bb", Some("a")), ("ccc", Some("bb"))].into_iter().enumerate() {
        memory.slots().write_slice(&[at as u8 + 1; 4096], GuestAddress(0x1000 * (at as u64 + 1))).unwrap();
        if at == 2 {
            memory.slots().write_slice(&[0; 4096], GuestAddress(0x1000)).unwrap();
        }
        made.push((keep(snapshots, &memory, name, base, at == 1), all_of(&memory)));
    }
    (memory, made)
}

#[test]
fn each_has_what_it_was_and_what_is_built_upon_stays() {
    let (_folder, snapshots) = place();
    let (_memory, made) = three(&snapshots);
    for (snapshot, ram) in &made {
        snapshot.verify().unwrap();
        assert!(contents(snapshot) == *ram);
    }
    assert_eq!(made[2].0.record.ram_bytes, 4096);
    let error = snapshots.delete(&id("web1/a")).unwrap_err().to_string();
    assert!(
        error.contains("snapshot web1/bb has only what differs from it")
            && error.contains("'yagura snapshot flatten web1/bb'"),
        "{error}"
    );
    let kernel = |snapshot: &Snapshot| fs::metadata(snapshot.folder().join("kernel")).unwrap().ino();
    let before = kernel(&made[1].0);
    for name in ["web1/bb", "web1/ccc"] {
        assert!(snapshots.flatten(&id(name), &mut messages::unwatched).unwrap());
        assert!(!snapshots.flatten(&id(name), &mut messages::unwatched).unwrap(), "it is whole");
    }
    // Whoever had a file of it open has the same one.
    assert_eq!(kernel(&snapshots.open(&id("web1/bb")).unwrap()), before);
    snapshots.delete(&id("web1/a")).unwrap();
    for (snapshot, ram) in &made[1..] {
        let now = snapshots.open(&snapshot.record.id()).unwrap();
        now.verify().unwrap();
        assert!(now.record.base.is_none() && now.record.version == 1 && contents(&now) == *ram);
        assert_eq!(now.record.compressed, snapshot.record.compressed);
        assert_eq!(
            (&now.record.uuid, now.record.ram_bytes),
            (&snapshot.record.uuid, now.ram_index().unwrap().data_bytes())
        );
    }
    assert_eq!(names(&snapshots), ["bb", "ccc"]);
}

#[test]
fn a_base_that_is_not_what_it_was_is_refused() {
    let (folder, snapshots) = place();
    let (memory, made) = three(&snapshots);
    let at = folder.path().join("snapshots/web1");
    let said = |name: &str| {
        let error = snapshots.open(&id(name)).unwrap().verify().unwrap_err();
        let flat = snapshots.flatten(&id(name), &mut messages::unwatched).unwrap_err();
        let said = messages::in_words(&error);
        assert_eq!((said.lines().count(), &messages::in_words(&flat)), (1, &said));
        said
    };
    let ram = File::options().write(true).open(at.join("a/ram")).unwrap();
    ram.write_all_at(&[9], 0x1234).unwrap();
    assert_eq!(said("web1/ccc"), "snapshot a: its RAM is damaged at guest address 0x1000");
    ram.write_all_at(&[1], 0x1234).unwrap();
    made[2].0.verify().unwrap();
    fs::rename(at.join("a"), at.join("aa")).unwrap();
    assert_eq!(said("web1/bb"), "snapshot web1/bb builds upon web1/a, which is not there any more");
    keep(&snapshots, &memory, "a", None, false);
    let path = at.join("a").join(RECORD);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&uuid("a"), UUID)).unwrap();
    assert!(said("web1/bb").ends_with("and what has that name now is another one"), "{}", said("web1/bb"));
    snapshots.delete(&id("web1/a")).unwrap();
    fs::rename(at.join("aa"), at.join("a")).unwrap();
    // One that builds upon itself has no end.
    let path = at.join("bb").join(RECORD);
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replace("\"name\": \"a\"", "\"name\": \"bb\"").replace(&uuid("a"), &uuid("bb"));
    fs::write(&path, changed).unwrap();
    assert!(said("web1/bb").contains("more than 63 others"), "{}", said("web1/bb"));
    // A record that says nothing of it.
    let record: Record = Record { version: 1, base: None, ..made[1].0.record.clone() };
    fs::write(&path, record.to_json().unwrap()).unwrap();
    let error = snapshots.open(&id("web1/bb")).unwrap().verify().unwrap_err().to_string();
    assert!(error.contains("do not agree on whether it builds upon another one"), "{error}");
    assert!(
        fs::read_dir(&at).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.'))
    );
}

#[test]
fn one_that_nobody_waits_for_stays_as_it_was() {
    let (_folder, snapshots) = place();
    let (_memory, made) = three(&snapshots);
    let mut unwanted = |_, _| std::ops::ControlFlow::Break(());
    let error = snapshots.flatten(&id("web1/ccc"), &mut unwanted).unwrap_err();
    assert!(matches!(error, SnapshotError::Cancelled));
    assert_eq!(snapshots.open(&id("web1/ccc")).unwrap().record, made[2].0.record);
    made[2].0.verify().unwrap();
}

/// What was written under version 2 is read, and written, for ever.
#[test]
fn a_record_of_version_2() {
    let kept = include_bytes!("../../states/snapshot-2.json");
    let record = Record::from_json(Path::new(RECORD), kept).unwrap();
    assert_eq!(record.base.as_ref().unwrap().name.as_str(), "monday");
    assert_eq!(String::from_utf8(record.to_json().unwrap()).unwrap(), String::from_utf8_lossy(kept));
}
