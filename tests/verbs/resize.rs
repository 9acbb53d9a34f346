//! `yagura resize`: a disk grows while its guest uses it.

use std::fs::File;

use super::*;

on_each_engine!(
    a_disk_grows_under_its_guest,
    a_paused_guest_hears_of_it_when_it_goes_on,
    what_cannot_be_is_said_in_a_line_and_changes_nothing,
);

const MIB: u64 = 1 << 20;

/// A machine with a disk of so many MiB at `path`, and with whatever else is said of it.
fn started(place: &Place, engine: Engine, path: &std::path::Path, options: &str) -> Monitor {
    let spec = format!("path={}{options}", path.display());
    let monitor =
        place.start(engine, "web1", guests::disk_writer(), &["--debug-exit", "0xf4", "--disk", &spec]);
    assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
    monitor
}

fn make(path: &std::path::Path, options: &str, size_bytes: u64) {
    if options.contains("qcow2") {
        disk::create_qcow2(path, &disk::CreateOptions::new(size_bytes)).unwrap();
    } else {
        File::create(path).unwrap().set_len(size_bytes).unwrap();
    }
}

/// What the guest answers to commands, a character each.
fn tell(monitor: &mut Monitor, commands: &str) -> String {
    monitor.send(commands.as_bytes());
    commands.chars().map(|_| char::from(monitor.receive())).collect()
}

/// Whether the guest was told of a change of its disk's configuration (VIRTIO 1.2, 4.1.4.5) since it was asked last.
fn is_told(monitor: &mut Monitor) -> bool {
    tell(monitor, "i").as_bytes()[0] & 2 != 0
}

fn size_bytes(place: &Place) -> u64 {
    place.info("web1")["disks"][0]["size_bytes"].as_u64().unwrap()
}

fn a_disk_grows_under_its_guest(engine: Engine) {
    for options in ["", ",format=qcow2"] {
        let place = Place::new();
        let path = place.0.path().join("disk");
        make(&path, options, MIB);
        let mut monitor = started(&place, engine, &path, options);
        assert_eq!(tell(&mut monitor, &"w".repeat(17)), "0".repeat(16) + "1", "the 17th is behind the end");
        assert_eq!((tell(&mut monitor, "cg"), is_told(&mut monitor)), ("10".to_owned(), false));
        place.good("resize web1 disk-root 2M");
        assert_eq!((tell(&mut monitor, "cg"), is_told(&mut monitor)), ("21".to_owned(), true));
        assert_eq!(tell(&mut monitor, "wf"), "00", "what is there now is written");
        assert_eq!(size_bytes(&place), 2 * MIB);
        place.good("resize web1 disk-root +2M");
        assert_eq!(tell(&mut monitor, "cg"), "42");
        // The same length is none, and nobody is told of it.
        place.good("resize web1 disk-root 4M");
        assert_eq!(tell(&mut monitor, "cg"), "42");
        monitor.send(b"z");
        assert_eq!(tell(&mut monitor, &"r".repeat(18)), "0".repeat(16) + "d0", "what was written is there");
        // The next power cycle goes on with the same disk, and the next process with the same file.
        place.good("reset web1");
        assert_eq!(monitor.receive(), b'!');
        assert_eq!(tell(&mut monitor, "cr"), "40");
        assert_eq!(size_bytes(&place), 4 * MIB);
        place.good("stop --force web1");
        assert_eq!(monitor.wait().code(), Some(10));
        let mut monitor = started(&place, engine, &path, options);
        monitor.send(b"z");
        assert_eq!(
            tell(&mut monitor, &("c".to_owned() + &"r".repeat(18))),
            "4".to_owned() + &"0".repeat(16) + "d0"
        );
        place.good("stop --force web1");
        monitor.wait();
        if options.contains("qcow2") {
            assert!(disk::check(&path, disk::DiskFormat::Qcow2, None).unwrap().is_clean());
        }
    }
}

fn a_paused_guest_hears_of_it_when_it_goes_on(engine: Engine) {
    let place = Place::new();
    let path = place.0.path().join("disk");
    make(&path, "", MIB);
    let mut monitor = started(&place, engine, &path, "");
    place.good("pause web1");
    place.good("resize web1 disk-root 3M");
    assert_eq!(size_bytes(&place), 3 * MIB);
    place.good("resize web1 disk-root +1M");
    assert_eq!(size_bytes(&place), 4 * MIB);
    place.good("resume web1");
    assert_eq!((tell(&mut monitor, "cg"), is_told(&mut monitor)), ("41".to_owned(), true), "once for both");
    place.good("stop --force web1");
    assert_eq!(monitor.wait().code(), Some(10));
}

fn what_cannot_be_is_said_in_a_line_and_changes_nothing(engine: Engine) {
    let place = Place::new();
    let path = place.0.path().join("disk");
    let other = place.0.path().join("other");
    make(&path, "", MIB);
    make(&other, "", MIB);
    let (option, data) = (
        format!("path={},block-size=4096", path.display()),
        format!("path={},readonly,id=data", other.display()),
    );
    let disks = ["--disk", &option, "--disk", &data];
    let mut monitor = place.start(engine, "web1", guests::sleeper(), &disks);
    assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
    for (text, status, words) in [
        ("resize web1 root 2M", 1, "VM web1: it has no disk 'root' (there are disk-root, data)"),
        ("resize web1 disk-rot +2M", 1, "did you mean 'disk-root'?"),
        ("resize web1 disk-root 512K", 2, "did you mean 512G?"),
        ("resize web1 disk-root 524288B", 1, "has 1 MiB; making it smaller would cut off what is at its end"),
        ("resize web1 disk-root +512B", 1, "has blocks of 4096 bytes"),
        ("resize web1 data 2M", 1, "is attached as readonly"),
        ("resize web1 disk-root 2", 2, "did you mean 2G?"),
        ("resize web1 disk-root -1M", 2, "-1"),
        ("resize web2 disk-root 2M", 3, "no VM web2 is running; did you mean 'web1'?"),
        ("resize web1 disk-root 4096P", 2, "larger than any"),
    ] {
        let (found, said) = place.ask(text);
        assert!(found == status && said.contains(words), "{text}: {found}, {said}");
    }
    assert_eq!(size_bytes(&place), MIB);
    assert_eq!(fs::metadata(&path).unwrap().len(), MIB);
    // Whoever wants to work on the image by its file is told that it is in use.
    place.bad(
        &format!("disk resize {} 2M --disk-format raw", path.display()),
        1,
        "in use by another machine",
    );
    place.good("stop --force web1");
    assert_eq!(monitor.wait().code(), Some(10));
    place.bad("resize web1 disk-root 2M", 3, "no VM web1 is running");
}

/// A full file system is told, and the guest goes on with the disk as it was.
#[test]
fn a_host_without_room_refuses() {
    let place = Place::new();
    let path = place.0.path().join("disk");
    make(&path, "", MIB);
    let mut monitor = started(&place, Engine::Soft, &path, "");
    let pid = rustix::process::Pid::from_raw(monitor.pid() as i32);
    let limit = |bytes| {
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    };
    limit(Some(2 * MIB));
    place.bad(
        "resize web1 disk-root 3M",
        1,
        "cannot be enlarged: its file may not become longer; raise 'ulimit -f'",
    );
    assert_eq!(tell(&mut monitor, "cgw"), "100");
    limit(None);
    place.good("resize web1 disk-root 3M");
    assert_eq!(tell(&mut monitor, "cg"), "31");
    place.good("stop --force web1");
    monitor.wait();
}
