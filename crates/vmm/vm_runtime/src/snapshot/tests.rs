//! Snapshots of machines on a scripted engine: what is in the folder, what is refused, and the way back.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use disk::{BackingName, CreateOptions};
use guest_memory::{Bytes, GuestAddress};
use snapshot_files::Snapshot;
use test_guests::guests::{self, LOAD_ADDRESS};
use vcpu_model::fake::FakeEngine;
use vm_control::SnapshotTaken;
use vm_spec::{OnReset, VmSpec};

use super::Opened;
use crate::tests::{Sleeping, listening, sleeping, spec};
use crate::{Options, Outcome};

const UUID: &str = "0b54a1f6-6a43-4b5c-9c0a-1f2e3d4c5b6a";

fn order(folder: &Path, vm: &str, compress: bool) -> String {
    let folder = folder.display();
    format!(r#"{{"folder":"{folder}","vm":"{vm}","name":"a","uuid":"{UUID}","compress":{compress}}}"#)
}

/// A machine with a raw disk and an overlay, in `folder`; they are made if they are not there.
fn with_disks(folder: &Path) -> VmSpec {
    if !folder.join("raw").exists() {
        fs::write(folder.join("raw"), [1; 4096]).unwrap();
        fs::write(folder.join("base"), [2; 65536]).unwrap();
        let backing = BackingName { path: "base".to_owned(), format: Some("raw".to_owned()) };
        let options = CreateOptions { backing: Some(backing), ..CreateOptions::new(65536) };
        disk::create_qcow2(&folder.join("overlay"), &options).unwrap();
    }
    let path =
        |name: &str, rest: &str| format!("path={}{rest}", folder.join(name).display()).parse().unwrap();
    VmSpec {
        disks: vec![path("raw", ""), path("overlay", ",format=qcow2")],
        ..spec(folder, OnReset::Restart)
    }
}

fn start(folder: &Path, restore: Option<PathBuf>) -> Sleeping {
    let socket = folder.join("control");
    let options = Options { restore, ..listening(&socket) };
    let (engine, spare) = (FakeEngine::default(), tempfile::tempdir().unwrap());
    Sleeping::start(engine, with_disks(folder), options, socket, spare)
}

fn stop(vm: Sleeping) {
    vm.ask("PUT", "/stop");
    assert!(matches!(vm.running.join().unwrap().unwrap(), Outcome::Killed));
}

#[test]
fn a_snapshot_has_everything_and_the_machine_goes_back_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let vm = start(at, None);
    for (name, compress) in [("plain", false), ("packed", true)] {
        let target = at.join(name);
        fs::create_dir(&target).unwrap();
        let (status, body) = vm.order("PUT", "/snapshot", &order(&target, "test", compress));
        assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
        let taken: SnapshotTaken = serde_json::from_str(&body).unwrap();
        assert!(taken.pause_us > 0 && taken.ram_bytes > 0 && taken.ram_bytes < 4 << 20, "{taken:?}");
        let snapshot = Snapshot::at(&target).unwrap();
        snapshot.check().unwrap();
        let disks = &snapshot.record.disks;
        assert_eq!([disks[0].file.as_str(), disks[1].file.as_str()], ["disk-root.raw", "disk1.qcow2"]);
        assert_eq!(disks[1].backing.as_ref().unwrap().name, "base");
        assert_eq!(taken.notes, [] as [String; 0]);
        let opened = Opened::verify(&target).unwrap();
        let memory = opened.ram(false).unwrap();
        let mut code = vec![0; guests::hello().len()];
        memory.slots().read_slice(&mut code, GuestAddress(LOAD_ADDRESS.into())).unwrap();
        assert_eq!(code, guests::hello(), "RAM is what it was");
        assert_eq!(vm.state()["state"], "running");
    }
    let raw = fs::File::options().write(true).open(at.join("raw")).unwrap();
    raw.write_all_at(&[9; 512], 0).unwrap();
    fs::remove_file(at.join("base")).unwrap();
    fs::write(at.join("base"), [2; 65536]).unwrap();
    for name in ["plain", "packed"] {
        let back = format!(r#"{{"folder":"{}"}}"#, at.join(name).display());
        assert_eq!(vm.order("PUT", "/restore", &back).0, "HTTP/1.1 200 OK");
        assert_eq!(fs::read(at.join("raw")).unwrap(), [1; 4096]);
        assert_eq!(vm.state()["state"], "running");
    }
    assert_eq!(vm.state()["resets"], 0);
    stop(vm);
    let vm = start(at, Some(at.join("packed")));
    assert_eq!(vm.state()["state"], "running");
    stop(vm);
    let names = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.starts_with('.')), "nothing is left");
}

#[test]
fn a_machine_without_what_the_snapshot_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vm = start(folder.path(), None);
    let target = folder.path().join("a");
    fs::create_dir(&target).unwrap();
    assert_eq!(vm.order("PUT", "/snapshot", &order(&target, "test", false)).0, "HTTP/1.1 200 OK");
    stop(vm);
    let other = sleeping();
    let back = format!(r#"{{"folder":"{}"}}"#, target.display());
    let (status, body) = other.order("PUT", "/restore", &back);
    assert!(status.contains("500") && body.contains("the machine is not the one of the snapshot"), "{body}");
    assert_eq!(other.state()["state"], "running");
    stop(other);
}

/// Orders that make no sense are refused in a line, and the guest runs on.
#[test]
fn orders_are_seen_to() {
    let vm = sleeping();
    let folder = tempfile::tempdir().unwrap();
    let empty = format!(r#"{{"folder":"{}"}}"#, folder.path().display());
    for (path, body, status, words) in [
        ("/snapshot", "", "400", "Bad Request"),
        ("/snapshot", "[]", "400", "Bad Request"),
        ("/restore", "{}", "400", "folder"),
        ("/restore", r#"{"folder":"/nowhere"}"#, "500", "cannot open /nowhere/snapshot.json"),
        ("/restore", &empty, "500", "snapshot.json"),
        ("/snapshot", &order(Path::new("/nowhere"), "web1", false), "500", "/nowhere"),
        ("/snapshot", &order(folder.path(), "a/b", false), "500", "not a name for a VM"),
    ] {
        let (line, answer) = vm.order("PUT", path, body);
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words),
            "{path} {body}: {answer}"
        );
        assert_eq!(answer.lines().count(), 1);
        assert_eq!(vm.state()["state"], "running");
    }
    stop(vm);
}

/// A vCPU that cannot be saved: no snapshot, and the guest goes on.
#[test]
fn a_machine_that_cannot_stand_still_has_no_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let engine = FakeEngine::default();
    let (spec, options) = (spec(folder.path(), OnReset::Restart), listening(&socket));
    let vm = Sleeping::start(engine.clone(), spec, options, socket, tempfile::tempdir().unwrap());
    engine.refuse_to_settle(true);
    let target = folder.path().join("a");
    fs::create_dir(&target).unwrap();
    let (status, _) = vm.order("PUT", "/snapshot", &order(&target, "test", false));
    assert!(status.contains("500"), "{status}");
    assert!(Snapshot::at(&target).is_err());
    assert_eq!(vm.state()["state"], "running");
    engine.refuse_to_settle(false);
    fs::remove_dir_all(&target).unwrap();
    fs::create_dir(&target).unwrap();
    assert!(vm.order("PUT", "/snapshot", &order(&target, "test", false)).0.contains("200"));
    stop(vm);
}
