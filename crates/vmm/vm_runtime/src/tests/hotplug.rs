//! Disks that are attached and detached while the machine runs.

use std::fs::File;
use std::time::Instant;

use super::*;

const MIB: u64 = 1 << 20;
/// Where the guest lets go of slots.
const EJECT: u16 = 0x61c;
/// Slots of the machine's first disk, of its source of entropy, and of the first that is attached.
const ROOT_SLOT: u32 = 1;
const DATA_SLOT: u32 = 3;

/// A machine with a disk, and a folder with more.
fn with_disk() -> Sleeping {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        File::create(folder.path().join(name)).unwrap().set_len(MIB).unwrap();
    };
    ["disk", "data", "more"].into_iter().for_each(make);
    let disk = format!("path={}", folder.path().join("disk").display()).parse().unwrap();
    let spec = VmSpec { disks: vec![disk], ..spec(folder.path(), OnReset::Restart) };
    let socket = folder.path().join("control");
    let options = listening(&socket);
    Sleeping::start(FakeEngine::default(), spec, options, socket, folder)
}

/// What a request came to: its status, and the reason or what it says.
type Said = (u64, String);

fn said(answer: &(String, String)) -> Said {
    let code = answer.0.split(' ').nth(1).unwrap().parse().unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.1).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (code, text("detail") + &text("id"))
}

impl Sleeping {
    fn path(&self, name: &str) -> PathBuf {
        self._folder.path().join(name)
    }

    fn attach(&self, name: &str, options: &str) -> Said {
        let disk = format!("path={}{options}", self.path(name).display());
        said(&self.order("PUT", "/attach", &serde_json::json!({ "disk": disk }).to_string()))
    }

    fn detach_now(&self, device: &str, timeout_ms: u64, force: bool) -> Said {
        let body = serde_json::json!({ "device": device, "timeout_ms": timeout_ms, "force": force });
        said(&self.order("PUT", "/detach", &body.to_string()))
    }

    /// Asks, and does not wait for the answer, which comes when the guest has let go.
    fn begin_detach(&self, device: &str, timeout_ms: u64) -> JoinHandle<Said> {
        let body = serde_json::json!({ "device": device, "timeout_ms": timeout_ms }).to_string();
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let head = "PUT /detach HTTP/1.1\r\nHost: vm\r\nConnection: close";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let waiting = std::thread::spawn(move || {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            said(&(head.lines().next().unwrap().to_owned(), body.to_owned()))
        });
        // It is asked when the guest can see it.
        let asked = 1u32 << if device == "disk-root" { ROOT_SLOT } else { DATA_SLOT };
        self.wait_until("the guest is asked", || {
            let before = self.engine.reads().len();
            self.engine.then(0, [Step::PortRead(0x618, 4)]);
            self.wait_until("it looks", || self.engine.reads().len() > before);
            self.engine.reads()[before] == asked.to_le_bytes()
        });
        waiting
    }

    /// The guest lets go of a slot.
    fn let_go(&self, slot: u32) {
        self.engine.then(0, [Step::PortWrite(EJECT, (1u32 << slot).to_le_bytes().to_vec())]);
    }

    fn disks(&self) -> Vec<String> {
        let state = self.state();
        let id = |disk: &serde_json::Value| disk["id"].as_str().unwrap().to_owned();
        state["disks"].as_array().unwrap().iter().map(id).collect()
    }

    /// What is in a slot, as the guest sees it.
    fn device_in(&self, slot: u32) -> u16 {
        let before = self.engine.reads().len();
        self.engine.then(0, [Step::MmioRead(0xe000_0000 + (u64::from(slot) << 15), 4)]);
        self.wait_until("it looks", || self.engine.reads().len() > before);
        let read = &self.engine.reads()[before];
        u16::from_le_bytes([read[2], read[3]])
    }

    fn is_free(&self, name: &str) -> bool {
        disk::claim(&self.path(name)).is_ok()
    }

    fn end(self) {
        self.ask("PUT", "/stop");
        self.running.join().unwrap().unwrap();
    }
}

const DONE: fn() -> Said = || (200, String::new());

#[test]
fn what_is_attached_stays_over_a_reset_and_what_is_detached_is_gone() {
    let vm = with_disk();
    assert_eq!(vm.attach("data", ""), (200, "disk1".to_owned()));
    assert_eq!((vm.disks(), vm.device_in(DATA_SLOT)), (vec!["disk-root".into(), "disk1".into()], 0x1042));
    assert!(!vm.is_free("data"));
    assert_eq!(vm.attach("more", ",id=more,readonly"), (200, "more".to_owned()));
    vm.ask("PUT", "/reset");
    vm.wait_until("it is reset", || vm.state()["resets"] == 1);
    assert_eq!(vm.disks(), ["disk-root", "disk1", "more"]);
    assert_eq!((vm.device_in(DATA_SLOT), vm.device_in(DATA_SLOT + 1)), (0x1042, 0x1042));

    let waiting = vm.begin_detach("disk1", 60_000);
    assert_eq!(vm.state()["state"], "running", "others are served meanwhile");
    vm.let_go(DATA_SLOT);
    assert_eq!(waiting.join().unwrap(), DONE());
    assert_eq!((vm.disks(), vm.device_in(DATA_SLOT)), (vec!["disk-root".into(), "more".into()], 0xffff));
    assert!(vm.is_free("data"));
    vm.ask("PUT", "/reset");
    vm.wait_until("it is reset", || vm.state()["resets"] == 2);
    assert_eq!((vm.device_in(DATA_SLOT), vm.device_in(DATA_SLOT + 1)), (0xffff, 0x1042), "none has moved");
    // Names and slots that are free are given anew.
    assert_eq!(vm.attach("data", ""), (200, "disk2".to_owned()));
    assert_eq!(vm.detach_now("disk2", 0, true), DONE());
    vm.end();
}

#[test]
fn a_guest_that_does_not_let_go_keeps_it() {
    let vm = with_disk();
    vm.attach("data", "");
    let (code, why) = vm.detach_now("disk1", 50, false);
    assert_eq!(code, 409);
    assert!(why.starts_with("its guest has not let go of disk1 within 0.05 s, and keeps it"), "{why}");
    // Too late: the slot is locked again.
    vm.let_go(DATA_SLOT);
    assert_eq!((vm.device_in(DATA_SLOT), vm.disks().len(), vm.is_free("data")), (0x1042, 2, false));
    // Somebody asks again, and another one for the same.
    let first = vm.begin_detach("disk1", 60_000);
    let second = vm.begin_detach("disk1", 50_000);
    vm.let_go(DATA_SLOT);
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (DONE(), DONE()));
    assert!(vm.is_free("data") && vm.disks() == ["disk-root"]);
    let (code, why) = vm.detach_now("disk1", 50, false);
    assert_eq!((code, why.as_str()), (400, "it has no disk or card 'disk1' (there are disk-root)"));
    vm.end();
}

#[test]
fn force_does_not_ask_and_answers_who_waits() {
    let vm = with_disk();
    vm.attach("data", "");
    let waiting = vm.begin_detach("disk1", 60_000);
    assert_eq!(vm.detach_now("disk1", 0, true), DONE());
    assert_eq!(waiting.join().unwrap(), DONE());
    assert_eq!((vm.device_in(DATA_SLOT), vm.is_free("data")), (0xffff, true));
    // What the guest says of it now concerns nobody, and not whoever comes next there.
    assert_eq!(vm.attach("data", ""), (200, "disk1".to_owned()));
    vm.let_go(DATA_SLOT);
    assert_eq!((vm.device_in(DATA_SLOT), vm.disks().len()), (0x1042, 2));
    assert_eq!(vm.detach_now("disk-root", 0, true), DONE());
    assert_eq!(vm.disks(), ["disk1"]);
    vm.end();
}

#[test]
fn a_removal_lasts_over_a_pause_and_ends_with_a_reset() {
    let vm = with_disk();
    vm.attach("data", "");
    let waiting = vm.begin_detach("disk1", 2000);
    vm.ask("PUT", "/pause");
    for answer in [vm.attach("more", ""), vm.detach_now("disk1", 1, false), vm.detach_now("disk1", 0, true)] {
        assert!(answer.0 == 409 && answer.1.starts_with("it is paused: "), "{answer:?}");
    }
    let (code, why) = waiting.join().unwrap();
    assert!(code == 409 && why.contains("and is paused; it is asked on"), "{why}");
    vm.ask("PUT", "/resume");
    vm.let_go(DATA_SLOT);
    vm.wait_until("it is gone", || vm.disks() == ["disk-root"]);
    assert!(vm.is_free("data"));

    vm.attach("data", "");
    let waiting = vm.begin_detach("disk1", 60_000);
    vm.ask("PUT", "/reset");
    assert_eq!(waiting.join().unwrap(), DONE());
    assert_eq!(
        (vm.disks(), vm.device_in(DATA_SLOT), vm.is_free("data")),
        (vec!["disk-root".into()], 0xffff, true)
    );

    vm.attach("data", "");
    let waiting = vm.begin_detach("disk1", 60_000);
    vm.end();
    assert_eq!(waiting.join().unwrap().0, 503, "the VM is ending");
}

#[test]
fn what_cannot_be_attached_is_said_and_changes_nothing() {
    let vm = with_disk();
    let held = disk::claim(&vm.path("more")).unwrap();
    let start = Instant::now();
    for (name, options, code, words) in [
        ("nothing", "", 400, "does not exist"),
        ("more", "", 409, "is in use by another machine or process"),
        ("disk", "", 400, "is given twice"),
        ("data", ",id=disk-root", 400, "id=disk-root: a device of the machine is called so"),
        ("data", ",id=rng0", 400, "id=rng0: a part of every machine is called so"),
        ("data", ",id=Data", 400, "not a device's name"),
        ("data", ",format=qcow2", 400, "cannot be used as qcow2"),
        ("data", ",block-size=512,redonly", 400, "did you mean 'readonly'?"),
    ] {
        let (found, why) = vm.attach(name, options);
        assert!(found == code && why.contains(words), "{name}{options}: {found} {why}");
    }
    let (code, why) = said(&vm.order("PUT", "/attach", r#"{"net":"tap=lo"}"#));
    assert!(code == 400 && why.contains("lo"), "{code} {why}");
    let long = format!("{{\"disk\":\"path={}\"}}", "x".repeat(60_000));
    let (code, why) = said(&vm.order("PUT", "/attach", &long));
    assert!(code == 400 && why.len() < 1000, "{code} {why}");
    assert_eq!((vm.disks(), vm.device_in(DATA_SLOT)), (vec!["disk-root".to_owned()], 0xffff));
    assert!(vm.is_free("data"));
    drop(held);
    assert_eq!(vm.attach("more", ",id=data"), (200, "data".to_owned()));
    for (device, words) in [
        ("dta", "it has no disk or card 'dta' (there are disk-root, data); did you mean 'data'?"),
        ("rng0", "it has no disk or card 'rng0'"),
        ("", "it has no disk or card ''"),
    ] {
        let (code, why) = vm.detach_now(device, 60_000, false);
        assert!(code == 400 && why.contains(words), "{device}: {code} {why}");
    }
    assert!(start.elapsed() < Duration::from_secs(60), "nobody is waited for");
    vm.end();
}

#[test]
fn a_machine_takes_as_many_as_a_description_does() {
    let vm = with_disk();
    for number in 1..12 {
        File::create(vm.path(&format!("d{number}"))).unwrap().set_len(MIB).unwrap();
        assert_eq!(vm.attach(&format!("d{number}"), ""), (200, format!("disk{number}")));
    }
    let (code, why) = vm.attach("data", "");
    assert!(code == 400 && why.contains("13 disks: a VM takes at most 12"), "{why}");
    assert!(vm.is_free("data"));
    vm.ask("PUT", "/reset");
    vm.wait_until("it is reset", || vm.state()["resets"] == 1);
    assert_eq!(vm.disks().len(), 12);
    vm.end();
}
