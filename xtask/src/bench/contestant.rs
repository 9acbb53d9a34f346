//! What runs a Linux guest's kernel and archive: Yagura's software engine, and QEMU's TCG.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use host_sys::child_usage;

use crate::process::{self, Ended};
use crate::workspace;

/// What a kernel gets that shall come up as it does for everybody.
pub const DEFAULT_COMMAND_LINE: &str = "console=ttyS0 panic=-1";
/// What a kernel gets that shall come up fast.
pub const FAST_COMMAND_LINE: &str = "console=ttyS0 panic=-1 quiet mitigations=off nokaslr tsc=reliable \
    no_timer_check cryptomgr.notests random.trust_cpu=on";
const RAM_MIB: u32 = 512;

/// A guest.
pub struct Guest<'a> {
    pub kernel: &'a Path,
    pub initrd: &'a Path,
    pub command_line: &'a str,
    pub cpus: u32,
}

/// A monitor in software.
pub enum Contestant {
    /// This project's.
    Yagura {
        /// The executable.
        binary: PathBuf,
        /// More for `yagura run`.
        arguments: Vec<String>,
    },
    /// QEMU's TCG on this kind of machine.
    Tcg {
        /// What `-M` takes.
        machine: &'static str,
    },
}

impl Contestant {
    /// The command that runs the guest with its serial port on standard output, until it powers off.
    pub fn command(&self, guest: &Guest) -> Command {
        match self {
            Contestant::Yagura { binary, arguments } => yagura(binary, arguments, guest),
            Contestant::Tcg { machine } => tcg(machine, guest),
        }
    }
}

fn yagura(binary: &Path, arguments: &[String], guest: &Guest) -> Command {
    let mut command = Command::new(binary);
    command.args(["run", "--engine", "soft", "--name", "bench", "--net", "none", "--console", "stdio"]);
    command.args(["--on-reset", "exit", "--memory", &format!("{RAM_MIB}M")]);
    command.args(["--cpus", &guest.cpus.to_string(), "--cmdline", guest.command_line]);
    command.arg("--kernel").arg(guest.kernel).arg("--initrd").arg(guest.initrd).args(arguments);
    command
}

/// The processor has all that TCG knows but page tables of five levels, which only cost it time; code for one vCPU
/// does without locked instructions where there is only one.
fn tcg(machine: &str, guest: &Guest) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-M", machine, "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]);
    command.args(["-m", &RAM_MIB.to_string(), "-smp", &guest.cpus.to_string()]);
    command.arg("-kernel").arg(guest.kernel).arg("-initrd").arg(guest.initrd);
    command.args(["-append", guest.command_line]);
    command
}

/// A process whose lines are told with the moment at which they came.
pub struct Lines {
    child: Ended,
    lines: Receiver<(Instant, String)>,
    started: Instant,
    shown: String,
    seen: String,
}

impl Lines {
    /// Starts the command. A VM of it has its name in a place of its own.
    pub fn start(mut command: Command) -> Result<Lines> {
        command.env("YAGURA_DIR", workspace::place());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = process::shown(&command);
        let started = Instant::now();
        let mut child: Child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
        let output = child.stdout.take().context("the process has no output")?;
        Ok(Lines { child: Ended::of(child), lines: read(output), started, shown, seen: String::new() })
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time that the process has used so far, in user and kernel mode together.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let used = child_usage::cpu_so_far(&self.child).context("the process has no clock")?;
        Ok(used.as_secs_f64())
    }

    /// What the process writes to its standard error, to be read by the caller.
    pub fn take_errors(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The next line without its end, before `deadline`; nothing when the process has closed its output.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<(Instant, String)>> {
        let patience = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(patience) {
            Ok((moment, line)) => {
                self.seen.push_str(&line);
                self.seen.push('\n');
                Ok(Some((moment, line)))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("{}", self.complain("did not end in time")),
        }
    }

    /// Waits for the process's end, which has closed its output.
    pub fn finish(mut self, deadline: Instant) -> Result<()> {
        while self.next(deadline)?.is_some() {}
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{}", self.complain(&format!("ended with {status}")));
        }
        Ok(())
    }

    /// What went wrong, with the command and its last words.
    pub fn complain(&mut self, what: &str) -> String {
        const LAST_LINES: usize = 12;
        let last = process::tail(&self.seen, LAST_LINES);
        // Whoever is stuck is ended, so that its own words can be read to their end.
        let _ = self.child.kill();
        let own = self.child.stderr.take().and_then(|from| std::io::read_to_string(from).ok());
        format!("{} {what}\n{last}\n{}", self.shown, own.unwrap_or_default())
    }
}

fn read(output: ChildStdout) -> Receiver<(Instant, String)> {
    let (to, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // A console may carry bytes that are no text.
        while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if to.send((Instant::now(), text)).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// The moment until which a run may take.
pub fn within(limit: Duration) -> Instant {
    Instant::now() + limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Lines {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Lines::start(command).unwrap()
    }

    #[test]
    fn lines_come_one_by_one() {
        let mut lines = shell("printf 'one\\r\\ntwo'");
        let deadline = within(Duration::from_secs(20));
        let mut next = || lines.next(deadline).unwrap().map(|(_, line)| line);
        assert_eq!((next().as_deref(), next().as_deref(), next()), (Some("one"), Some("two"), None));
        lines.finish(deadline).unwrap();
    }

    #[test]
    fn a_failure_is_told_with_the_last_words() {
        let lines = shell("echo almost; echo because >&2; exit 3");
        let error = lines.finish(within(Duration::from_secs(20))).unwrap_err().to_string();
        assert!(error.contains("almost") && error.contains("because") && error.contains('3'), "{error}");
    }

    #[test]
    fn who_is_stuck_is_ended() {
        let mut lines = shell("exec sleep 100");
        assert!(lines.next(within(Duration::from_millis(20))).is_err());
    }
}
