//! A VM at a terminal: which keys are not the guest's, and that the terminal is as it was after every ending.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;

const LIMIT: Duration = Duration::from_secs(60);

struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    folder: tempfile::TempDir,
}

impl Terminal {
    /// Starts `guest` and waits until the terminal is its.
    fn start(guest: &[u8]) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("kernel");
        std::fs::write(&kernel, pvh_elf(guest, LOAD_ADDRESS)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
        command
            .args(["run", "--name", "test", "--memory", "32M", "--engine", "soft", "--kernel"])
            .arg(kernel)
            .env("YAGURA_DIR", folder.path());
        let end = || slave.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut terminal = Terminal { master: File::from(master), slave, child, folder };
        let mut shown = terminal.shown_until('!');
        shown.pop();
        assert!(shown.contains("Ctrl-] and then q ends it"), "{shown}");
        assert!(is_raw(&terminal.slave));
        terminal
    }

    fn shown_until(&mut self, end: char) -> String {
        let mut shown = String::new();
        while !shown.ends_with(end) {
            let mut byte = [0];
            assert_eq!(self.master.read(&mut byte).unwrap(), 1, "{shown}");
            shown.push(char::from(byte[0]));
        }
        shown
    }

    /// `yagura VERB test` in another terminal.
    fn ask(&self, verb: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
        command.args([verb, "test"]).env("YAGURA_DIR", self.folder.path());
        assert!(command.status().unwrap().success());
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait_until_raw(&self, raw: bool) {
        let deadline = Instant::now() + LIMIT;
        while is_raw(&self.slave) != raw {
            assert!(Instant::now() < deadline, "the terminal should have become raw: {raw}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_raw(fd: impl AsFd) -> bool {
    let modes = tcgetattr(fd).unwrap().local_modes;
    !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    let signals = [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::ABORT,
        Signal::QUIT,
        Signal::SEGV,
        Signal::TRAP,
        Signal::XCPU,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::SYS,
    ];
    for signal in signals {
        let mut terminal = Terminal::start(guests::sleeper());
        terminal.signal(signal);
        assert_eq!(terminal.child.wait().unwrap().signal(), Some(signal.as_raw()));
        assert!(!is_raw(&terminal.slave), "{signal:?}");
    }
}

#[test]
fn keys_and_power_leave_the_terminal_as_it_was() {
    let mut terminal = Terminal::start(guests::sleeper());
    terminal.master.write_all(b"abc\x1d\x1dq\x1dq").unwrap();
    assert_eq!(terminal.child.wait().unwrap().code(), Some(10));
    assert!(!is_raw(&terminal.slave));
    let mut terminal = Terminal::start(guests::sleeper());
    for _ in 0..2 {
        terminal.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(terminal.child.wait().unwrap().code(), Some(10));
    assert!(!is_raw(&terminal.slave));
}

#[test]
fn a_stopped_monitor_gives_the_terminal_back_until_it_goes_on() {
    let mut terminal = Terminal::start(guests::echo());
    terminal.signal(Signal::TSTP);
    terminal.wait_until_raw(false);
    terminal.signal(Signal::CONT);
    terminal.wait_until_raw(true);
    terminal.master.write_all(b"a").unwrap();
    assert_eq!(terminal.shown_until('b'), "b", "the guest goes on");
}

/// Keys of ours work while the guest takes nothing: it is paused, or does not look, or both.
#[test]
fn keys_work_behind_what_the_guest_does_not_take() {
    let mut terminal = Terminal::start(guests::sleeper());
    terminal.master.write_all(&[b'x'; 100]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    terminal.master.write_all(b"\x1dq").unwrap();
    assert_eq!(terminal.child.wait().unwrap().code(), Some(10));

    let mut terminal = Terminal::start(guests::echo());
    terminal.ask("pause");
    terminal.master.write_all(b"typed in a pause\x1d\x1d").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    terminal.ask("resume");
    assert_eq!(terminal.shown_until('\x1e'), "uzqfe!jo!b!qbvtf\x1e", "each byte plus one");
    terminal.ask("pause");
    terminal.master.write_all(b"more\x1dq").unwrap();
    assert_eq!(terminal.child.wait().unwrap().code(), Some(10));
    assert!(!is_raw(&terminal.slave));
}
