//! A process that has confined itself: what it can still do, and how it ends when it tries anything else; as this
//! user, as one without any rights, and on hosts that have no user namespaces.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox_probe");
/// A user that owns nothing.
const NOBODY: &str = "65534";
/// In a user namespace that has none inside, with all rights that it gives.
const WITHOUT_USER_NAMESPACES: &str = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
/// The same without rights.
const WITHOUT_ANY_RIGHTS: &str = "echo 0 > /proc/sys/user/max_user_namespaces && \
    exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all \"$@\"";

/// Who starts the probe, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    AsIs,
    AsNobody,
    WithoutUserNamespaces,
    WithoutAnyRights,
}

impl Start {
    const ALL: [Start; 4] =
        [Start::AsIs, Start::AsNobody, Start::WithoutUserNamespaces, Start::WithoutAnyRights];

    /// What starts the probe; says so where this host cannot.
    fn command(self) -> Option<Command> {
        let command = |words: &[&str]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        let nobody = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
        let prefix: Vec<&str> = match self {
            Start::AsIs => return Some(Command::new(PROBE)),
            Start::AsNobody => nobody.to_vec(),
            Start::WithoutUserNamespaces => vec!["unshare", "-Ur", "sh", "-c", WITHOUT_USER_NAMESPACES, "sh"],
            Start::WithoutAnyRights => vec!["unshare", "-Ur", "sh", "-c", WITHOUT_ANY_RIGHTS, "sh"],
        };
        let test = command(&prefix).args(["test", "-x", PROBE]).output();
        if !test.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: this host does not let us start a probe {self:?}");
            return None;
        }
        let mut started = command(&prefix);
        started.arg(PROBE);
        Some(started)
    }

    fn run(self, action: &str) -> Option<Output> {
        // Without RUST_BACKTRACE, for which files would be opened.
        Some(self.command()?.arg(action).env_remove("RUST_BACKTRACE").output().unwrap())
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_readers_need_is_left() {
    for start in Start::ALL {
        for (action, words) in [
            ("nothing", "alive"),
            ("kept", "kept Ok(1)"),
            ("others", "others Some(Os { code: 9"),
            ("panic", "panic true"),
        ] {
            let Some(output) = start.run(action) else { continue };
            let said = said(&output);
            assert!(output.status.success() && said.contains("alive"), "{start:?} {action}: {output:?}");
            assert!(said.contains(words), "{start:?} {action}: {said}");
        }
    }
}

#[test]
fn everything_else_is_the_end() {
    let forbidden = [
        "open",
        "stat",
        "socket",
        "execve",
        "ptrace",
        "fork",
        "thread",
        "kill",
        "signal",
        "ioctl",
        "x32",
        "executable",
        "executable_later",
    ];
    for start in Start::ALL {
        for action in forbidden {
            let Some(output) = start.run(action) else { continue };
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{start:?} {action}: {output:?}");
        }
    }
}

#[test]
fn limits_end_it() {
    for start in Start::ALL {
        for (action, signal) in [("memory", libc::SIGABRT), ("processor", libc::SIGXCPU)] {
            let Some(output) = start.run(action) else { continue };
            assert_eq!(output.status.signal(), Some(signal), "{start:?} {action}: {output:?}");
        }
    }
}

#[test]
fn it_ends_with_its_parent() {
    // The shell goes when the probe has confined itself.
    let out = std::env::temp_dir().join(format!("sandbox-hang-{}", std::process::id()));
    let script = "\"$0\" hang > \"$1\" & while ! grep -q hanging \"$1\"; do sleep 0.02; done; echo $!";
    let output = Command::new("sh").args(["-c", script, PROBE]).arg(&out).output().unwrap();
    let probe = format!("/proc/{}/stat", said(&output).trim());
    let lives = || std::fs::read_to_string(&probe).is_ok_and(|stat| !stat.contains(") Z"));
    let begun = Instant::now();
    while lives() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!lives(), "{probe} goes on");
    std::fs::remove_file(out).unwrap();
}

#[test]
fn layers_that_are_refused_are_told() {
    for start in Start::ALL {
        let Some(output) = start.run("nothing") else { continue };
        let said = said(&output);
        let has = |layer: &str| !said.contains(&format!("refused {layer}"));
        println!("{start:?}: {said:?}");
        assert!(
            has("Descriptors")
                && has("NewPrivileges")
                && has("Capabilities")
                && has("Dumps")
                && has("Orphans"),
            "{said}"
        );
        assert_eq!(has("Landlock"), host_sys::features::landlock_version().is_ok(), "{said}");
        let unshared = start != Start::WithoutAnyRights;
        if start != Start::AsIs && start != Start::AsNobody {
            assert_eq!(has("Namespaces"), unshared, "{start:?}: {said}");
            assert_eq!(has("Root"), unshared, "{start:?}: {said}");
        }
    }
}

#[test]
fn a_process_with_threads_is_not_confined_in_part() {
    let output = Start::AsIs.run("threads").unwrap();
    assert!(said(&output).contains("unconfined: a process with 2 threads"), "{output:?}");
}
