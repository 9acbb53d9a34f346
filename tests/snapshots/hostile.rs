//! Archives of strangers: real ones, of which a part was changed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use tar::{Archive, Builder, Header};

use crate::monitor::Engine;
use crate::place::{Place, count};

/// What is in an archive, in its order.
type Files = Vec<(String, Vec<u8>)>;

fn unpacked(path: &Path) -> Files {
    let mut archive = Archive::new(zstd::stream::read::Decoder::new(File::open(path).unwrap()).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        (entry.path().unwrap().display().to_string(), data)
    };
    archive.entries().unwrap().map(read).collect()
}

fn packed(files: &Files, path: &Path) {
    let output = zstd::stream::write::Encoder::new(File::create(path).unwrap(), 1).unwrap();
    let mut archive = Builder::new(output);
    for (name, data) in files {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, name, &data[..]).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

fn file<'f>(files: &'f mut Files, name: &str) -> &'f mut Vec<u8> {
    &mut files.iter_mut().find(|(found, _)| found == name).unwrap().1
}

fn change_record(files: &mut Files, change: impl FnOnce(&mut Value)) {
    let mut record: Value = serde_json::from_slice(file(files, "snapshot.json")).unwrap();
    change(&mut record);
    *file(files, "snapshot.json") = serde_json::to_vec(&record).unwrap();
}

/// A disk that names a file, of the length of the one in its place.
fn disk_that_names(path: &str, format: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    let backing = disk::BackingName { path: path.to_owned(), format: Some(format.to_owned()) };
    let options = disk::CreateOptions { backing: Some(backing), ..disk::CreateOptions::new(1 << 20) };
    disk::create_qcow2(&at, &options).unwrap();
    fs::read(at).unwrap()
}

#[test]
fn a_stranger_s_archive_reads_no_file_of_the_host_and_is_whole() {
    let place = Place::new();
    let path = place.0.path().join("disk.qcow2");
    disk::create_qcow2(&path, &disk::CreateOptions::new(1 << 20)).unwrap();
    let mut web1 =
        place.counting(Engine::Soft, "web1", &["--disk", &format!("path={},format=qcow2", path.display())]);
    count(&mut web1, 1);
    assert_eq!(place.ask("snapshot create web1 a").0, 0);
    let good = place.0.path().join("good");
    place.done(&format!("snapshot export web1/a {}", good.display()));
    let (files, bad) = (unpacked(&good), place.0.path().join("bad"));
    let said = || {
        let (status, said) = place.ask(&format!("snapshot import {} new/a", bad.display()));
        // Others may tell how long it took.
        let lines = said.lines().filter(|line| !line.ends_with(" s)")).count();
        assert!(status == 1 && lines == 1, "{said}");
        assert!(!place.snapshot("new").exists(), "nothing is left");
        said
    };
    let refused = |why: &str, change: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        change(&mut files);
        packed(&files, &bad);
        let said = said();
        assert!(said.contains(why), "{why}: {said}");
    };
    for (name, format) in [
        ("/etc/shadow", "raw"),
        ("../../../../etc/shadow", "raw"),
        ("json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}}", "raw"),
        ("nbd://127.0.0.1/x", "raw"),
        ("kernel", "raw"),
        ("disk-root.qcow2", "qcow2"),
    ] {
        refused("disk-root.qcow2 builds upon another file", &|files| {
            let disk = disk_that_names(name, format);
            change_record(files, |record| {
                let listed = record["files"].as_array_mut().unwrap();
                let listed = listed.iter_mut().find(|listed| listed["name"] == "disk-root.qcow2").unwrap();
                listed["size_bytes"] = disk.len().into();
            });
            *file(files, "disk-root.qcow2") = disk;
        });
    }
    // By its record, from which a machine's disk would get the name.
    refused("builds upon another file, by the record", &|files| {
        change_record(files, |record| {
            record["disks"][0]["backing"] = json!({"name": "/etc/shadow", "file": "kernel", "path": null});
        });
    });
    // Its data in another file (incompatible feature 2).
    refused("its data in another file", &|files| file(files, "disk-root.qcow2")[79] |= 4);
    refused("does not begin as a qcow2 image does", &|files| file(files, "disk-root.qcow2").fill(0));
    refused("its RAM is damaged at guest address", &|files| file(files, "ram")[0x20_0000] ^= 1);
    refused("its RAM is damaged at guest address", &|files| *file(files, "ram").last_mut().unwrap() = 1);
    refused("kernel is damaged", &|files| file(files, "kernel")[5] ^= 1);
    refused("state is damaged", &|files| file(files, "state")[5] ^= 1);
    refused("is of several machines", &|files| {
        change_record(files, |record| record["cpus"] = 2.into());
    });
    refused("no name of a file in a snapshot", &|files| {
        change_record(files, |record| record["disks"][0]["file"] = "../../x".into());
    });
    refused("not a name for a VM", &|files| {
        change_record(files, |record| record["vm"] = "../../x".into());
    });
    refused("a newer one", &|files| change_record(files, |record| record["version"] = 99.into()));
    // Cut anywhere, and changed anywhere: what comes of it is whole or nothing.
    let whole = fs::read(&good).unwrap();
    for part in 1..12 {
        fs::write(&bad, &whole[..whole.len() * part / 12]).unwrap();
        said();
    }
    fs::write(&bad, [&whole[..], &whole[..]].concat()).unwrap();
    assert!(said().contains("something follows"));
    for part in 0..12 {
        let mut changed = whole.clone();
        let at = (changed.len() - 1) * part / 12;
        changed[at] ^= 0x20;
        fs::write(&bad, changed).unwrap();
        said();
    }
    place.bad("snapshot import /nowhere", 1, "cannot open /nowhere");
    place.bad(&format!("snapshot import {}", place.0.path().display()), 1, "it is a folder");
    place.bad("snapshot import /dev/null", 1, "it has to be a tar archive compressed with zstd");
    place.bad("snapshot export web1/b /nowhere", 3, "VM web1 has no snapshot b");
    place.bad("snapshot export web1/a /nowhere/a", 1, "cannot make /nowhere/a");
    // One that is damaged here is not handed on.
    let ram = place.snapshot("web1/a").join("ram");
    let changed = File::options().write(true).open(ram).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&changed, b"x", 0x20_0001).unwrap();
    let out = place.0.path().join("out");
    place.bad_in_the_end(
        &format!("snapshot export web1/a {}", out.display()),
        "its RAM is damaged at guest address 0x200000",
    );
    assert!(!out.exists());
    assert_eq!(place.leftovers(), [] as [String; 0]);
}
