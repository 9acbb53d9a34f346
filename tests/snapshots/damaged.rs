//! Snapshots that are not as they were: refused in a line, and nothing is changed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::monitor::Engine;
use crate::place::{Place, count};

#[test]
fn a_damaged_snapshot_changes_nothing() {
    let place = Place::new();
    let disk = place.disk("disk", b"one");
    let mut web1 = place.counting(Engine::Soft, "web1", &["--disk", &format!("path={}", disk.display())]);
    count(&mut web1, 2);
    assert_eq!(place.ask("snapshot create web1 a").0, 0);
    let folder = place.snapshot("web1/a");
    let change = |name: &str, at: u64| {
        let file = File::options().read(true).write(true).open(folder.join(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    };
    let mut expected = 2;
    let mut refused = |words: &str, started: &str| {
        place.bad("snapshot restore web1 a", 1, words);
        let mut copy = place.restored(Engine::Soft, "web1/a", "copy", &[]);
        assert_eq!(copy.wait().code(), Some(1));
        assert!(copy.said().lines().count() == 1 && copy.said().contains(started), "{}", copy.said());
        place.ask("delete copy");
        expected += 1;
        assert_eq!(count(&mut web1, 1), [expected], "it runs on as it was");
    };
    // A page that the guest counted in, the state, the index, the kernel.
    change("ram", 0x20_0000);
    refused("its RAM is damaged at guest address 0x200000", "damaged at guest address 0x200000");
    change("ram", 0x20_0000);
    for name in ["state", "ram-index", "kernel"] {
        change(name, 100);
        refused("is damaged", "is damaged");
        change(name, 100);
    }
    let length = fs::metadata(folder.join("disk-root.raw")).unwrap().len();
    for name in ["disk-root.raw", "ram"] {
        let file = File::options().write(true).open(folder.join(name)).unwrap();
        let whole = file.metadata().unwrap().len();
        file.set_len(whole - 512).unwrap();
        refused("was not copied whole", "was not copied whole");
        file.set_len(whole).unwrap();
    }
    assert_eq!(length, 1 << 20);
    fs::rename(folder.join("ram-index"), folder.join("index")).unwrap();
    refused("cannot look at", "cannot look at");
    fs::rename(folder.join("index"), folder.join("ram-index")).unwrap();
    place.good("snapshot restore web1 a");
    assert_eq!(count(&mut web1, 1), [3]);
    assert_eq!(place.leftovers(), [] as [String; 0]);
}

/// Another machine is not brought into the state of this one.
#[test]
fn a_machine_of_other_devices_does_not_go_back() {
    let place = Place::new();
    let mut web1 = place.counting(Engine::Soft, "web1", &[]);
    count(&mut web1, 1);
    assert_eq!(place.ask("snapshot create web1 a").0, 0);
    place.good("stop --force web1");
    web1.wait();
    let disk = place.disk("disk", b"one");
    let mut web1 = place.counting(Engine::Soft, "web1", &["--disk", &format!("path={}", disk.display())]);
    place.bad("snapshot restore web1 a", 1, "the machine is not the one of the snapshot: disk-root is given");
    assert_eq!(count(&mut web1, 1), [1]);
}
