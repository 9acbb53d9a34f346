use std::fs::{self, File};
use std::path::{Path, PathBuf};

use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;
use vm_spec::{BootSpec, ConsoleSpec, DiskSpec, KernelSpec};

use super::*;

fn spec(folder: &Path, disks: &[&str]) -> VmSpec {
    fs::write(folder.join("kernel"), pvh_elf(guests::hello(), LOAD_ADDRESS)).unwrap();
    let disk = |text: &&str| format!("path={}/{text}", folder.display()).parse().unwrap();
    VmSpec {
        disks: disks.iter().map(disk).collect(),
        console: ConsoleSpec::None,
        ..VmSpec::new("test".parse().unwrap(), BootSpec::Kernel(KernelSpec::new(folder.join("kernel"))))
    }
}

fn make(folder: &Path, name: &str) -> PathBuf {
    File::create(folder.join(name)).unwrap().set_len(1 << 20).unwrap();
    folder.join(name)
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn disk(path: &Path) -> BackendSpec {
    BackendSpec::Disk(format!("path={}", path.display()).parse().unwrap())
}

fn words(answer: Result<(), BackendError>) -> String {
    messages::in_words(&answer.unwrap_err())
}

#[test]
fn all_are_prepared_then_active_then_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path(), "a");
    let spec = spec(folder.path(), &["a"]);
    let mut source = Backends::open(&spec, || {}).unwrap();
    let mut target = Backends::prepare_all(&spec, || {}).unwrap();
    assert_eq!(source.facts(), target.facts(), "what a machine is made of is known without a lock");
    assert!(target.disk(&id("disk-root")).is_none(), "what is only prepared is in nobody's hands");
    let error = words(target.activate_all());
    assert!(error.starts_with("device disk-root: disk "), "{error}");
    assert!(
        error.contains(&format!("{} is in use by another machine or process", path.display())),
        "{error}"
    );
    assert!(target.console(&id("serial0")).is_none(), "one that refuses keeps the others back");
    source.disk(&id("disk-root")).unwrap().resize(2 << 20).unwrap();
    source.release_all().unwrap();
    assert!(source.disk(&id("disk-root")).is_none() && source.console(&id("serial0")).is_none());
    target.activate_all().unwrap();
    assert_eq!(target.disk(&id("disk-root")).unwrap().size_bytes(), 2 << 20);
    assert!(target.console(&id("serial0")).is_some());
    target.activate_all().unwrap();
    assert!(words(source.activate(&id("disk-root"))).contains("in use"));
}

#[test]
fn where_one_refuses_the_others_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (make(folder.path(), "a"), make(folder.path(), "b"));
    let mut backends = Backends::prepare_all(&spec(folder.path(), &["a", "b"]), || {}).unwrap();
    let held = disk::claim(&b).unwrap();
    assert!(words(backends.activate_all()).starts_with("device disk1: disk "));
    assert!(disk::claim(&a).is_ok(), "nothing is held of a machine that does not start");
    drop(held);
    backends.activate_all().unwrap();
    assert!(disk::claim(&a).is_err() && disk::claim(&b).is_err());
}

#[test]
fn one_comes_and_goes_while_the_others_are_in_use() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), "a");
    let data = make(folder.path(), "data");
    let mut backends = Backends::open(&spec(folder.path(), &["a"]), || {}).unwrap();
    let root = backends.disk(&id("disk-root")).unwrap().disk();
    for _ in 0..3 {
        backends.prepare(id("data"), disk(&data)).unwrap();
        assert!(
            words(backends.prepare(id("data"), disk(&data))).contains("device data has something behind it")
        );
        assert_eq!(backends.facts().disks.len(), 2);
        backends.activate(&id("data")).unwrap();
        let device = backends.disk(&id("data")).unwrap().disk();
        let error = words(backends.remove(&id("data")));
        assert!(error.contains("device data: ") && error.contains("still used by a device"), "{error}");
        assert!(backends.disk(&id("data")).is_some(), "it stays what it was");
        drop(device);
        backends.remove(&id("data")).unwrap();
        assert!(disk::claim(&data).is_ok());
        assert_eq!(backends.facts().disks.len(), 1);
    }
    let missing = words(backends.prepare(id("x"), disk(Path::new("/nowhere/x"))));
    assert_eq!(missing, "device x: disk /nowhere/x does not exist");
    for answer in [backends.activate(&id("x")), backends.release(&id("x")), backends.remove(&id("x"))] {
        assert_eq!(words(answer), "nothing is behind device x");
    }
    // The same file twice in one machine.
    backends.prepare(id("twice"), disk(&folder.path().join("a"))).unwrap();
    assert!(words(backends.activate(&id("twice"))).starts_with("device twice: disk "));
    assert_eq!(root.size_bytes(), 1 << 20);
}

#[test]
fn disks_are_what_is_said_of_them_or_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let mut backends = Backends::open(&spec(folder.path(), &[]), || {}).unwrap();
    let mut open = |text: &str| {
        let spec: DiskSpec = format!("path={}{text}", path.display()).parse().unwrap();
        backends.prepare(id("d"), BackendSpec::Disk(spec)).map_err(|error| messages::in_words(&error))?;
        let prepared = backends.facts().disks[&id("d")];
        let answer = backends.activate(&id("d")).map_err(|error| messages::in_words(&error));
        let facts = backends.facts().disks[&id("d")];
        backends.remove(&id("d")).unwrap();
        assert_eq!(prepared, facts, "{text}");
        answer.map(|()| facts.block_size_bytes)
    };
    fs::write(&path, [0; 5 * 512]).unwrap();
    assert_eq!((open(""), open(",block-size=512")), (Ok(512), Ok(512)));
    let error = open(",block-size=4096").unwrap_err();
    assert!(error.contains("2560 bytes long, not a multiple of its block size of 4096"), "{error}");
    fs::write(&path, [0; 8192]).unwrap();
    assert_eq!((open(",block-size=4096"), open(",readonly,block-size=4096")), (Ok(4096), Ok(4096)));
    let mut image = [0; 8192];
    image[..8].copy_from_slice(b"vhdxfile");
    fs::write(&path, image).unwrap();
    for text in ["", ",format=raw", ",readonly", ",block-size=4096"] {
        let error = open(text).unwrap_err();
        assert!(error.contains("is a VHDX image") && error.ends_with("add force-raw"), "{error}");
    }
    assert_eq!((open(",force-raw"), open(",force-raw,block-size=4096")), (Ok(512), Ok(4096)));
    let image = folder.path().join("image");
    disk::create_qcow2(&image, &disk::CreateOptions::new(8192)).unwrap();
    fs::rename(&image, &path).unwrap();
    assert_eq!((open(",format=qcow2"), open(",format=qcow2,block-size=4096")), (Ok(512), Ok(4096)));
    assert!(open("").unwrap_err().contains("give format=qcow2"));
    fs::remove_file(&path).unwrap();
    disk::create_qcow2(&path, &disk::CreateOptions::new(512)).unwrap();
    assert!(open(",format=qcow2,block-size=4096").unwrap_err().contains("512 bytes long"));
}
