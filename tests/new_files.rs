//! Files that commands make: whole under their names or not there, whatever ends the command; nobody else's to read.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod folder;
mod monitor;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use folder::Folder;
use rustix::process::{Pid, Signal, kill_process};

impl Folder {
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Data that no compression makes short: a source of `megabytes`.
fn source(path: &Path, megabytes: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let words = (0..megabytes << 17).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    fs::write(path, words.collect::<Vec<u8>>()).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Ends a command after `delay`; whether it was still at work.
fn end(mut child: Child, signal: Signal, delay: Duration) -> bool {
    std::thread::sleep(delay);
    let pid = Pid::from_child(&child);
    let at_work = child.try_wait().unwrap().is_none();
    if at_work {
        kill_process(pid, signal).unwrap();
    }
    !child.wait().unwrap().success() && at_work
}

#[test]
fn a_command_that_is_killed_leaves_nothing_or_all() {
    let folder = Folder::new();
    source(&folder.path("source"), 48);
    let commands = [
        "disk convert source made --from raw --to raw",
        "disk convert source made --from raw --to qcow2",
        "disk convert source made --from raw --to qcow2 --compress",
    ];
    let mut killed = 0;
    for command in commands {
        let began = Instant::now();
        assert!(folder.run(command).status.success());
        let whole = began.elapsed();
        let right = fs::read(folder.path("made")).unwrap();
        fs::remove_file(folder.path("made")).unwrap();
        for (round, signal) in
            [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1]
                .iter()
                .cycle()
                .take(12)
                .enumerate()
        {
            let child = folder.command(command).stderr(Stdio::null()).spawn().unwrap();
            killed += u32::from(end(child, *signal, whole.mul_f64((round + 1) as f64 / 13.0)));
            if folder.names() != ["source"] {
                assert_eq!(folder.names(), ["made", "source"], "{command}, {signal:?}");
                assert!(
                    fs::read(folder.path("made")).unwrap() == right,
                    "{command}, {signal:?}: made in part"
                );
                fs::remove_file(folder.path("made")).unwrap();
            }
        }
    }
    assert!(killed >= 12, "only {killed} commands were killed at work");
}

/// An import has a store to keep clean: whoever ends it by a signal that can be caught finds nothing of it there.
#[test]
fn an_import_that_is_ended_leaves_nothing_in_the_store() {
    let folder = Folder::new();
    source(&folder.path("source"), 64);
    let store = folder.path("store");
    let import = "image import source --format raw --alias mine";
    let command = || {
        let mut command = folder.command(import);
        command.env("YAGURA_DIR", &store).stderr(Stdio::null());
        command
    };
    let names = |below: &str| {
        let entries = fs::read_dir(store.join(below)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let began = Instant::now();
    assert!(command().status().unwrap().success());
    let whole = began.elapsed();
    fs::remove_dir_all(&store).unwrap();
    let mut ended = 0;
    for (round, signal) in [Signal::INT, Signal::TERM, Signal::HUP].iter().cycle().take(9).enumerate() {
        let delay = whole.mul_f64((round + 1) as f64 / 10.0);
        ended += u32::from(end(command().spawn().unwrap(), *signal, delay));
        assert!(names("staging").is_empty(), "{signal:?} after {delay:?}: {:?}", names("staging"));
        let is_there = names("images").len() == 1;
        assert_eq!(names("blobs/sha256").len(), usize::from(is_there), "{signal:?} after {delay:?}");
        if is_there {
            fs::remove_dir_all(&store).unwrap();
        }
    }
    assert!(ended >= 3, "only {ended} imports were ended at work");
    assert!(command().status().unwrap().success());
}

#[test]
fn a_command_without_room_leaves_nothing() {
    let folder = Folder::new();
    source(&folder.path("source"), 4);
    let Some(mount) = monitor::SmallMount::new(2 << 20) else { return };
    for format in ["raw", "qcow2"] {
        let target = mount.path().join("made");
        let output =
            folder.run(&format!("disk convert source {} --from raw --to {format}", target.display()));
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.lines().count() == 1 && said.contains("No space left"), "{said}");
        assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0, "{format}");
    }
}

#[test]
fn of_two_commands_for_one_name_one_makes_it() {
    let folder = Folder::new();
    source(&folder.path("one"), 8);
    source(&folder.path("two"), 9);
    for round in 0..4 {
        let children = ["one", "two"].map(|name| {
            let command = format!("disk convert {name} made --from raw --to raw");
            folder.command(&command).stderr(Stdio::piped()).spawn().unwrap()
        });
        let outputs = children.map(|child| child.wait_with_output().unwrap());
        let won: Vec<bool> = outputs.iter().map(|output| output.status.success()).collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}: {outputs:?}");
        let lost = outputs.iter().find(|output| !output.status.success()).unwrap();
        assert!(String::from_utf8_lossy(&lost.stderr).contains("made exists already"), "{lost:?}");
        let made = fs::read(folder.path("made")).unwrap();
        let right = fs::read(folder.path(if won[0] { "one" } else { "two" })).unwrap();
        assert!(made == right);
        assert_eq!(folder.names(), ["made", "one", "two"]);
        fs::remove_file(folder.path("made")).unwrap();
    }
}

#[test]
fn what_is_there_stays() {
    let folder = Folder::new();
    source(&folder.path("source"), 1);
    fs::write(folder.path("kept"), "kept").unwrap();
    symlink("kept", folder.path("link")).unwrap();
    symlink("nowhere", folder.path("dangling")).unwrap();
    fs::create_dir(folder.path("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.path("fifo")).status().unwrap().success());
    let targets = [
        ("kept", "kept exists already"),
        ("link", "link exists already"),
        ("dangling", "dangling exists already"),
        ("folder", "folder is a directory"),
        ("fifo", "fifo is neither a file nor a block device"),
        ("/dev/stdout", "/dev/stdout is neither a file nor a block device"),
        ("/dev/null", "/dev/null is neither a file nor a block device"),
        ("none/made", "cannot make none/made"),
    ];
    let before = folder.names();
    for (target, words) in targets {
        for command in [
            format!("disk convert source {target} --from raw --to raw"),
            format!("disk convert source {target} --from raw --to qcow2"),
            format!("disk create {target} --size 1M"),
            format!("disk create {target} --size 1M --disk-format raw"),
        ] {
            let output = folder.run(&command);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command}: {said}");
            assert!(said.lines().count() == 1 && said.contains(words), "{command}: {said}");
            assert!(output.stdout.is_empty(), "{command}");
        }
    }
    assert_eq!(folder.names(), before);
    assert_eq!(fs::read(folder.path("kept")).unwrap(), b"kept");
}

#[test]
fn files_are_their_owner_s_alone_unless_told_otherwise() {
    let folder = Folder::new();
    source(&folder.path("source"), 1);
    let commands = [
        "disk create made --size 1M",
        "disk create made --size 1M --disk-format raw",
        "disk convert source made --from raw --to raw",
        "disk convert source made --from raw --to qcow2",
    ];
    for umask in ["000", "022", "077"] {
        for command in commands {
            for (option, right) in [("", 0o600), (" --mode 0640", 0o640), (" --mode 666", 0o666)] {
                let words = format!("umask {umask}; exec \"$@\"");
                let mut shell = Command::new("sh");
                shell.args(["-c", &words, "sh", env!("CARGO_BIN_EXE_yagura")]);
                shell.args(format!("{command}{option}").split_whitespace()).current_dir(folder.0.path());
                assert!(shell.status().unwrap().success());
                assert_eq!(mode(&folder.path("made")), right, "umask {umask}, {command}{option}");
                fs::remove_file(folder.path("made")).unwrap();
            }
        }
    }
    for bad in ["rw", "0755", "7777", "0400"] {
        assert_eq!(
            folder.run(&format!("disk create made --size 1M --mode {bad}")).status.code(),
            Some(2),
            "{bad}"
        );
    }
}

#[test]
fn a_console_s_log_is_its_owner_s_alone_unless_told_otherwise() {
    for (option, right) in [("", 0o600), (",mode=0644", 0o644)] {
        let mut monitor = monitor::Engine::Soft
            .start(test_guests::guests::hello(), &["--console", &format!("file=DIR/log{option}")]);
        assert_eq!(monitor.wait().code(), Some(0));
        assert_eq!(mode(&monitor.path("log")), right);
        assert_eq!(fs::read(monitor.path("log")).unwrap(), b"!");
    }
}

/// A loop device, where this host lets its users have one.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Option<Loop> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        if name.is_empty() {
            println!("SKIPPED: no loop device to be had");
            return None;
        }
        Some(Loop(name))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_is_written_in_place() {
    let folder = Folder::new();
    let mut data = vec![0; 1 << 20];
    data[..4096].fill(7);
    data[900_000..900_100].fill(8);
    fs::write(folder.path("source"), &data).unwrap();
    fs::write(folder.path("device"), vec![0xff; 2 << 20]).unwrap();
    let Some(device) = Loop::new(&folder.path("device")) else { return };
    let to = |format: &str| folder.run(&format!("disk convert source {} --from raw --to {format}", device.0));
    let output = to("raw");
    assert!(output.status.success(), "{output:?}");
    let image = to("qcow2");
    assert!(String::from_utf8_lossy(&image.stderr).contains("only raw disks are kept on one"), "{image:?}");
    File::options().write(true).open(folder.path("source")).unwrap().set_len(3 << 20).unwrap();
    let small = to("raw");
    assert!(
        String::from_utf8_lossy(&small.stderr).contains("has 2097152 bytes, and the disk 3145728"),
        "{small:?}"
    );
    drop(device);
    let written = fs::read(folder.path("device")).unwrap();
    assert!(written[..1 << 20] == data[..], "the disk, its zeros too");
    assert!(written[1 << 20..].iter().all(|byte| *byte == 0xff), "and nothing behind it");
}
