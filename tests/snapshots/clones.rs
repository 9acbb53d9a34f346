//! `yagura clone`: VMs that outlive the command, and what is left where one comes to nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::monitor::{Engine, on_each_engine};
use crate::place::{Place, count};

on_each_engine!(clones_go_on_each_as_a_vm_of_its_own,);

/// The next count of a clone whose serial port is a socket.
fn next_count(socket: &mut UnixStream) -> u8 {
    socket.write_all(b"x").unwrap();
    let mut byte = [0];
    socket.read_exact(&mut byte).unwrap();
    byte[0]
}

fn clones_go_on_each_as_a_vm_of_its_own(engine: Engine) {
    let place = Place::new();
    let disk = place.disk("disk", b"one");
    let mut web1 = place.counting(engine, "web1", &["--disk", &format!("path={}", disk.display())]);
    assert_eq!(count(&mut web1, 3), [1, 2, 3]);
    assert_eq!(place.ask("snapshot create web1 a").0, 0);

    let sockets = place.0.path().join("console-");
    let console = format!("socket={}{{name}}", sockets.display());
    let engine = engine.name();
    let clone = format!("clone web1/a b c d --engine {engine} --console {console}");
    let (status, said) = place.ask(&clone);
    assert_eq!(status, 0, "{said}");
    assert_eq!(said.lines().filter(|line| line.ends_with("goes on from web1/a")).count(), 3, "{said}");
    let mut clones =
        ["b", "c", "d"].map(|name| UnixStream::connect(format!("{}{name}", sockets.display())).unwrap());
    for (ahead, clone) in clones.iter_mut().enumerate() {
        for expected in 4..5 + ahead as u8 {
            assert_eq!(next_count(clone), expected, "each counts by itself");
        }
    }
    assert_eq!(count(&mut web1, 1), [4]);
    let disks = ["b", "c", "d"].map(|name| place.info(name)["disks"][0]["path"].as_str().unwrap().to_owned());
    assert!(disks.iter().all(|path| path.ends_with("/disk-root.qcow2")) && disks[0] != disks[1], "{disks:?}");

    place.bad("clone web1/a b", 1, "runs already");
    place.bad("delete b", 4, "runs; stop it first");
    place.bad("snapshot delete web1/a", 1, "was restored from it");
    // A snapshot of a clone has what the clone has never touched, too.
    assert_eq!(place.ask("snapshot create b s").0, 0);
    place.good("stop --force b c d");
    let listed = place.json("list --format json");
    let row = listed.as_array().unwrap().iter().find(|row| row["name"] == "b").unwrap().clone();
    assert_eq!((&row["state"], &row["image"]), (&"stopped".into(), &"snapshot web1/a".into()));
    place.bad("clone web1/a b", 1, "was restored before");
    let (status, said) = place.ask(&format!("clone b/s e --engine {engine} --console {console}"));
    assert_eq!(status, 0, "{said}");
    let mut e = UnixStream::connect(format!("{}e", sockets.display())).unwrap();
    assert_eq!(next_count(&mut e), 5);
    place.good("reset e");
    let mut byte = [0];
    e.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!", "by the kernel that the snapshot has");
    place.good("stop --force e");
    place.good("delete e");
    place.good("snapshot delete b/s");
    place.good("delete b c d");
    place.good("snapshot delete web1/a");
    assert_eq!(fs::read_dir(place.folder().join("restored")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_cloned_is_refused_in_a_line_and_leaves_nothing() {
    let place = Place::new();
    let mut web1 = place.counting(Engine::Soft, "web1", &["--net", "unplugged"]);
    assert_eq!(count(&mut web1, 1), [1]);
    assert_eq!(place.ask("snapshot create web1 a").0, 0);
    for (text, status, words) in [
        ("clone web1/b x", 3, "VM web1 has no snapshot b"),
        ("clone web1/a x x", 1, "x is given twice"),
        ("clone web1/a web1", 1, "runs already"),
        ("clone web1/a x y --net tap=t0", 1, "put {name} where it differs"),
        ("clone web1/a x y --net tap=t{name},mac=52:54:00:00:00:01", 1, "cannot all have the MAC address"),
        ("clone web1/a x --net tap=t0 --net tap=t1", 1, "--net is given 2 times"),
        ("clone web1/a x --net tap=t0,id=lan", 1, "leave it out"),
        ("clone web1/a x --net tp=t0", 1, "did you mean 'tap'"),
        ("clone web1/a x y --console file=/tmp/log", 1, "would share one place"),
        ("clone web1/a x --console stdio", 1, "a clone has no terminal"),
    ] {
        let (found, said) = place.ask(text);
        let line = said.lines().last().unwrap_or_default();
        assert!(line.contains(words) && found == status, "{text}: {found} {said}");
        assert!(!place.folder().join("restored/x").exists(), "{text}");
    }
    // The process of a clone says why it came to nothing, and nothing is left of it; the other one runs.
    let occupied = place.0.path().join("console-x");
    fs::create_dir(&occupied).unwrap();
    let console = format!("socket={}/console-{{name}}", place.0.path().display());
    let (status, said) = place.ask(&format!("clone web1/a x y --engine soft --console {console}"));
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("VM x: ") && said.contains("console-x") && said.contains("VM y goes on"), "{said}");
    assert!(!place.folder().join("restored/x").exists());
    place.good("stop --force y");
    place.good("delete y");
    let ram = place.snapshot("web1/a").join("ram");
    let mut bytes = fs::read(&ram).unwrap();
    let at = bytes.iter().position(|byte| *byte != 0).unwrap();
    bytes[at] ^= 1;
    fs::write(&ram, bytes).unwrap();
    place.bad("clone web1/a x", 1, "its RAM is damaged");
    assert!(!place.folder().join("restored/x").exists());
}
