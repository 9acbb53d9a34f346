//! Whoever makes a snapshot, or the VM, is killed: the snapshot is there, whole, or nothing is.

use std::time::Duration;

use crate::monitor::Engine;
use crate::place::{Place, count};

/// After so long; the last ones are behind the end on an idle machine.
const AFTER_MS: [u64; 10] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256];

#[test]
fn one_who_makes_a_snapshot_is_killed() {
    let place = Place::new();
    let disk = place.disk("disk", &[7; 300_000]);
    let mut web1 = place.counting(Engine::Soft, "web1", &["--disk", &format!("path={}", disk.display())]);
    let mut last = count(&mut web1, 1)[0];
    for (round, after) in AFTER_MS.into_iter().enumerate() {
        let mut creating = place.command(&format!("snapshot create web1 s{round}")).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        creating.kill().unwrap();
        creating.wait().unwrap();
        last += 1;
        assert_eq!(count(&mut web1, 1), [last], "the guest runs on");
        let rows = place.json("snapshot list web1 --json");
        let is_there = rows.as_array().unwrap().iter().any(|row| row["name"] == format!("s{round}"));
        if is_there {
            assert_eq!(place.ask(&format!("snapshot info web1/s{round}")).0, 0);
        }
    }
    // The VM may still be at the last one.
    let mut made = place.ask("snapshot create web1 last");
    for _ in 0..100 {
        if made.0 == 0 {
            break;
        }
        assert!(made.0 == 4 && made.1.contains("is being made"), "{made:?}");
        std::thread::sleep(Duration::from_millis(100));
        made = place.ask("snapshot create web1 last");
    }
    assert_eq!(made.0, 0, "{made:?}");
    assert_eq!(place.leftovers(), [] as [String; 0]);
    let mut copy = place.restored(Engine::Soft, "web1/last", "copy", &[]);
    assert_eq!(count(&mut copy, 1), [last + 1]);
}

#[test]
fn a_vm_is_killed_while_it_writes_a_snapshot() {
    let place = Place::new();
    for after in AFTER_MS {
        let mut web1 = place.counting(Engine::Soft, "web1", &[]);
        count(&mut web1, 1);
        let creating = place.command("snapshot create web1 a").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        web1.signal("KILL");
        web1.wait();
        let made = creating.wait_with_output().unwrap().status.success();
        assert_eq!(place.snapshot("web1/a").exists(), made);
        assert_eq!(place.leftovers(), [] as [String; 0]);
        if made {
            let mut copy = place.restored(Engine::Soft, "web1/a", "copy", &["--rm"]);
            assert_eq!(count(&mut copy, 1), [2]);
            place.good("stop --force copy");
            copy.wait();
            place.good("snapshot delete web1/a");
        }
    }
}

/// Nobody waits for a snapshot for ever, and none is made of two machines.
#[test]
fn a_reset_ends_a_snapshot_or_comes_behind_it() {
    let place = Place::new();
    let mut web1 = place.counting(Engine::Soft, "web1", &[]);
    for round in 0..6u64 {
        count(&mut web1, 5);
        let creating = place.command("snapshot create web1 a").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 5));
        place.good("reset web1");
        assert_eq!(web1.receive(), b'!');
        if creating.wait_with_output().unwrap().status.success() {
            let mut copy = place.restored(Engine::Soft, "web1/a", "copy", &["--rm"]);
            let first = count(&mut copy, 1)[0];
            assert!(first == 6 || first == 1, "{first}");
            place.good("stop --force copy");
            copy.wait();
            place.good("snapshot delete web1/a");
        }
        assert_eq!(place.leftovers(), [] as [String; 0]);
    }
}
