//! `yagura snapshot`, `yagura run --restore` and `yagura clone`: guests that count in their memory, and disks.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod archive;
mod clones;
mod damaged;
mod differences;
mod hostile;
mod killed;
#[path = "../monitor/mod.rs"]
mod monitor;
mod place;
mod random;

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use differences::snapshots_build_upon_others_until_they_are_flattened;
use monitor::{Engine, on_each_engine};
use place::{Place, count};
use serde_json::Value;

on_each_engine!(
    a_vm_goes_back_and_another_goes_on_from_there,
    a_guest_that_writes_all_the_time_loses_nothing,
    a_chain_of_disks_stays_whole,
    a_paused_vm_stays_paused,
    snapshots_build_upon_others_until_they_are_flattened,
);

fn a_vm_goes_back_and_another_goes_on_from_there(engine: Engine) {
    let place = Place::new();
    let disk = place.disk("disk", b"one");
    let mut web1 = place.counting(engine, "web1", &["--disk", &format!("path={}", disk.display())]);
    assert_eq!(count(&mut web1, 3), [1, 2, 3]);
    let (status, said) = place.ask("snapshot create web1 a --description first");
    assert!(status == 0 && said.contains("snapshot web1/a: ") && said.contains("stood still for"), "{said}");
    place.bad("snapshot create web1 a", 1, "snapshot web1/a exists already");
    assert_eq!(count(&mut web1, 2), [4, 5], "it runs on");
    fs::File::options().write(true).open(&disk).unwrap().write_all_at(b"two", 0).unwrap();
    let made = place.json("snapshot create web1 b --compress --json --expires 7d");
    assert_eq!((&made["name"], &made["compressed"]), (&"b".into(), &true.into()));

    let mut copy = place.restored(engine, "web1/a", "copy", &[]);
    let mut other = place.restored(engine, "web1/b", "other", &[]);
    assert_eq!(count(&mut copy, 2), [4, 5], "from where it was");
    assert_eq!(count(&mut other, 1), [6]);
    assert_eq!(count(&mut web1, 1), [6], "and the first knows nothing of it");
    let kept = |name: &str| {
        fs::read(place.folder().join("snapshots/web1").join(name).join("disk-root.raw")).unwrap()
    };
    assert_eq!([&kept("a")[..3], &kept("b")[..3]], [b"one", b"two"]);
    assert_eq!(place.info("copy")["disks"][0]["format"], "qcow2");

    place.good("snapshot restore web1 a");
    assert_eq!(&fs::read(&disk).unwrap()[..3], b"one");
    assert_eq!(count(&mut web1, 1), [4]);
    place.good("snapshot restore web1 b");
    assert_eq!(&fs::read(&disk).unwrap()[..3], b"two");
    assert_eq!(count(&mut web1, 2), [6, 7]);
    assert_eq!(place.leftovers(), [] as [String; 0]);
    // After a reset it is the machine that it was.
    place.good("reset web1");
    assert_eq!(web1.receive(), b'!');
    assert_eq!(count(&mut web1, 1), [1]);
    place.good("reset copy");
    assert_eq!(copy.receive(), b'!', "by the kernel that the snapshot has");

    place.bad("snapshot delete web1/a", 1, "VM copy was restored from it");
    place.good("stop --force copy other");
    assert_eq!(copy.wait().code(), Some(10));
    place.good("delete copy other");
    place.good("snapshot delete web1/a web1/b");
    place.bad("snapshot delete web1/a", 3, "VM web1 has no snapshot a; it has none");
    assert!(!place.folder().join("snapshots/web1").exists());
    assert_eq!(fs::read_dir(place.folder().join("restored")).unwrap().count(), 0);
}

/// The guest counts while its memory is copied; each count has a page of its own.
fn a_guest_that_writes_all_the_time_loses_nothing(engine: Engine) {
    let place = Place::new();
    let mut web1 = place.counting(engine, "web1", &[]);
    let mut before = count(&mut web1, 50)[49];
    for round in 0..5 {
        let name = format!("s{round}");
        let mut creating = place.command(&format!("snapshot create web1 {name}")).spawn().unwrap();
        let mut last = before;
        while creating.try_wait().unwrap().is_none() {
            last = count(&mut web1, 1)[0];
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(creating.wait().unwrap().success());
        let mut copy = place.restored(engine, &format!("web1/{name}"), "copy", &["--rm"]);
        let first = count(&mut copy, 1)[0];
        // Somewhere between where it was when the snapshot began and where it was when that was done.
        let (counted, at_most) = (first.wrapping_sub(before), last.wrapping_sub(before).saturating_add(1));
        assert!((1..=at_most).contains(&counted), "{before} {first} {last}");
        place.good("stop --force copy");
        assert_eq!(copy.wait().code(), Some(10));
        assert!(!place.folder().join("restored/copy").exists(), "--rm");
        before = last;
    }
}

/// An overlay's name for what is behind it leads from its own folder; what is behind it may be removed.
fn a_chain_of_disks_stays_whole(engine: Engine) {
    let place = Place::new();
    let base = place.disk("base", b"base");
    let folder = place.0.path().join("vm");
    fs::create_dir(&folder).unwrap();
    let overlay = folder.join("root.qcow2");
    let backing = disk::BackingName { path: "../base".to_owned(), format: Some("raw".to_owned()) };
    let options = disk::CreateOptions { backing: Some(backing), ..disk::CreateOptions::new(1 << 20) };
    disk::create_qcow2(&overlay, &options).unwrap();
    let option = format!("path={},format=qcow2", overlay.display());
    let mut web1 = place.counting(engine, "web1", &["--disk", &option]);
    assert_eq!(count(&mut web1, 1), [1]);
    assert_eq!(place.ask("snapshot create web1 a").0, 0);
    place.good("snapshot restore web1 a");
    assert_eq!(count(&mut web1, 1), [2]);
    place.good("stop --force web1");
    assert_eq!(web1.wait().code(), Some(10));
    let named =
        |path| disk::info(path, disk::DiskFormat::Qcow2, disk::RawContents::Any).unwrap().qcow2.unwrap();
    assert_eq!(named(&overlay).backing.unwrap().path, "../base", "the disk names it as it did");
    fs::remove_file(&base).unwrap();
    let mut copy = place.restored(engine, "web1/a", "copy", &[]);
    assert_eq!(count(&mut copy, 1), [2]);
    // A snapshot of what builds upon a snapshot.
    assert_eq!(place.ask("snapshot create copy b").0, 0);
    place.good("stop --force copy");
    place.good("delete copy");
    place.bad("snapshot delete web1/a", 1, "the disks of snapshot copy/b build upon it; delete that first");
    let mut again = place.restored(engine, "copy/b", "again", &[]);
    assert_eq!(count(&mut again, 1), [3]);
}

fn a_paused_vm_stays_paused(engine: Engine) {
    let place = Place::new();
    let mut web1 = place.counting(engine, "web1", &[]);
    assert_eq!(count(&mut web1, 2), [1, 2]);
    place.good("pause web1");
    assert_eq!(place.ask("snapshot create web1 a").0, 0);
    assert_eq!(place.info("web1")["state"], "paused");
    place.good("snapshot restore web1 a");
    assert_eq!(place.info("web1")["state"], "running");
    assert_eq!(count(&mut web1, 1), [3]);
}

#[test]
fn a_guest_goes_on_on_the_other_engine() {
    if monitor::skipped() {
        return;
    }
    for (first, second) in [(Engine::Soft, Engine::Kvm), (Engine::Kvm, Engine::Soft)] {
        let place = Place::new();
        let mut web1 = place.counting(first, "web1", &["--cpu-model", "x86-64-v1"]);
        assert_eq!(count(&mut web1, 3), [1, 2, 3]);
        assert_eq!(place.ask("snapshot create web1 a").0, 0);
        let mut copy = place.restored(second, "web1/a", "copy", &[]);
        copy.send(b"x");
        // What the KVM of this host cannot give a guest that began elsewhere is told.
        if copy.ended_within_a_while() {
            let said = copy.said();
            assert!(said.contains("cannot give on this host"), "{said}");
            println!("SKIPPED: from {first:?} to {second:?}: {said}");
            continue;
        }
        assert_eq!(copy.receive(), 4, "from {first:?} to {second:?}");
    }
}

#[test]
fn snapshots_are_shown() {
    let place = Place::new();
    assert_eq!(place.json("snapshot list --json"), Value::Array(vec![]));
    let (_, said) = place.ask("snapshot list web1");
    assert!(said.contains("'yagura snapshot create NAME SNAP' makes one"), "{said}");
    let mut web1 = place.counting(Engine::Soft, "web1", &[]);
    count(&mut web1, 1);
    assert_eq!(place.ask("snapshot create web1 a --expires 0s --description one").0, 0);
    let rows = place.json("snapshot list -f json");
    assert_eq!(
        (&rows[0]["vm"], &rows[0]["name"], &rows[0]["expired"]),
        (&"web1".into(), &"a".into(), &true.into())
    );
    assert!(rows[0]["room_bytes"].as_u64().unwrap() < 4 << 20, "holes stay holes: {rows}");
    let info = place.json("snapshot info web1/a --json");
    assert_eq!(
        (&info["cpus"], &info["memory_bytes"], &info["engine"]),
        (&1.into(), &(64u64 << 20).into(), &"soft".into())
    );
    let (_, table) = place.ask("snapshot info web1/a");
    assert!(table.contains("has expired") && table.contains("64 MiB"), "{table}");
    // The next one takes it away, and says so.
    let (status, said) = place.ask("snapshot create web1 b");
    assert!(status == 0 && said.contains("snapshot web1/a had expired and was removed"), "{said}");
    assert_eq!(place.json("snapshot list web1 --json")[0]["name"], "b");
    place.bad("snapshot info web1/a", 3, "VM web1 has no snapshot a; see 'yagura snapshot list web1'");
    place.bad("snapshot create web2 a", 3, "no VM web2 is running; did you mean 'web1'?");
    place.bad("snapshot restore web1 c", 3, "VM web1 has no snapshot c");
    place.bad("snapshot create web1 A", 2, "did you mean 'a'?");
    place.bad("snapshot info web1", 2, "write NAME/SNAP");
    place.bad("run --restore web1/b --cpus 2", 1, "--cpus is not for a VM that goes on from a snapshot");
    place.bad("run --restore web1/b --name web1", 1, "VM web1 runs already");
    assert!(!place.folder().join("restored").exists());
}
