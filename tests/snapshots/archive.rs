//! `yagura snapshot export`, `import`: a snapshot in one file, and what others leave of it when they are killed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::monitor::Engine;
use crate::place::{Place, count};

/// A qcow2 disk on a qcow2 disk on a raw one, that begins with `bytes`.
fn chain(place: &Place, bytes: &[u8]) -> PathBuf {
    place.disk("raw", bytes);
    for (name, behind, format) in [("middle", "raw", "raw"), ("top", "middle", "qcow2")] {
        let backing = disk::BackingName { path: behind.to_owned(), format: Some(format.to_owned()) };
        let options = disk::CreateOptions { backing: Some(backing), ..disk::CreateOptions::new(1 << 20) };
        disk::create_qcow2(&place.0.path().join(name), &options).unwrap();
    }
    place.0.path().join("top")
}

/// The first bytes of a qcow2 disk that builds upon nothing.
fn start_of(path: &Path) -> Vec<u8> {
    let info = disk::info(path, disk::DiskFormat::Qcow2, disk::RawContents::Any).unwrap();
    assert_eq!(info.qcow2.unwrap().backing, None);
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    let options = disk::ConvertOptions {
        from: disk::DiskFormat::Qcow2,
        contents: disk::RawContents::Any,
        policy: disk::BackingPolicy::Refuse,
        to: None,
        compress: false,
    };
    disk::convert(path, &raw, &options, |_, _| ()).unwrap();
    fs::read(raw).unwrap()[..3].to_vec()
}

#[test]
fn a_snapshot_goes_to_another_host_in_a_file() {
    let here = Place::new();
    let (one, two) = (here.disk("disk", b"one"), chain(&here, b"two"));
    // An overlay on a raw file: that is in the snapshot by a second name.
    let backing = disk::BackingName { path: "disk".to_owned(), format: Some("raw".to_owned()) };
    let options = disk::CreateOptions { backing: Some(backing), ..disk::CreateOptions::new(1 << 20) };
    let three = here.0.path().join("three");
    disk::create_qcow2(&three, &options).unwrap();
    let option = |path: &Path, rest: &str| format!("path={}{rest}", path.display());
    let disks = [option(&two, ",format=qcow2"), option(&three, ",format=qcow2"), option(&one, ",readonly")];
    let mut web1 =
        here.counting(Engine::Soft, "web1", &["--disk", &disks[0], "--disk", &disks[1], "--disk", &disks[2]]);
    assert_eq!(count(&mut web1, 3), [1, 2, 3]);
    let out = tempfile::tempdir().unwrap();
    for (name, rest) in [("a", "--description first"), ("b", "--compress --expires 0s")] {
        assert_eq!(here.ask(&format!("snapshot create web1 {name} {rest}")).0, 0);
        let file = out.path().join(name);
        here.done(&format!("snapshot export web1/{name} {}", file.display()));
        here.bad(&format!("snapshot export web1/{name} {}", file.display()), 1, "exists already");
        let metadata = fs::metadata(&file).unwrap();
        assert!(metadata.len() < 1 << 20 && metadata.mode() & 0o777 == 0o600, "{metadata:?}");
        lists(&file);
    }
    let a = out.path().join("a");
    // Beside what is there, and back to it.
    here.bad(&format!("snapshot import {}", a.display()), 1, "snapshot web1/a exists already");
    assert_eq!(count(&mut web1, 2), [4, 5]);
    let said = here.done(&format!("snapshot import {} web1/c", a.display()));
    assert!(said.ends_with("yagura: snapshot web1/c is here\n"), "{said}");
    here.good("snapshot restore web1 c");
    assert_eq!(count(&mut web1, 1), [4]);
    here.good("stop --force web1");
    web1.wait();
    assert_eq!([start_of(&two), start_of(&three)], [b"two", b"one"]);
    drop(here);

    let there = Place::new();
    for (name, id) in [("a", "web1/a"), ("b", "new/b")] {
        let path = out.path().join(name);
        let named = if id == "web1/a" { "" } else { id };
        there.done(&format!("snapshot import {} {named}", path.display()));
        let info = there.json(&format!("snapshot info {id} --json"));
        assert_eq!(
            (&info["expired"], &info["disks"][0]["backing"]),
            (&false.into(), &serde_json::Value::Null)
        );
        assert!(info["room_bytes"].as_u64().unwrap() < 8 << 20, "holes are holes again: {info}");
        let mut copy = there.restored(Engine::Soft, id, "copy", &["--rm"]);
        assert_eq!(count(&mut copy, 1), [4]);
        there.good("stop --force copy");
        copy.wait();
        assert_eq!(start_of(&there.snapshot(id).join("disk-root.qcow2")), b"two");
    }
    assert_eq!(there.leftovers(), [] as [String; 0]);
    through_a_pipe(&there);
}

fn lists(file: &Path) {
    let listed = Command::new("tar").args(["--zstd", "-tvf"]).arg(file).output();
    let Ok(listed) = listed.inspect_err(|error| println!("SKIPPED: tar: {error}")) else { return };
    let (names, said) = (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
    if said.contains("zstd: Cannot exec") {
        println!("SKIPPED: {said}");
        return;
    }
    assert!(listed.status.success(), "{said}");
    assert!(
        names.lines().next().unwrap().ends_with("snapshot.json") && names.contains("disk-root.qcow2"),
        "{names}"
    );
}

fn through_a_pipe(there: &Place) {
    let other = Place::new();
    let mut from = there.command("snapshot export web1/a -").stdout(Stdio::piped()).spawn().unwrap();
    let archive = from.stdout.take().unwrap();
    let done = other.command("snapshot import - piped/a").stdin(archive).output().unwrap();
    assert!(
        done.status.success() && from.wait().unwrap().success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let mut copy = other.restored(Engine::Soft, "piped/a", "copy", &[]);
    assert_eq!(count(&mut copy, 1), [4]);
}

/// After so long; the last ones are behind the end on an idle machine.
pub const AFTER_MS: [u64; 8] = [0, 4, 16, 32, 64, 128, 256, 512];

#[test]
fn one_who_writes_or_reads_an_archive_is_killed() {
    let place = Place::new();
    let disk = place.disk("disk", &[7; 300_000]);
    let mut web1 = place.counting(Engine::Soft, "web1", &["--disk", &format!("path={}", disk.display())]);
    count(&mut web1, 1);
    assert_eq!(place.ask("snapshot create web1 a").0, 0);
    let file = place.0.path().join("a.tar.zst");
    for after in AFTER_MS {
        killed(&place, &format!("snapshot export web1/a {}", file.display()), after);
        assert_eq!(place.leftovers(), [] as [String; 0]);
        if file.exists() {
            place.done(&format!("snapshot import {} copy/e{after}", file.display()));
            fs::remove_file(&file).unwrap();
        }
    }
    place.done(&format!("snapshot export web1/a {}", file.display()));
    for after in AFTER_MS {
        killed(&place, &format!("snapshot import {} copy/i{after}", file.display()), after);
        let is_there = place.snapshot(&format!("copy/i{after}")).exists();
        let (status, said) = place.ask(&format!("snapshot info copy/i{after}"));
        assert_eq!(status == 0, is_there, "{said}");
    }
    place.done(&format!("snapshot import {} copy/last", file.display()));
    assert_eq!(place.leftovers(), [] as [String; 0]);
    let mut copy = place.restored(Engine::Soft, "copy/last", "copy", &[]);
    assert_eq!(count(&mut copy, 1), [2]);
}

pub fn killed(place: &Place, command: &str, after_ms: u64) {
    let mut child = place.command(command).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(after_ms));
    child.kill().unwrap();
    child.wait().unwrap();
}
