//! `yagura disk` as a person uses it, and a guest's way to its images.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod folder;

use std::fs;
use std::path::Path;
use std::process::Command;

use folder::Folder;
use serde_json::Value;
use test_guests::{guests, pvh_elf};

impl Folder {
    #[track_caller]
    fn good(&self, text: &str) -> String {
        let output = self.run(text);
        assert!(output.status.success() && output.stderr.is_empty(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, text: &str) -> Value {
        serde_json::from_str(&self.good(text)).unwrap()
    }
}

fn some_data(path: &Path, bytes: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..bytes).map(|at| (at / 512 % 7 * 41) as u8).collect();
    fs::write(path, &data).unwrap();
    data
}

#[test]
fn a_disk_is_made_enlarged_checked_and_described() {
    let folder = Folder::new();
    assert_eq!(folder.good("disk create a.qcow2 --size 10G --cluster-size 128K"), "");
    assert!(fs::metadata(folder.path("a.qcow2")).unwrap().len() < 1 << 20);
    let info = folder.json("disk info a.qcow2 --disk-format qcow2 -f json");
    assert_eq!(
        (&info["size_bytes"], &info["qcow2"]["cluster_bytes"]),
        (&(10u64 << 30).into(), &131072.into())
    );
    folder.good("disk resize a.qcow2 11G --disk-format qcow2");
    let check = folder.json("disk check a.qcow2 -f json");
    assert_eq!((&check["corruptions"], &check["leaks"]), (&0.into(), &0.into()));
    assert!(check["total_clusters"] == 11u64 << 13, "{check}");
    assert!(folder.good("disk info a.qcow2 --disk-format qcow2").contains("11.0 GiB"));
    folder.good("disk create b.img --size 1M --disk-format raw");
    folder.good("disk resize b.img 2M --disk-format raw");
    assert_eq!(fs::metadata(folder.path("b.img")).unwrap().len(), 2 << 20);
}

#[test]
fn a_disk_survives_conversion_there_and_back() {
    let folder = Folder::new();
    let data = some_data(&folder.path("a.img"), 3 << 20);
    folder.good("disk convert a.img b.qcow2 --from raw --to qcow2 --compress");
    folder.good("disk convert b.qcow2 c.qcow2 --from qcow2 --to qcow2 --cluster-size 512B");
    folder.good("disk convert c.qcow2 d.img --from qcow2 --to raw");
    assert!(fs::read(folder.path("d.img")).unwrap() == data);
    let info = folder.json("disk info b.qcow2 --disk-format qcow2 -f json");
    assert_eq!(info["qcow2"]["compression"], "zstd");
    assert!(info["room_bytes"].as_u64().unwrap() < 1 << 20, "{info}");
    let map = folder.json("disk map b.qcow2 --disk-format qcow2 -f json");
    assert!(map[0]["data"] == true && map[0]["offset_bytes"].is_null(), "{map}");
}

#[test]
fn a_disk_in_front_of_another_shows_it() {
    let folder = Folder::new();
    let data = some_data(&folder.path("a.img"), 1 << 20);
    folder.good("disk create b.qcow2 --backing a.img --backing-format raw");
    folder.good("disk create c.qcow2 --backing b.qcow2 --backing-format qcow2 --size 2M");
    folder.good("disk convert c.qcow2 d.img --from qcow2 --to raw");
    let copy = fs::read(folder.path("d.img")).unwrap();
    assert!(copy[..1 << 20] == data && copy[1 << 20..].iter().all(|byte| *byte == 0));
    let refused = folder.run("disk convert c.qcow2 e.img --from qcow2 --to raw --refuse-backing");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("differs from a backing file"));
    assert!(!folder.path("e.img").exists());
    assert_eq!(folder.json("disk map c.qcow2 --disk-format qcow2 -f json")[0]["depth"], 2);
}

/// Disks that are no raw ones, with the option that would be right for `run` and for `disk convert`.
const DISGUISED: [(&str, &[u8], &str, &str); 5] = [
    ("vhdx", b"vhdxfile", "--from vhdx --to qcow2", "--from vhdx"),
    ("vmdk", b"KDMV", "--from vmdk --to qcow2", "--from vmdk"),
    ("qed", b"QED\0", "qemu-img", "qemu-img"),
    ("parallels", b"WithouFreSpacExt", "qemu-img", "qemu-img"),
    ("gz", b"\x1f\x8b\x08", "unpack it first", "unpack it first"),
];

#[test]
fn no_command_uses_a_disk_of_another_format_as_raw() {
    let folder = Folder::new();
    fs::write(folder.path("kernel"), pvh_elf(guests::hello(), guests::LOAD_ADDRESS)).unwrap();
    folder.good("disk create qcow2 --size 1M");
    let mut disks = vec![("qcow2", "give format=qcow2", "give --from qcow2")];
    for (name, mark, run, convert) in DISGUISED {
        let mut bytes = vec![0; 1 << 20];
        bytes[..mark.len()].copy_from_slice(mark);
        fs::write(folder.path(name), bytes).unwrap();
        disks.push((name, run, convert));
    }
    let run =
        "run --engine soft --kernel kernel --memory 8M --console none --on-reset exit --debug-exit 0xf4";
    for (name, for_run, for_convert) in disks {
        let before = fs::read(folder.path(name)).unwrap();
        for (text, advice, force) in [
            (format!("{run} --disk path={name}"), for_run, "force-raw"),
            (format!("{run} --disk path={name},readonly"), for_run, "force-raw"),
            (format!("disk convert {name} new --from raw --to qcow2"), for_convert, "--force-raw"),
            (format!("disk create new --backing {name} --backing-format raw"), "", "--force-raw"),
            (format!("disk resize {name} 2M --disk-format raw"), "", "--force-raw"),
            (format!("disk info {name} --disk-format raw"), "", "--force-raw"),
            (format!("disk map {name} --disk-format raw"), "", "--force-raw"),
        ] {
            let output = folder.run(&text);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{text}: {said}");
            assert!(said.contains(&format!("disk {name} is said to be raw, and is a")), "{text}: {said}");
            assert!(said.contains(advice), "{text}: {said}");
            assert!(said.ends_with(&format!("add {force}\n")) && said.lines().count() == 1, "{text}: {said}");
            assert!(!folder.path("new").exists(), "{text}");
            let forced =
                if force == "force-raw" { format!("{text},force-raw") } else { format!("{text} {force}") };
            if text.contains("resize") {
                assert!(fs::read(folder.path(name)).unwrap() == before, "{text}");
            }
            let output = folder.run(&forced);
            assert!(output.stderr.is_empty(), "{forced}: {output:?}");
            let _ = fs::remove_file(folder.path("new"));
        }
    }
    let output = folder.run(&format!("{run} --disk path=qcow2,format=qcow2"));
    assert!(output.stderr.is_empty(), "{output:?}");
    let output = folder.run("disk info qcow2 --disk-format qcow2 --force-raw");
    assert!(String::from_utf8(output.stderr).unwrap().contains("--force-raw is for raw disks"));
}

#[test]
fn foreign_disks_are_converted() {
    let folder = Folder::new();
    let data = some_data(&folder.path("a.img"), 3 << 20);
    for (format, of_qemu) in [("vhdx", "vhdx"), ("vmdk", "vmdk"), ("vhd", "vpc"), ("vdi", "vdi")] {
        let mut qemu_img = Command::new("qemu-img");
        qemu_img
            .args(["convert", "-f", "raw", "-O", of_qemu, "a.img", "foreign"])
            .current_dir(folder.0.path());
        match qemu_img.output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(_) => {
                println!("SKIPPED: qemu-img is not installed");
                return;
            }
        }
        folder.good(&format!("disk convert foreign b.img --from {format} --to raw"));
        folder.good(&format!("disk convert foreign b.qcow2 --from {format} --to qcow2 --compress"));
        folder.good("disk convert b.qcow2 c.img --from qcow2 --to raw");
        for name in ["b.img", "c.img"] {
            let copy = fs::read(folder.path(name)).unwrap();
            assert!(copy[..data.len()] == data && copy[data.len()..].iter().all(|byte| *byte == 0), "{name}");
        }
        let output = folder.run(&format!("disk convert foreign b.qcow2 --from {format} --to qcow2"));
        assert!(String::from_utf8_lossy(&output.stderr).contains("b.qcow2 exists already"), "{output:?}");
        let output = folder.run(&format!("disk convert a.img d.img --from {format} --to raw"));
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && line.lines().count() == 1, "{output:?}");
        assert!(line.contains("a.img cannot be read as") && line.contains("does not begin as"), "{line}");
        assert!(!folder.path("d.img").exists(), "what failed leaves nothing behind");
        for name in ["b.img", "b.qcow2", "c.img", "foreign"] {
            fs::remove_file(folder.path(name)).unwrap();
        }
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
    }
}

#[test]
fn the_confined_child_waits_for_nobody() {
    // Somebody types it: standard input is no socket, and there is no order.
    let mut child = Command::new(env!("CARGO_BIN_EXE_yagura"));
    let output = child.arg("confined-import").stdin(std::process::Stdio::null()).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}
