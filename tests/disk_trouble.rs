//! A host that cannot carry out a guest's requests, any more or for a while: who is told what, and what the guest sees.
//!
//! A limit on the length of files (`ulimit -f`), set and lifted while the machine runs, stands for a full file system;
//! the last test has a real one.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod monitor;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use monitor::{Engine, LIMIT, Monitor, on_each_engine};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use test_guests::guests::{self, DISK_WRITER_CHUNK_BYTES};

on_each_engine!(
    a_guest_writes_and_reads_its_disk,
    a_full_host_is_told_of_once_and_reported_to_the_guest,
    a_paused_machine_goes_on_without_a_loss_when_there_is_room,
);

const DISK_BYTES: u64 = 64 << 20;

/// Files of a monitor may become so long.
fn limit_files(monitor: &Monitor, bytes: Option<u64>) {
    let pid = Pid::from_raw(monitor.pid() as i32);
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

fn started(engine: Engine, options: &str) -> Monitor {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    if options.contains("qcow2") {
        disk::create_qcow2(&disk, &disk::CreateOptions::new(DISK_BYTES)).unwrap();
    } else {
        File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
    }
    let spec = format!("path={}{options}", disk.display());
    let arguments = ["--debug-exit", "0xf4", "--control", "DIR/control", "--disk", &spec];
    let mut monitor = engine.start(guests::disk_writer(), &arguments);
    monitor.keep(folder);
    assert_eq!(monitor.receive(), b'!');
    monitor
}

/// Does what the guest is told, and checks that it answers so.
#[track_caller]
fn expect(monitor: &mut Monitor, commands: &str, answers: &str) {
    monitor.send(commands.as_bytes());
    let heard: String = answers.chars().map(|_| char::from(monitor.receive())).collect();
    assert_eq!(heard, answers, "{commands}: {}", monitor.said());
}

fn ask(monitor: &Monitor, method: &str, path: &str) -> Value {
    let mut stream = UnixStream::connect(monitor.path("control")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Reads until `text` has come.
fn heard_until(stream: &mut UnixStream, text: &str) {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(text) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&heard));
        heard.push(byte[0]);
    }
}

fn wait_for_state(monitor: &Monitor, state: &str) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = ask(monitor, "GET", "/state");
        if answer["state"] == state {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer}: {}", monitor.said());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What was said, once there are so many lines of it: the guest may have its answer first.
fn said_in_lines(monitor: &Monitor, lines: usize) -> String {
    let deadline = Instant::now() + LIMIT;
    while monitor.said().lines().count() < lines {
        assert!(Instant::now() < deadline, "{}", monitor.said());
        std::thread::sleep(Duration::from_millis(10));
    }
    monitor.said()
}

fn a_guest_writes_and_reads_its_disk(engine: Engine) {
    for options in ["", ",format=qcow2"] {
        let mut monitor = started(engine, options);
        expect(&mut monitor, "wwwfzrrr", "0000000");
        expect(&mut monitor, "r", "d");
        monitor.send(b"q");
        assert_eq!(monitor.wait().code(), Some(0x15 << 1 | 1));
    }
}

fn a_full_host_is_told_of_once_and_reported_to_the_guest(engine: Engine) {
    for options in ["", ",format=qcow2"] {
        let mut monitor = started(engine, options);
        expect(&mut monitor, "ww", "00");
        let mut events = UnixStream::connect(monitor.path("control")).unwrap();
        events.set_read_timeout(Some(LIMIT)).unwrap();
        events.write_all(b"GET /events HTTP/1.1\r\nHost: vm\r\n\r\n").unwrap();
        heard_until(&mut events, "HTTP/1.1 200 OK");
        // Room for some chunks more, at most.
        limit_files(&monitor, Some(8 * DISK_WRITER_CHUNK_BYTES));
        monitor.send(&[b'w'; 40]);
        let answers: String = (0..40).map(|_| char::from(monitor.receive())).collect();
        assert!(answers.ends_with("1111111111"), "{answers}");
        let said = said_in_lines(&monitor, 1);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("disk ") && said.contains("/disk: its file may not become longer"), "{said}");
        assert!(!said.contains("::") && !said.contains("disk-root"), "{said}");
        heard_until(&mut events, "\"event\":\"host_failure\",\"detail\":\"disk ");
        let counters = &ask(&monitor, "GET", "/counters")["devices"]["disk-root"];
        assert!(counters["failed"].as_u64().unwrap() >= 10 && counters["held"] == 0, "{counters}");
        limit_files(&monitor, None);
        expect(&mut monitor, "zwr", "00");
    }
}

fn a_paused_machine_goes_on_without_a_loss_when_there_is_room(engine: Engine) {
    for options in [",on-error=pause", ",format=qcow2,on-error=pause"] {
        let mut monitor = started(engine, options);
        expect(&mut monitor, "ww", "00");
        limit_files(&monitor, Some(8 * DISK_WRITER_CHUNK_BYTES));
        monitor.send(&[b'w'; 18]);
        let paused = wait_for_state(&monitor, "paused");
        assert!(paused["paused_by"].as_str().unwrap().contains("may not become longer"), "{paused}");
        // There is still no room: it pauses again, and nothing is lost by that.
        ask(&monitor, "PUT", "/resume");
        said_in_lines(&monitor, 2);
        wait_for_state(&monitor, "paused");
        limit_files(&monitor, None);
        ask(&monitor, "PUT", "/resume");
        expect(&mut monitor, "", &"0".repeat(18));
        expect(&mut monitor, "f", "0");
        expect(&mut monitor, &format!("z{}", "r".repeat(20)), &"0".repeat(20));
        let counters = &ask(&monitor, "GET", "/counters")["devices"]["disk-root"];
        assert_eq!((&counters["failed"], &counters["held"]), (&0.into(), &0.into()), "{counters}");
        let said = monitor.said();
        assert!(said.lines().all(|line| line.ends_with("after 'yagura resume test'")), "{said}");
        monitor.send(b"q");
        assert_eq!(monitor.wait().code(), Some(0x15 << 1 | 1));
    }
}

#[test]
fn a_disk_whose_file_goes_away_is_told_of() {
    let mut monitor = started(Engine::Soft, "");
    let disk = monitor.kept().join("disk");
    expect(&mut monitor, "wf", "00");
    assert_eq!(monitor.said(), "");
    File::options().write(true).open(&disk).unwrap().set_len(512).unwrap();
    expect(&mut monitor, "f", "0");
    fs::remove_file(&disk).unwrap();
    expect(&mut monitor, "fff", "000");
    let said = said_in_lines(&monitor, 2);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("has become shorter") && said.contains("its file is gone"), "{said}");
}

#[test]
fn a_truncated_disk_is_told_of_when_it_is_read() {
    let mut monitor = started(Engine::Soft, "");
    File::options().write(true).open(monitor.kept().join("disk")).unwrap().set_len(512).unwrap();
    expect(&mut monitor, "rr", "11");
    let said = said_in_lines(&monitor, 1);
    assert!(said.lines().count() == 1 && said.contains("has become shorter"), "{said}");
}

#[test]
fn a_disk_that_pauses_needs_somebody_who_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = format!("path={},on-error=pause", folder.path().join("disk").display());
    let nowhere = folder.path().join("file");
    fs::write(&nowhere, "").unwrap();
    let start = |arguments: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let kernel = test_guests::pvh_elf(guests::hello(), guests::LOAD_ADDRESS);
        let mut monitor = Monitor::start_among(folder, &nowhere, Engine::Soft, &kernel, arguments);
        assert_eq!(monitor.wait().code(), Some(1));
        monitor.said()
    };
    let said = start(&["--disk", &disk]);
    assert!(said.contains("cannot be found by its name") && said.contains("add --control PATH"), "{said}");
    let said = start(&["--disk", &disk, "--control", "DIR/control"]);
    assert!(said.ends_with("disk does not exist\n"), "{said}");
}

/// A file system of 2 MiB, full but for some of it.
#[test]
fn a_full_file_system_pauses_the_machine_until_there_is_room() {
    for format in ["raw", "qcow2"] {
        let Some(mount) = monitor::SmallMount::new(2 << 20) else { return };
        fill_and_make_room(&mount, format);
    }
}

fn fill_and_make_room(mount: &monitor::SmallMount, format: &str) {
    let disk = mount.path().join("disk");
    match format {
        "raw" => disk::create_raw(&disk, DISK_BYTES).unwrap(),
        _ => disk::create_qcow2(&disk, &disk::CreateOptions::new(DISK_BYTES)).unwrap(),
    }
    fs::write(mount.path().join("ballast"), vec![1; 1 << 20]).unwrap();
    let spec = format!("path={},format={format},on-error=pause", disk.display());
    let arguments = ["--debug-exit", "0xf4", "--control", "DIR/control", "--disk", &spec];
    let mut monitor = Engine::Soft.start(guests::disk_writer(), &arguments);
    assert_eq!(monitor.receive(), b'!');
    monitor.send(&[b'w'; 24]);
    let paused = wait_for_state(&monitor, "paused");
    assert!(paused["paused_by"].as_str().unwrap().contains("no room is left on the file system"), "{paused}");
    fs::remove_file(mount.path().join("ballast")).unwrap();
    ask(&monitor, "PUT", "/resume");
    expect(&mut monitor, "", &"0".repeat(24));
    expect(&mut monitor, &format!("fz{}", "r".repeat(24)), &"0".repeat(25));
    monitor.send(b"q");
    assert_eq!(monitor.wait().code(), Some(0x15 << 1 | 1));
}
