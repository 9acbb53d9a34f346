//! A VM is a process: how it ends, how it shows, and how it is talked to. Small guests on both engines.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod monitor;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use monitor::{Engine, LIMIT, Monitor, on_each_engine};
use test_guests::guests;

on_each_engine!(
    each_way_to_end_has_its_exit_status,
    the_first_sigterm_presses_a_button_and_the_second_kills,
    the_process_shows_its_vm,
    a_console_on_pipes_a_file_and_a_socket,
    a_paused_guest_stands_still_and_goes_on_where_it_was,
    a_panic_leads_to_what_was_asked_for,
    a_guest_that_does_anything_to_its_devices_only_harms_itself,
);

fn exit_status(engine: Engine, guest: &[u8], arguments: &[&str]) -> Option<i32> {
    engine.start(guest, arguments).wait().code()
}

fn each_way_to_end_has_its_exit_status(engine: Engine) {
    assert_eq!(exit_status(engine, guests::hello(), &[]), Some(0));
    assert_eq!(exit_status(engine, guests::resetter(), &["--on-reset", "exit"]), Some(4));
    assert_eq!(exit_status(engine, guests::resetter(), &["--on-reset", "restart"]), Some(6));
    assert_eq!(exit_status(engine, guests::faulter(), &["--on-reset", "exit"]), Some(8));
    let mut echo = engine.start(guests::echo(), &["--debug-exit", "0xf4"]);
    assert_eq!(echo.receive(), b'!');
    echo.send(b"q");
    assert_eq!(echo.wait().code(), Some(0x15 << 1 | 1));
}

fn a_panic_leads_to_what_was_asked_for(engine: Engine) {
    // Without a wish it is told of, and the guest goes on.
    assert_eq!(exit_status(engine, guests::panicker(), &[]), Some(0));
    let mut ended = engine.start(guests::panicker(), &["--on-panic", "exit", "--console", "file=DIR/log"]);
    assert_eq!(ended.wait().code(), Some(12));
    assert_eq!(fs::read(ended.path("log")).unwrap(), b"!", "nothing is executed behind a panic");
    assert_eq!(exit_status(engine, guests::panicker(), &["--on-panic", "restart"]), Some(6));

    let mut paused = engine.start(guests::panicker(), &["--on-panic", "pause", "--control", "DIR/control"]);
    assert_eq!(paused.receive(), b'!');
    let deadline = Instant::now() + LIMIT;
    while ask(&paused, "GET", "/state").1["state"] != "paused" {
        assert!(Instant::now() < deadline, "the guest goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ask(&paused, "GET", "/counters").1["devices"]["pvpanic"]["panicked"], 1);
    assert_eq!(ask(&paused, "GET", "/state").1["paused_by"], "the guest's kernel panicked");
    let said = paused.said();
    assert_eq!(said.lines().count(), 1, "{said}");
    for words in ["the guest's kernel panicked; the machine is paused", "'yagura reset test'"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    assert_eq!(ask(&paused, "PUT", "/resume").0, "HTTP/1.1 200 OK");
    assert_eq!(paused.receive(), b'?', "it tells again and again, and is paused once");
    assert_eq!(paused.wait().code(), Some(0));
}

fn the_first_sigterm_presses_a_button_and_the_second_kills(engine: Engine) {
    let mut monitor = engine.start(guests::sleeper(), &[]);
    assert_eq!(monitor.receive(), b'!');
    monitor.signal("TERM");
    std::thread::sleep(Duration::from_millis(200));
    assert!(fs::exists(format!("/proc/{}/stat", monitor.pid())).unwrap(), "the guest did not listen");
    monitor.signal("TERM");
    assert_eq!(monitor.wait().code(), Some(10));
}

fn the_process_shows_its_vm(engine: Engine) {
    let monitor = engine.start(guests::sleeper(), &[]);
    assert_eq!(monitor.receive(), b'!');
    let shown = fs::read(format!("/proc/{}/cmdline", monitor.pid())).unwrap();
    assert!(shown.starts_with(b"yagura: test\0"), "{}", String::from_utf8_lossy(&shown));
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", monitor.pid())).unwrap(), "yagura: test\n");
}

fn a_console_on_pipes_a_file_and_a_socket(engine: Engine) {
    let mut pipes = engine.start(guests::echo(), &[]);
    assert_eq!(pipes.receive(), b'!');
    // Many bytes at once: more than the serial port holds.
    let sent: Vec<u8> = (0..200u8).map(|index| b'A' + index % 20).collect();
    pipes.send(&sent);
    let received: Vec<u8> = sent.iter().map(|_| pipes.receive()).collect();
    assert_eq!(received, sent.iter().map(|byte| byte + 1).collect::<Vec<_>>());

    let mut file = engine.start(guests::hello(), &["--console", "file=DIR/log"]);
    assert_eq!(file.wait().code(), Some(0));
    assert_eq!(fs::read(file.path("log")).unwrap(), b"!");

    let socket = engine.start(guests::echo(), &["--console", "socket=DIR/console"]);
    let mut stream = connect(&socket.path("console"));
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes[..1]).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut bytes[1..]).unwrap();
    assert_eq!(bytes, *b"!y");
}

fn connect(path: &std::path::Path) -> UnixStream {
    let deadline = Instant::now() + LIMIT;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Status line and body of one request to the control socket.
fn ask(monitor: &Monitor, method: &str, path: &str) -> (String, serde_json::Value) {
    let mut stream = connect(&monitor.path("control"));
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

fn a_paused_guest_stands_still_and_goes_on_where_it_was(engine: Engine) {
    let mut monitor = engine.start(guests::echo(), &["--control", "DIR/control"]);
    assert_eq!(monitor.receive(), b'!');
    for _ in 0..5 {
        assert_eq!(ask(&monitor, "PUT", "/pause").0, "HTTP/1.1 200 OK");
        assert_eq!(ask(&monitor, "GET", "/state").1["state"], "paused");
        let exits =
            |monitor: &Monitor| ask(monitor, "GET", "/counters").1["exits"]["port_read"].as_u64().unwrap();
        let before = exits(&monitor);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(exits(&monitor), before, "a paused guest executes nothing");
        assert_eq!(ask(&monitor, "PUT", "/resume").0, "HTTP/1.1 200 OK");
        monitor.send(b"c");
        assert_eq!(monitor.receive(), b'd');
    }
    assert_eq!(ask(&monitor, "PUT", "/reset").0, "HTTP/1.1 200 OK");
    assert_eq!(monitor.receive(), b'!', "the guest starts again");
    assert_eq!(ask(&monitor, "GET", "/state").1["resets"], 1);
    assert_eq!(ask(&monitor, "PUT", "/stop").0, "HTTP/1.1 200 OK");
    assert_eq!(monitor.wait().code(), Some(10));
    assert!(!monitor.path("control").exists());
}

fn a_guest_that_does_anything_to_its_devices_only_harms_itself(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let disk = format!("path={}", disk.display());
    let arguments = ["--debug-exit", "0xf4", "--console", "file=DIR/log", "--disk", &disk];
    assert_eq!(exit_status(engine, guests::hostile(), &arguments), Some(0x2a << 1 | 1));
}
