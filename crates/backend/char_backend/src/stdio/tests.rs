use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::*;

fn is_readable(backend: &dyn CharBackend) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(backend.readable().unwrap(), PollFlags::IN)];
    poll(&mut fds, Some(&NEVER)).unwrap() > 0
}

fn read_now(backend: &dyn CharBackend) -> Vec<u8> {
    let mut buffer = vec![0; 100];
    let count = backend.read(&mut buffer);
    buffer.truncate(count);
    buffer
}

/// Waits for input: a pseudo-terminal hands it over in a kernel thread of its own.
fn read_soon(backend: &dyn CharBackend) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_readable(backend) {
        assert!(Instant::now() < deadline, "no input");
        std::thread::sleep(Duration::from_micros(100));
    }
    read_now(backend)
}

/// A pseudo-terminal and standard input and output on it.
fn on_terminal(on_quit: impl Fn() + Clone + Send + Sync + 'static) -> (File, OwnedFd, Stdio) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row: 25, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (input, output) = (slave.try_clone().unwrap(), slave.try_clone().unwrap());
        match Stdio::from_fds(input, output, on_quit.clone()) {
            Ok(stdio) => return (File::from(master), slave, stdio),
            // A process has one terminal, and another test may hold it.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_terminal_is_raw_and_has_keys_of_ours() {
    let quits = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&quits);
    let (mut master, slave, stdio) = on_terminal(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let is_cooked = || tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ICANON);
    assert!(!is_cooked());
    assert_eq!(stdio.window_size(), Some(WindowSize { columns: 132, rows: 25 }));
    assert!(!is_readable(&stdio));
    assert_eq!(stdio.read(&mut [0; 10]), 0);
    master.write_all(b"\x03a\x1d\x1d").unwrap();
    assert_eq!(read_soon(&stdio), b"\x03a\x1d");
    master.write_all(b"\x1dqb").unwrap();
    assert_eq!(read_soon(&stdio), b"b");
    assert_eq!(quits.load(Ordering::SeqCst), 1);
    stdio.write(b"login:\n");
    let mut said = [0; 20];
    let count = master.read(&mut said).unwrap();
    assert_eq!(&said[..count], b"login:\n", "nothing is translated");
    drop(stdio);
    assert!(is_cooked());
}

#[test]
fn a_terminal_that_hung_up_wakes_nobody_again() {
    let (master, _slave, stdio) = on_terminal(|| ());
    drop(master);
    assert_eq!(read_soon(&stdio), b"");
    assert!(!is_readable(&stdio));
    stdio.write(b"lost");
}

#[test]
fn a_pipe_is_passed_on_as_it_is_until_its_end() {
    let (input, writer) = rustix::pipe::pipe().unwrap();
    let (reader, output) = rustix::pipe::pipe().unwrap();
    let stdio = Stdio::from_fds(input, output, || panic!("no keys on a pipe")).unwrap();
    File::from(writer).write_all(b"\x1dq").unwrap();
    assert!(is_readable(&stdio));
    assert_eq!(stdio.read(&mut []), 0);
    assert_eq!(read_now(&stdio), b"\x1dq");
    assert_eq!(read_now(&stdio), b"");
    assert!(!is_readable(&stdio), "the end of the input wakes nobody");
    stdio.write(b"still here");
    drop(stdio);
    let mut said = String::new();
    File::from(reader).read_to_string(&mut said).unwrap();
    assert_eq!(said, "still here");
}

#[test]
fn files_and_dev_null_are_inputs_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    std::fs::write(&path, "typed before").unwrap();
    let output = || OwnedFd::from(File::create("/dev/null").unwrap());
    let stdio = Stdio::from_fds(File::open(&path).unwrap().into(), output(), || ()).unwrap();
    assert!(is_readable(&stdio));
    assert_eq!(read_now(&stdio), b"typed before");
    assert_eq!(read_now(&stdio), b"");
    assert!(!is_readable(&stdio));
    let stdio = Stdio::from_fds(File::open("/dev/null").unwrap().into(), output(), || ()).unwrap();
    assert_eq!(read_now(&stdio), b"");
    assert!(!is_readable(&stdio));
}

/// What is typed while nobody takes it is looked through for our keys, waits in order, and is bounded.
#[test]
fn our_keys_are_found_behind_what_nobody_takes() {
    let quits = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&quits);
    let (mut master, _slave, stdio) = on_terminal(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let look = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert_eq!(stdio.read(&mut []), 0);
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_micros(100));
        }
    };
    master.write_all(b"abc\x1d").unwrap();
    look("the first keys are seen", &|| is_readable(&stdio));
    master.write_all(b"qd").unwrap();
    look("the keys to quit are seen", &|| quits.load(Ordering::SeqCst) == 1);
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.extend(read_soon(&stdio));
    }
    assert_eq!(heard, b"abcd");
    assert!(!is_readable(&stdio));
    // More than is read ahead waits in the terminal.
    let typed: Vec<u8> = (0..TYPED_MAX + 2000).map(|index| b'a' + (index % 23) as u8).collect();
    let sent = typed.clone();
    let sender = std::thread::spawn(move || master.write_all(&sent).map(|()| master));
    std::thread::sleep(Duration::from_millis(20));
    look("it is full", &|| stdio.lock().typed.len() == TYPED_MAX);
    let mut heard = Vec::new();
    while heard.len() < typed.len() {
        heard.extend(read_soon(&stdio));
    }
    assert!(heard == typed, "all of it, in order");
    sender.join().unwrap().unwrap();
}
