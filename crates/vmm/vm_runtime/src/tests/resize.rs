//! Disks that become longer while the machine runs.

use std::fs::File;

use super::*;

const MIB: u64 = 1 << 20;

/// A machine with a disk of 1 MiB, and the disk's path.
fn with_disk() -> (Sleeping, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, path) = (folder.path().join("control"), folder.path().join("disk"));
    File::create(&path).unwrap().set_len(MIB).unwrap();
    let disk = format!("path={},block-size=4096", path.display()).parse().unwrap();
    let spec = VmSpec { disks: vec![disk], ..spec(folder.path(), OnReset::Restart) };
    let options = listening(&socket);
    (Sleeping::start(FakeEngine::default(), spec, options, socket, folder), path)
}

/// Status code, class and detail of an answer.
fn resize(vm: &Sleeping, body: &str) -> (u64, String, String) {
    let (status, body) = vm.order("PUT", "/resize-disk", body);
    let code = status.split(' ').nth(1).unwrap().parse().unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (code, text("class"), text("detail"))
}

fn size_bytes(vm: &Sleeping) -> u64 {
    vm.state()["disks"][0]["size_bytes"].as_u64().unwrap()
}

#[test]
fn a_disk_grows_and_the_next_power_cycle_has_it() {
    let (vm, path) = with_disk();
    let done = (200, String::new(), String::new());
    assert_eq!(resize(&vm, r#"{"disk":"disk-root","size_bytes":2097152}"#), done);
    assert_eq!((size_bytes(&vm), fs::metadata(&path).unwrap().len()), (2 * MIB, 2 * MIB));
    vm.ask("PUT", "/reset");
    assert_eq!((vm.state()["resets"].as_u64(), size_bytes(&vm)), (Some(1), 2 * MIB));
    vm.ask("PUT", "/pause");
    let more = r#"{"disk":"disk-root","size_bytes":3145728,"from_bytes":2097152,"a_newer_field":1}"#;
    assert_eq!(resize(&vm, more), done);
    assert_eq!((size_bytes(&vm), &vm.state()["state"]), (3 * MIB, &"paused".into()));
    let (code, class, why) = resize(&vm, more);
    assert_eq!((code, class.as_str()), (409, "busy"));
    assert_eq!(why, "disk disk-root has become 3 MiB long meanwhile; ask again");
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_in_a_line_and_changes_nothing() {
    let (vm, path) = with_disk();
    for (body, words) in [
        ("", "takes a body such as"),
        ("{", "takes a body such as"),
        (r#"{"disk":"disk-root"}"#, "takes a body such as"),
        (r#"{"disk":"disk-root","size_bytes":-1}"#, "takes a body such as"),
        (r#"{"disk":"serial0","size_bytes":2097152}"#, "it has no disk 'serial0' (there are disk-root)"),
        (r#"{"disk":"","size_bytes":2097152}"#, "it has no disk ''"),
        (r#"{"disk":"a\nb","size_bytes":2097152}"#, "it has no disk 'a"),
        (r#"{"disk":"disk-root","size_bytes":0}"#, "has 1 MiB; making it smaller"),
        (r#"{"disk":"disk-root","size_bytes":1048577}"#, "blocks of 4096 bytes"),
        (r#"{"disk":"disk-root","size_bytes":1049088}"#, "blocks of 4096 bytes"),
    ] {
        let (code, class, why) = resize(&vm, body);
        assert_eq!((code, class.as_str()), (400, "invalid"), "{body}: {why}");
        assert!(why.contains(words) && !why.contains(char::is_control), "{body}: {why}");
    }
    let (code, class, why) = resize(&vm, r#"{"disk":"disk-root","size_bytes":18446744073709547520}"#);
    assert_eq!((code, class.as_str()), (500, "host"), "{why}");
    assert_eq!((size_bytes(&vm), fs::metadata(&path).unwrap().len()), (MIB, MIB));
    vm.ask("PUT", "/stop");
    vm.running.join().unwrap().unwrap();
}
