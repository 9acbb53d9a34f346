//! `yagura attach` and `yagura detach` with a guest that knows no hot-plug.

use std::fs::File;
use std::path::Path;

use super::*;

on_each_engine!(a_disk_comes_and_is_pulled_out, what_cannot_be_attached_or_detached_is_said);

fn make(place: &Place, name: &str) -> PathBuf {
    let path = place.0.path().join(name);
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    path
}

fn is_free(path: &Path) -> bool {
    disk::claim(path).is_ok()
}

fn disks(place: &Place) -> Vec<String> {
    let info = place.info("web1");
    info["disks"].as_array().unwrap().iter().map(|disk| disk["id"].as_str().unwrap().to_owned()).collect()
}

fn a_disk_comes_and_is_pulled_out(engine: Engine) {
    let place = Place::new();
    let (root, data) = (make(&place, "root"), make(&place, "da,ta"));
    let disk = format!("path={}", root.display());
    let mut monitor = place.start(engine, "web1", guests::sleeper(), &["--disk", &disk]);
    assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
    // A path is that of who types it.
    let attach = |options: &str| {
        let mut command = place.command("attach web1 --disk");
        command.arg(format!("path=da,,ta{options}")).current_dir(place.0.path());
        let Output { status, stdout, stderr } = command.output().unwrap();
        assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    };
    assert_eq!(attach(""), "disk1\n");
    assert_eq!(disks(&place), ["disk-root", "disk1"]);
    assert_eq!(place.info("web1")["disks"][1]["path"], data.display().to_string());
    assert!(place.ask("info web1").1.contains("disk disk1"));
    assert!(!is_free(&data));
    place.bad("detach web1 disk1 --timeout 1", 4, "VM web1: its guest has not let go of disk1 within 1 s");
    assert!(!is_free(&data));
    place.good("reset web1");
    assert_eq!(monitor.receive(), b'!');
    assert_eq!(disks(&place), ["disk-root", "disk1"]);
    place.good("detach web1 disk1 --force");
    assert_eq!(disks(&place), ["disk-root"]);
    assert!(is_free(&data));
    assert_eq!(attach(",id=data,readonly"), "data\n");
    place.good("pause web1");
    place.bad("detach web1 data --force", 4, "VM web1: it is paused: ");
    place.good("resume web1");
    place.good("detach web1 data --force");
    place.good("reset web1");
    assert_eq!(monitor.receive(), b'!');
    assert_eq!(disks(&place), ["disk-root"]);
    place.good("stop --force web1");
    assert_eq!(monitor.wait().code(), Some(10));
}

fn what_cannot_be_attached_or_detached_is_said(engine: Engine) {
    let place = Place::new();
    let (root, held) = (make(&place, "root"), make(&place, "held"));
    let disk = format!("path={}", root.display());
    let mut monitor = place.start(engine, "web1", guests::sleeper(), &["--disk", &disk]);
    assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
    let claim = disk::claim(&held).unwrap();
    let (root, held) = (root.display(), held.display());
    for (text, status, words) in [
        (format!("attach web1 --disk path={held}"), 4, "is in use by another machine or process"),
        (format!("attach web1 --disk path={root}"), 1, "is given twice"),
        (format!("attach web1 --disk path={held},id=disk-root"), 1, "a device of the machine is called so"),
        ("attach web1 --disk path=/nowhere/x".to_owned(), 1, "disk /nowhere/x does not exist"),
        ("attach web1 --disk path=a,redonly".to_owned(), 2, "did you mean 'readonly'?"),
        ("attach web1 --net tap=lo".to_owned(), 1, "lo"),
        (format!("attach web2 --disk path={held}"), 3, "no VM web2 is running"),
        ("detach web1 disk-rot".to_owned(), 1, "did you mean 'disk-root'?"),
        ("detach web1 rng0".to_owned(), 1, "it has no disk or card 'rng0' (there are disk-root)"),
        ("detach web2 disk-root".to_owned(), 3, "no VM web2 is running"),
    ] {
        let (found, said) = place.ask(&text);
        assert!(found == status && said.contains(words), "{text}: {found}, {said}");
    }
    drop(claim);
    assert_eq!(disks(&place), ["disk-root"]);
    place.good("stop --force web1");
    assert_eq!(monitor.wait().code(), Some(10));
}
