//! Every ending is tried in a child process, this test binary run again, on a pseudo-terminal of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::*;

const CHILD: &str = "YAGURA_TERMINAL_TEST";

struct Pty {
    _master: OwnedFd,
    slave: OwnedFd,
}

impl Pty {
    fn open() -> Pty {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        Pty { _master: master, slave }
    }

    fn wait_until(&self, raw: bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_raw(&self.slave) != raw {
            assert!(Instant::now() < deadline, "the terminal should have become raw: {raw}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn spawn(&self, mode: &str, own_session: bool) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "terminal::tests::runs_as_child", "--nocapture"]).env(CHILD, mode);
        command.stdin(self.slave.try_clone().unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
        if own_session {
            // SAFETY: setsid and ioctl are async-signal-safe, as is required between fork and exec.
            unsafe {
                command.pre_exec(|| {
                    libc::setsid();
                    checked(libc::ioctl(0, libc::TIOCSCTTY, 0))
                });
            }
        }
        command.spawn().unwrap()
    }
}

fn is_raw(fd: impl AsFd) -> bool {
    let modes = tcgetattr(fd).unwrap().local_modes;
    !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn guards_nest_and_put_the_terminal_back() {
    let (pty, other) = (Pty::open(), Pty::open());
    assert!(!is_raw(&pty.slave));
    let first = RawTerminal::enter(pty.slave.as_fd()).unwrap().unwrap();
    let second = RawTerminal::enter(pty.slave.as_fd()).unwrap().unwrap();
    assert!(is_raw(&pty.slave));
    let busy = RawTerminal::enter(other.slave.as_fd()).unwrap_err();
    assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    assert!(is_raw(&pty.slave));
    drop(second);
    assert!(!is_raw(&pty.slave));
    drop(RawTerminal::enter(other.slave.as_fd()).unwrap().unwrap());
    assert!(!is_raw(&other.slave));

    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(RawTerminal::enter(null.as_fd()).unwrap().is_none());
    assert_eq!(window_size(&null), None);
    assert_eq!(window_size(&pty.slave), None);
    tcsetwinsize(&pty.slave, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    assert_eq!(window_size(&pty.slave), Some(WindowSize { columns: 80, rows: 24 }));
}

#[test]
fn the_terminal_is_put_back_when_the_process_ends_by_itself() {
    for (mode, signal) in
        [("exit", None), ("panic", None), ("abort", Some(libc::SIGABRT)), ("fault", Some(libc::SIGSEGV))]
    {
        let pty = Pty::open();
        let status = pty.spawn(mode, false).wait().unwrap();
        assert_eq!(status.signal(), signal, "{mode}: {status}");
        assert!(signal.is_some() || status.code() != Some(0), "{mode} was not reached");
        assert!(!is_raw(&pty.slave), "{mode}");
    }
}

#[test]
fn the_terminal_is_put_back_by_every_signal_that_ends_a_process() {
    // Programs in Rust ignore SIGPIPE.
    let signals = endings::ending_signals().filter(|signal| *signal != libc::SIGPIPE);
    for signal in signals.chain([libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE]) {
        let pty = Pty::open();
        let mut child = pty.spawn("wait", false);
        pty.wait_until(true);
        // SAFETY: takes plain numbers; the child is ours and not waited for yet.
        unsafe { libc::kill(child.id() as i32, signal) };
        assert_eq!(child.wait().unwrap().signal(), Some(signal));
        assert!(!is_raw(&pty.slave), "signal {signal}");
    }
}

#[test]
fn a_stopped_process_leaves_the_terminal_and_takes_it_again() {
    for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        let pty = Pty::open();
        let mut child = pty.spawn("wait", false);
        pty.wait_until(true);
        send(&child, signal);
        pty.wait_until(false);
        send(&child, Signal::CONT);
        pty.wait_until(true);
        send(&child, Signal::TERM);
        child.wait().unwrap();
        assert!(!is_raw(&pty.slave), "{signal:?}");
    }
}

#[test]
fn a_background_process_waits_for_the_foreground() {
    let pty = Pty::open();
    assert_eq!(pty.spawn("session", true).wait().unwrap().code(), Some(7));
}

/// The child's half: does nothing when run as an ordinary test.
#[test]
fn runs_as_child() {
    let Ok(mode) = std::env::var(CHILD) else { return };
    let stdin = io::stdin();
    if mode == "session" {
        let mut job = Command::new(std::env::current_exe().unwrap());
        job.args(["--exact", "terminal::tests::runs_as_child", "--nocapture"]).env(CHILD, "background");
        let status = job.process_group(0).status().unwrap();
        std::process::exit(status.code().unwrap_or(1));
    }
    let guard = RawTerminal::enter(stdin.as_fd()).unwrap().unwrap();
    match mode.as_str() {
        "exit" => std::process::exit(3),
        "panic" => panic!("as asked"),
        "abort" => std::process::abort(),
        // SAFETY: none; the fault is the point.
        "fault" => unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) },
        "wait" => std::thread::sleep(Duration::from_secs(30)),
        "background" => {
            assert!(!is_foreground(stdin.as_fd()) && !is_raw(&stdin));
            // SAFETY: plain calls; a background process may take the foreground while it ignores SIGTTOU.
            unsafe {
                libc::signal(libc::SIGTTOU, libc::SIG_IGN);
                libc::tcsetpgrp(0, libc::getpgrp());
            }
            guard.resume();
            assert!(is_raw(&stdin));
            drop(guard);
            assert!(!is_raw(&stdin));
            std::process::exit(7);
        }
        other => panic!("unknown mode {other}"),
    }
}
