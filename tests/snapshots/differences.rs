//! Snapshots that build upon others: `snapshot create --base`, `flatten`, and what becomes of those that are built upon.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::archive::{AFTER_MS, killed};
use crate::monitor::{Engine, Monitor};
use crate::place::{Place, count};

/// A VM with snapshots `a`, `b` upon it, and `c`, compressed, upon that; it counted to 2, 4 and 6.
fn three(place: &Place, engine: Engine) -> Monitor {
    let disk = place.disk("disk", b"one");
    let mut web1 = place.counting(engine, "web1", &["--disk", &format!("path={}", disk.display())]);
    for (name, rest) in [("a", ""), ("b", "--base a"), ("c", "--base b --compress")] {
        count(&mut web1, 2);
        place.done(&format!("snapshot create web1 {name} {rest}"));
    }
    web1
}

fn goes_on_from(place: &Place, engine: Engine, id: &str, last: u8) {
    let mut copy = place.restored(engine, id, "copy", &["--rm"]);
    assert_eq!(count(&mut copy, 2), [last + 1, last + 2], "{id}");
    place.good("stop --force copy");
    copy.wait();
}

pub fn snapshots_build_upon_others_until_they_are_flattened(engine: Engine) {
    let place = Place::new();
    let mut web1 = three(&place, engine);
    let rows = place.json("snapshot list web1 --json");
    let kept = |at: usize| rows[at]["ram_bytes"].as_u64().unwrap();
    assert!(kept(1) > 0 && kept(1) < kept(0) && kept(2) < kept(0), "{rows}");
    assert_eq!([&rows[1]["base"], &rows[2]["base"]], ["a", "b"]);
    let (_, table) = place.ask("snapshot info web1/c");
    assert!(table.contains("b and 1 more, ") && table.contains("of memory kept there"), "{table}");
    for (id, last) in [("web1/a", 2), ("web1/b", 4), ("web1/c", 6)] {
        goes_on_from(&place, engine, id, last);
    }
    place.good("snapshot restore web1 b");
    assert_eq!(count(&mut web1, 1), [5]);
    place.good("snapshot restore web1 c");
    assert_eq!(count(&mut web1, 1), [7]);
    // One of what goes on from a difference, upon what that is.
    place.done("snapshot create web1 d --base c");
    goes_on_from(&place, engine, "web1/d", 7);
    place.good("snapshot delete web1/d");

    place.bad("snapshot delete web1/a", 1, "'yagura snapshot flatten web1/b' makes that whole by itself");
    // On another host it needs nothing.
    let file = place.0.path().join("c.tar.zst");
    place.done(&format!("snapshot export web1/c {}", file.display()));
    let there = Place::new();
    there.done(&format!("snapshot import {}", file.display()));
    assert_eq!(there.json("snapshot info web1/c --json")["base"], serde_json::Value::Null);
    goes_on_from(&there, engine, "web1/c", 6);

    // While a VM runs on what it was.
    let mut copy = place.restored(engine, "web1/b", "other", &[]);
    assert_eq!(count(&mut copy, 1), [5]);
    place.done("snapshot flatten web1/b");
    assert!(place.done("snapshot flatten web1/b").contains("snapshot web1/b builds upon no other one"));
    place.good("snapshot delete web1/a");
    assert_eq!(count(&mut copy, 2), [6, 7]);
    for (id, last) in [("web1/b", 4), ("web1/c", 6)] {
        goes_on_from(&place, engine, id, last);
    }
    place.bad("snapshot delete web1/b", 1, "VM other was restored from it");
    place.good("stop --force other");
    copy.wait();
    place.good("delete other");
    place.done("snapshot flatten web1/c");
    place.good("snapshot delete web1/b");
    goes_on_from(&place, engine, "web1/c", 6);
    assert_eq!(place.leftovers(), [] as [String; 0]);
}

#[test]
fn what_a_snapshot_builds_upon_has_to_be_there() {
    let place = Place::new();
    let mut web1 = three(&place, Engine::Soft);
    place.bad("snapshot create web1 d --base x", 3, "VM web1 has no snapshot x");
    // One that has expired is wanted still.
    for (name, rest) in [("old", "--expires 0s"), ("new", "--base old")] {
        place.done(&format!("snapshot create web1 {name} {rest}"));
    }
    assert!(place.done("snapshot create web1 d").contains("snapshot web1/old has expired and stays"));
    place.good("snapshot delete web1/new web1/old web1/d");
    let ram = place.snapshot("web1/a").join("ram");
    let change = |byte: u8| {
        File::options().write(true).open(&ram).unwrap().write_all_at(&[byte], 0x20_0fff).unwrap();
    };
    let mut was = [0];
    File::open(&ram).unwrap().read_exact_at(&mut was, 0x20_0fff).unwrap();
    change(was[0] ^ 1);
    let damaged = "its RAM is damaged at guest address 0x200000";
    place.bad("snapshot restore web1 c", 1, damaged);
    place.bad_in_the_end("snapshot flatten web1/b", damaged);
    place.bad("snapshot create web1 d --base a", 1, damaged);
    change(was[0]);
    fs::rename(place.snapshot("web1/a"), place.snapshot("web1/away")).unwrap();
    let gone = "snapshot web1/b builds upon web1/a, which is not there any more";
    place.bad("snapshot restore web1 c", 1, gone);
    place.bad("run --restore web1/c --name copy", 1, gone);
    place.bad("snapshot create web1 d --base b", 1, gone);
    place.bad_in_the_end("snapshot flatten web1/c", gone);
    fs::rename(place.snapshot("web1/away"), place.snapshot("web1/a")).unwrap();
    assert_eq!(count(&mut web1, 1), [7], "it runs on as it was");
    // A machine of that name with other RAM.
    place.good("stop --force web1");
    web1.wait();
    let kernel = place.snapshot("web1/a").join("kernel");
    let arguments = ["--name", "web1", "--memory", "32M", "--kernel", kernel.to_str().unwrap()];
    let web1 = Monitor::start_with(tempfile::tempdir().unwrap(), &place.folder(), Engine::Soft, &arguments);
    assert_eq!(web1.receive(), b'!');
    place.bad(
        "snapshot create web1 d --base a",
        1,
        "with more or less RAM than this one has now; leave out --base",
    );
    assert_eq!(place.leftovers(), [] as [String; 0]);
}

#[test]
fn one_who_flattens_is_killed() {
    let place = Place::new();
    let mut web1 = three(&place, Engine::Soft);
    for after in AFTER_MS {
        killed(&place, "snapshot flatten web1/c", after);
        assert_eq!(place.ask("snapshot info web1/c").0, 0);
        place.good("snapshot restore web1 c");
        assert_eq!(count(&mut web1, 1), [7]);
        if place.json("snapshot info web1/c --json")["base"].is_null() {
            place.good("snapshot delete web1/c");
            place.good("snapshot restore web1 b");
            count(&mut web1, 2);
            place.done("snapshot create web1 c --base b --compress");
        }
    }
    place.done("snapshot flatten web1/c");
    assert_eq!(place.leftovers(), [] as [String; 0]);
}
