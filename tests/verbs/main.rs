//! `yagura pause`, `resume`, `stop`, `reset`, `attach`, `detach`, `info` and `list` of VMs that run in other terminals.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod hotplug;
#[path = "../monitor/mod.rs"]
mod monitor;
mod names;
mod resize;
mod versions;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use monitor::{Engine, LIMIT, Monitor, on_each_engine};
use serde_json::Value;
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;

/// Where VMs find their names.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("yagura")
    }

    /// The control socket of a VM.
    fn socket(&self, name: &str) -> PathBuf {
        self.folder().join("run/vms").join(format!("{name}.sock"))
    }

    /// A VM that runs here.
    fn start(&self, engine: Engine, name: &str, guest: &[u8], arguments: &[&str]) -> Monitor {
        self.start_unnamed(engine, guest, &[&["--name", name], arguments].concat())
    }

    fn start_unnamed(&self, engine: Engine, guest: &[u8], arguments: &[&str]) -> Monitor {
        let kernel = pvh_elf(guest, LOAD_ADDRESS);
        Monitor::start_among(tempfile::tempdir().unwrap(), &self.folder(), engine, &kernel, arguments)
    }

    /// The same, when its guest runs.
    fn running(&self, engine: Engine, name: &str, guest: &[u8]) -> Monitor {
        let monitor = self.start(engine, name, guest, &[]);
        assert_eq!(monitor.receive(), b'!');
        monitor
    }

    fn command(&self, text: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
        command.args(text.split_whitespace()).env("YAGURA_DIR", self.folder()).env_remove("YAGURA_LOG");
        command.stdin(Stdio::null());
        command
    }

    /// What a command that is typed in another terminal comes to: its exit status, and what it says.
    fn ask(&self, text: &str) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(text).output().unwrap();
        let said = String::from_utf8(stderr).unwrap() + &String::from_utf8(stdout).unwrap();
        (status.code().unwrap(), said)
    }

    /// The same of one that has nothing to say.
    #[track_caller]
    fn good(&self, text: &str) {
        assert_eq!(self.ask(text), (0, String::new()), "{text}");
    }

    /// The same of one that fails: its line says this.
    #[track_caller]
    fn bad(&self, text: &str, status: i32, words: &str) {
        let (found, said) = self.ask(text);
        assert!(said.lines().count() == 1 && said.contains(words), "{text}: {said}");
        assert_eq!(found, status, "{text}: {said}");
    }

    #[track_caller]
    fn json(&self, text: &str) -> Value {
        let (status, said) = self.ask(text);
        assert_eq!(status, 0, "{text}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    fn info(&self, name: &str) -> Value {
        self.json(&format!("info {name} --json"))
    }

    /// Names and states, as `list` has them.
    fn list(&self) -> Vec<(String, String)> {
        let rows = self.json("list -f json");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(|row| (text(&row["name"]), text(&row["state"]))).collect()
    }

    /// What lies in the run folder.
    fn sockets(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder().join("run/vms")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

on_each_engine!(
    each_verb_does_what_it_says,
    what_is_typed_in_a_pause_waits_for_its_end,
    a_guest_that_obeys_its_power_button_is_stopped,
    a_guest_that_does_not_is_left_until_force_is_used,
    twenty_machines_at_once,
);

fn each_verb_does_what_it_says(engine: Engine) {
    let place = Place::new();
    let mut monitor = place.running(engine, "web1", guests::echo());
    let info = place.info("web1");
    assert_eq!(
        (&info["name"], &info["state"], &info["cpus"]),
        (&"web1".into(), &"running".into(), &1.into())
    );
    assert_eq!(info["pid"], monitor.pid());
    assert!(info["counters"]["exits"]["port_read"].as_u64().unwrap() > 0);
    for _ in 0..2 {
        place.good("pause web1");
        assert_eq!(place.info("web1")["state"], "paused");
        assert_eq!(place.list(), [("web1".to_owned(), "paused".to_owned())]);
    }
    for _ in 0..2 {
        place.good("resume web1");
        assert_eq!(place.info("web1")["state"], "running");
    }
    monitor.send(b"a");
    assert_eq!(monitor.receive(), b'b');
    place.good("reset web1");
    assert_eq!(monitor.receive(), b'!', "the guest starts again");
    assert_eq!(place.info("web1")["resets"], 1);
    let (status, table) = place.ask("info web1");
    assert!(status == 0 && table.contains("64 MiB") && table.contains("port read"), "{table}");
    place.good("stop --force web1");
    assert!(place.sockets().is_empty());
    assert_eq!(monitor.wait().code(), Some(10));
    assert_eq!(monitor.said(), "");
}

/// What propolis lost in a migration (oxidecomputer/propolis 391): input during a pause.
fn what_is_typed_in_a_pause_waits_for_its_end(engine: Engine) {
    let place = Place::new();
    let mut monitor = place.running(engine, "web1", guests::echo());
    for round in 0..5u8 {
        place.good("pause web1");
        // More than the serial port, and more than once.
        let sent: Vec<u8> = (0..300).map(|index| b'A' + (index + usize::from(round)) as u8 % 20).collect();
        monitor.send(&sent[..100]);
        let before = place.info("web1")["counters"]["exits"]["port_read"].clone();
        monitor.send(&sent[100..]);
        assert!(monitor.is_silent());
        assert_eq!(place.info("web1")["counters"]["exits"]["port_read"], before, "it executes nothing");
        place.good("resume web1");
        let heard: Vec<u8> = sent.iter().map(|_| monitor.receive()).collect();
        assert_eq!(heard, sent.iter().map(|byte| byte + 1).collect::<Vec<_>>(), "all of it, once, in order");
    }
    assert!(monitor.is_silent());
}

/// A name is free again only when all of the machine is (microvm-nix/microvm.nix 152); the button is pressed once
/// (churchers/vm-bhyve 350).
fn a_guest_that_obeys_its_power_button_is_stopped(engine: Engine) {
    let place = Place::new();
    let disk = place.0.path().join("disk");
    fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let option = format!("path={}", disk.display());
    for round in 0..5 {
        let mut monitor = place.start(engine, "web1", guests::obedient(), &["--disk", &option]);
        assert_eq!(monitor.receive(), b'!');
        if round % 2 == 1 {
            place.good("pause web1");
        }
        let started = Instant::now();
        place.good("stop web1");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert!(disk::claim(&disk).is_ok(), "its disk is free");
        assert!(place.sockets().is_empty());
        assert_eq!(monitor.receive(), b'b');
        assert_eq!(monitor.wait().code(), Some(0));
    }
}

/// Force is no second press of a button that nobody heeds (vagrant-libvirt 1765, lf-edge/eve 6452).
fn a_guest_that_does_not_is_left_until_force_is_used(engine: Engine) {
    let place = Place::new();
    let mut monitor = place.running(engine, "web1", guests::sleeper());
    place.bad(
        "stop --timeout 0 web1",
        4,
        "within 0 s of its power button; 'yagura stop --force web1' ends it at once",
    );
    place.bad("stop --timeout 1 web1", 4, "VM web1: its guest has not shut down within 1 s");
    assert_eq!(place.info("web1")["state"], "running");
    place.good("pause web1");
    place.bad("stop --timeout 1 web1", 4, "--force");
    assert_eq!(place.info("web1")["state"], "running", "a paused guest cannot react");
    let started = Instant::now();
    place.good("stop --force web1");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(monitor.wait().code(), Some(10));
    place.bad("stop --force web1", 3, "no VM web1 is running; none is in ");
}

fn twenty_machines_at_once(engine: Engine) {
    let place = Place::new();
    let names: Vec<String> = (0..20).map(|number| format!("m{number:02}")).collect();
    let mut monitors: Vec<Monitor> =
        names.iter().map(|name| place.start(engine, name, guests::sleeper(), &[])).collect();
    monitors.iter().for_each(|monitor| assert_eq!(monitor.receive(), b'!'));
    let all = names.join(" ");
    let states =
        |state: &str| -> Vec<_> { names.iter().map(|name| (name.clone(), state.to_owned())).collect() };
    assert_eq!(place.list(), states("running"));
    place.good(&format!("pause {all}"));
    assert_eq!(place.list(), states("paused"));
    place.good(&format!("resume {all}"));
    place.bad(&format!("pause {all} m77"), 3, "no VM m77 is running; did you mean 'm07'?");
    assert_eq!(place.list(), states("paused"), "one that is not there keeps the others from nothing");
    place.good(&format!("stop --force {all}"));
    monitors.iter_mut().for_each(|monitor| assert_eq!(monitor.wait().code(), Some(10)));
    assert!(place.sockets().is_empty());
}

/// One VM whose process says nothing hides no other (lxc/incus 3558).
#[test]
fn a_process_that_stands_still_is_said_not_to_answer() {
    let place = Place::new();
    let mut silent = place.running(Engine::Soft, "silent", guests::sleeper());
    let _other = place.running(Engine::Soft, "other", guests::sleeper());
    silent.signal("STOP");
    let started = Instant::now();
    let states = [("other", "running"), ("silent", "not answering")];
    assert_eq!(place.list(), states.map(|(name, state)| (name.to_owned(), state.to_owned())));
    place.bad("info silent", 4, "VM silent does not answer");
    assert!(started.elapsed() < LIMIT / 2, "{:?}", started.elapsed());
    assert_eq!(place.info("other")["state"], "running");
    silent.signal("CONT");
    assert_eq!(place.info("silent")["state"], "running");
    place.good("stop --force silent");
    assert_eq!(silent.wait().code(), Some(10));
}

#[test]
fn one_who_is_stopped_by_another_is_stopped() {
    let place = Place::new();
    let mut monitor = place.running(Engine::Soft, "web1", guests::sleeper());
    let waiting = place.command("stop --timeout 60 web1").stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    while place.info("web1")["counters"]["exits"].is_null() {
        assert!(Instant::now() < deadline);
    }
    std::thread::sleep(Duration::from_millis(300));
    place.good("stop --force web1");
    assert_eq!(monitor.wait().code(), Some(10));
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
