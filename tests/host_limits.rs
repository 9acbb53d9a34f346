//! Hosts that give a process little: each run works, or fails with one line; none waits for ever.
//!
//! A small guest drives a disk to its end (see `disk_writer`), with two vCPUs, a control socket and a second disk, so that
//! descriptors, threads and memory are wanted at the start and later.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;

/// Longer than any run here takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);
/// What the guest ends with.
const WORKED: i32 = 0x15 << 1 | 1;

struct Setup {
    folder: tempfile::TempDir,
}

/// How a run ended.
struct Ended {
    status: ExitStatus,
    heard: String,
    said: String,
}

impl Setup {
    fn new() -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup { folder };
        fs::set_permissions(setup.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(setup.path("kernel"), pvh_elf(guests::disk_writer(), LOAD_ADDRESS)).unwrap();
        setup.type_in("wwfzrrq");
        let sleeper = pvh_elf(guests::sleeper(), LOAD_ADDRESS);
        fs::write(setup.path("sleeper"), sleeper).unwrap();
        File::create(setup.path("disk")).unwrap().set_len(16 << 20).unwrap();
        disk::create_qcow2(&setup.path("image"), &disk::CreateOptions::new(16 << 20)).unwrap();
        for name in ["disk", "image"] {
            fs::set_permissions(setup.path(name), fs::Permissions::from_mode(0o666)).unwrap();
        }
        setup
    }

    /// What the guest is told, behind bytes that it does not heed: it empties its serial port first.
    fn type_in(&self, commands: &str) {
        fs::write(self.path("input"), format!("{}{commands}", " ".repeat(64))).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run, by way of programs that take something away first.
    fn command(&self, by_way_of: &[String], kernel: &str) -> Command {
        let mut words: Vec<String> = by_way_of.to_vec();
        words.push(env!("CARGO_BIN_EXE_yagura").to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["run", "--name", "test", "--memory", "32M", "--cpus", "2"]);
        command.args(["--engine", "soft", "--debug-exit", "0xf4", "--kernel"]).arg(self.path(kernel));
        command.arg("--control").arg(self.path("control")).env("YAGURA_DIR", self.path("yagura"));
        for disk in [
            format!("path={}", self.path("disk").display()),
            format!("path={},format=qcow2", self.path("image").display()),
        ] {
            command.args(["--disk", &disk]);
        }
        command.stdin(File::open(self.path("input")).unwrap());
        command.stdout(Stdio::piped()).stderr(File::create(self.path("stderr")).unwrap());
        command
    }

    fn run(&self, by_way_of: &[String]) -> Ended {
        let mut child = self.command(by_way_of, "kernel").spawn().unwrap();
        let status = wait(&mut child).unwrap_or_else(|| panic!("{by_way_of:?} hangs: {}", self.said()));
        let mut heard = String::new();
        child.stdout.take().unwrap().read_to_string(&mut heard).unwrap();
        Ended { status, heard, said: self.said() }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// Runs with each limit; those that worked.
    fn sweep(&self, limits: impl Iterator<Item = u64>, by_way_of: impl Fn(u64) -> Vec<String>) -> Vec<u64> {
        let mut worked = Vec::new();
        for limit in limits {
            let ended = self.run(&by_way_of(limit));
            let Ended { status, heard, said } = &ended;
            if status.code() == Some(WORKED) {
                assert_eq!(heard, "!00000", "limit {limit}: {said}");
                assert_eq!(said, "", "limit {limit}");
                worked.push(limit);
            } else {
                assert!(status.code().is_some_and(|code| code != 0), "limit {limit}: {status}: {said}");
                assert_eq!(said.lines().count(), 1, "limit {limit}, {status}: {said}");
                assert!(!said.contains("panicked") && !said.contains("::"), "limit {limit}: {said}");
            }
        }
        worked
    }
}

/// Nothing where it does not end in time.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn prlimit_words(option: &str) -> Vec<String> {
    vec!["prlimit".to_owned(), option.to_owned()]
}

#[test]
fn descriptors() {
    let setup = Setup::new();
    let worked = setup.sweep(3..=64, |limit| prlimit_words(&format!("--nofile={limit}:{limit}")));
    // What works with few works with more.
    let least = *worked.first().expect("64 descriptors are enough");
    assert_eq!(worked, (least..=64).collect::<Vec<_>>());
    // The soft limit alone is raised.
    let ended = setup.run(&prlimit_words("--nofile=16:1024"));
    assert_eq!((ended.status.code(), &ended.said[..]), (Some(WORKED), ""));
}

#[test]
fn threads() {
    let setup = Setup::new();
    let user = |limit| {
        let words = ["setpriv", "--reuid", "61234", "--regid", "61234", "--clear-groups", "prlimit"];
        words.into_iter().map(str::to_owned).chain([format!("--nproc={limit}:{limit}")]).collect::<Vec<_>>()
    };
    if rustix::process::getuid().is_root() {
        let probe = user(100);
        let sees = Command::new(&probe[0])
            .args(&probe[1..])
            .args([env!("CARGO_BIN_EXE_yagura"), "--version"])
            .output();
        if !sees.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: another user cannot execute what was built here");
            return;
        }
        let worked = setup.sweep(1..=24, user);
        assert_eq!(worked.last(), Some(&24), "24 threads are enough: {worked:?}");
    } else {
        // Whoever runs this has more processes than that already.
        let worked =
            setup.sweep([1, 2].into_iter(), |limit| prlimit_words(&format!("--nproc={limit}:{limit}")));
        assert!(worked.is_empty());
    }
}

#[test]
fn address_space() {
    let setup = Setup::new();
    // With less the kernel or the loader ends it before there is anything of ours.
    let starts = |option: &str| {
        let output =
            Command::new("prlimit").args([option, env!("CARGO_BIN_EXE_yagura"), "--version"]).output();
        output.unwrap().status.code().is_some_and(|code| code < 2)
    };
    let megabytes = (8..64).step_by(8).chain((64..512).step_by(32)).chain([1024, 4096]);
    let megabytes = megabytes.filter(|limit| starts(&format!("--as={}", limit << 20)));
    let worked = setup.sweep(megabytes, |limit| prlimit_words(&format!("--as={}", limit << 20)));
    assert_eq!(worked.last(), Some(&4096));
    let worked = setup
        .sweep((8..256).step_by(24).chain([4096]), |limit| prlimit_words(&format!("--data={}", limit << 20)));
    assert_eq!(worked.last(), Some(&4096));
}

#[test]
fn lengths_of_files() {
    let setup = Setup::new();
    setup.type_in("wwwq");
    let ended = setup.run(&prlimit_words("--fsize=70000:70000"));
    assert_eq!((ended.status.code(), &ended.heard[..]), (Some(WORKED), "!011"), "{}", ended.said);
    assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
    // Commands, too.
    let new = setup.path("new");
    let yagura = env!("CARGO_BIN_EXE_yagura");
    let create = |size: &str| {
        let mut command = Command::new("prlimit");
        command.args([
            "--fsize=65536:65536",
            yagura,
            "disk",
            "create",
            "--disk-format",
            "raw",
            "--size",
            size,
        ]);
        command.arg(&new).output().unwrap()
    };
    let output = create("1M");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().count() == 1 && said.contains("/new: File too large"), "{said}");
    assert!(!new.exists());
    assert!(create("65536B").status.success());
}

/// Processor time of a process, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    fields.map(|text| text.parse::<u64>().unwrap()).sum()
}

/// A control socket whose process runs out of descriptors, for the server itself or for more clients: they wait, and it
/// does not spin.
#[test]
fn clients_that_cannot_be_accepted_wait() {
    let setup = Setup::new();
    let mut child = setup.command(&prlimit_words("--nofile=256:256"), "sleeper").spawn().unwrap();
    let mut byte = [0];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let limit = |current| {
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(current), maximum: Some(256) }).unwrap();
    };
    let open = || fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count() as u64;
    let ask = |mut client: UnixStream| {
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.write_all(b"GET /state HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    // No room for the server; then, with that, room for two clients.
    for room in [1, 2] {
        limit(open() + room);
        let clients: Vec<UnixStream> =
            (0..10).map(|_| UnixStream::connect(setup.path("control")).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(300));
        let before = ticks(child.id());
        std::thread::sleep(Duration::from_secs(2));
        // 100 ticks are a second: something that spins takes 200.
        let taken = ticks(child.id()) - before;
        assert!(taken < 60, "{taken} ticks in 2 s, room for {room}");
        let said = setup.said();
        assert!(said.lines().count() <= room as usize && said.len() < 1000, "{said}");
        if room == 1 {
            limit(256);
        }
        // Each is served as those before it go.
        clients.into_iter().for_each(ask);
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

/// A socket that another process has put at the control socket's path stays.
#[test]
fn another_s_socket_stays() {
    let setup = Setup::new();
    for option in ["control", "console"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
        let socket = setup.path("socket");
        command.args(["run", "--engine", "soft", "--memory", "32M", "--kernel"]).arg(setup.path("sleeper"));
        command.env("YAGURA_DIR", setup.path("yagura"));
        match option {
            "control" => command.arg("--control").arg(&socket),
            _ => command.arg(format!("--console=socket={}", socket.display())),
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + LIMIT;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "{option}");
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::rename(&socket, setup.path("moved")).unwrap();
        let theirs = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for _ in 0..2 {
            rustix::process::kill_process(Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(wait(&mut child).unwrap().code(), Some(10));
        assert!(socket.exists(), "{option}");
        drop(theirs);
        fs::remove_file(&socket).unwrap();
        fs::remove_file(setup.path("moved")).unwrap();
    }
}

fn open_paths(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

fn holds(pid: u32, path: &Path) -> bool {
    open_paths(pid).iter().any(|open| open == path)
}

/// A caller's descriptors are closed, but for those that the command line names.
#[test]
fn foreign_descriptors() {
    let setup = Setup::new();
    let secret = setup.path("secret");
    fs::write(&secret, "a secret").unwrap();
    let disk = setup.path("passed");
    fs::write(&disk, [0; 4096]).unwrap();
    // The shell gives its children what this test may not: descriptors that stay open.
    let script =
        format!("exec 7<{} 9<>{}; exec \"$@\" --disk path=/dev/fd/9", secret.display(), disk.display());
    let words = ["sh", "-c", &script, "sh"].map(str::to_owned);
    let mut child = setup.command(&words, "sleeper").spawn().unwrap();
    let mut byte = [0];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let (has_secret, has_disk) = (holds(child.id(), &secret), holds(child.id(), &disk));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!has_secret && has_disk, "{}", setup.said());
}

/// What a person at a terminal sees of keys and signals is tested on pseudo-terminals, in `host_sys::terminal`; here, that
/// every signal that ends a monitor does so at once, with files closed and locks gone.
#[test]
fn signals_end_a_monitor() {
    let setup = Setup::new();
    for signal in [10, 12, 14, 6, 3, 24, 26, 27, 29, 30, 31, 34, 64] {
        let mut child = setup.command(&["env".to_owned()], "sleeper").spawn().unwrap();
        let mut byte = [0];
        child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([format!("-{signal}"), pid]).status().unwrap().success());
        assert_eq!(wait(&mut child).unwrap().signal(), Some(signal), "{}", setup.said());
        let socket = setup.path("control");
        assert!(UnixStream::connect(&socket).is_err(), "nobody listens");
        let disk = File::options().read(true).write(true).open(setup.path("disk")).unwrap();
        assert!(disk.as_raw_fd() >= 0 && disk::claim(&setup.path("disk")).is_ok());
    }
}
