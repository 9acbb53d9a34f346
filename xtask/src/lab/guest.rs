//! A guest of a job: the monitor's process, the guest's console, and how it ended.

use super::console::Console;
use super::control::Control;
use super::jobs::Lab;
use crate::guests::READY;
use crate::process;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Takes away what only costs time on an emulated processor; nothing here is needed to boot.
const QUICK_BOOT: &str = "console=ttyS0 panic=-1 quiet mitigations=off nokaslr tsc=reliable no_timer_check cryptomgr.notests \
    random.trust_cpu=on";

/// Time for a guest to come to busybox.
pub const BOOT_SECONDS: u64 = 40;
/// Time for a guest to come to Debian's login prompt.
pub const LOGIN_SECONDS: u64 = 120;
/// Time for a command's answer.
pub const ANSWER_SECONDS: u64 = 20;

const POLL: Duration = Duration::from_millis(20);

/// How the monitor's exit status tells endings apart.
pub mod status {
    /// The guest switched itself off.
    pub const SHUTDOWN: i32 = 0;
    /// There was no guest to begin with.
    pub const NOT_STARTED: i32 = 1;
    /// The guest reset itself, and `--on-reset exit` was given.
    pub const RESET: i32 = 4;
    /// The guest crashed its processor, or the engine could not go on.
    pub const CRASH: i32 = 8;
    /// A second signal.
    pub const KILLED: i32 = 10;
}

/// A guest to be started.
pub struct Setup<'lab> {
    lab: &'lab Lab,
    name: String,
    kernel: PathBuf,
    command_line: String,
    arguments: Vec<String>,
    console_socket: bool,
    engine: &'static str,
}

impl Lab {
    /// A guest named `name` with one processor and Debian's kernel, as yet without disk and network.
    pub fn setup(&self, name: &str) -> Result<Setup<'_>> {
        let kernel = self.guests()?.bzimage.clone();
        let command_line = QUICK_BOOT.to_owned();
        let arguments = Vec::new();
        let engine = self.engine();
        let console_socket = false;
        Ok(Setup {
            lab: self,
            name: name.to_owned(),
            kernel,
            command_line,
            arguments,
            console_socket,
            engine,
        })
    }

    /// A guest named `name` that goes on from the snapshot `id` on this engine.
    pub fn restored(&self, name: &str, id: &str, engine: &str) -> Result<Guest> {
        let mut command = process::bound_to_us(self.yagura_with_cloud()?);
        command.args(["run", "--engine", engine, "--name", name, "--restore", id]);
        command.arg("--control").arg(control(self, name));
        launch(self, command, name, false)
    }
}

impl Setup<'_> {
    /// Boots another kernel file.
    pub fn kernel(mut self, kernel: &Path) -> Self {
        self.kernel = kernel.to_owned();
        self
    }

    /// Boots with the console and nothing else on the command line.
    pub fn plain_command_line(mut self) -> Self {
        "console=ttyS0".clone_into(&mut self.command_line);
        self
    }

    /// Adds to the kernel's command line.
    pub fn boot_with(mut self, words: &str) -> Self {
        self.command_line += " ";
        self.command_line += words;
        self
    }

    /// Adds arguments of the monitor.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Talks to the guest over a unix socket rather than over the monitor's standard input and output.
    pub fn console_socket(mut self) -> Self {
        self.console_socket = true;
        self
    }

    /// Runs on this engine rather than on the one that is being tested.
    pub fn engine(mut self, engine: &'static str) -> Self {
        self.engine = engine;
        self
    }

    /// Boots Debian from a fresh copy of its disk, in memory.
    pub fn debian(self) -> Result<Self> {
        let disk = self.lab.debian_disk(&self.name)?;
        Ok(self.boot_with("root=/dev/vda").with(&["--disk", &format!("path={}", disk.display())]))
    }

    /// Starts the monitor.
    pub fn start(self) -> Result<Guest> {
        let mut command = process::bound_to_us(self.lab.yagura()?);
        command.args(["run", "--engine", self.engine, "--name", &self.name]);
        command.arg("--cmdline").arg(&self.command_line);
        command.arg("--kernel").arg(self.lab.local(&self.kernel)?);
        command.arg("--initrd").arg(self.lab.local(&self.lab.guests()?.initrd)?);
        command.arg("--control").arg(control(self.lab, &self.name));
        command.args(default_arguments(&self.arguments)).args(&self.arguments);
        launch(self.lab, command, &self.name, self.console_socket)
    }
}

fn control(lab: &Lab, name: &str) -> PathBuf {
    lab.folder().join(format!("{name}.control"))
}

/// Starts the monitor by a command that lacks only the console.
fn launch(lab: &Lab, mut command: Command, name: &str, console_socket: bool) -> Result<Guest> {
    let socket = lab.folder().join(format!("{name}.console"));
    let log = lab.folder().join(format!("{name}.log"));
    if console_socket {
        command.arg("--console").arg(format!("socket={}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
    } else {
        command.args(["--console", "stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    }
    command.env("YAGURA_DIR", lab.yagura_dir()).stderr(File::create(&log)?);
    let shown = process::shown(&command);
    let mut child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
    let console = match (child.stdout.take(), child.stdin.take()) {
        (Some(output), Some(input)) => Console::over(output, input),
        _ => Console::at(&socket, lab.limit(ANSWER_SECONDS))?,
    };
    let limits = [BOOT_SECONDS, LOGIN_SECONDS, ANSWER_SECONDS].map(|seconds| lab.limit(seconds));
    let control = Control::at(&control(lab, name));
    Ok(Guest { child, console, control, name: name.to_owned(), log, limits, shown })
}

/// What the monitor is told where a job does not say it.
fn default_arguments(given: &[String]) -> Vec<&'static str> {
    let defaults = [["--cpus", "1"], ["--memory", "256M"], ["--net", "none"]];
    let absent = defaults.iter().filter(|[flag, _]| !given.iter().any(|argument| argument == flag));
    absent.flatten().copied().collect()
}

/// A guest that has been started; killed when this value goes.
pub struct Guest {
    child: Child,
    /// The guest's serial console.
    pub console: Console,
    /// The monitor's control socket.
    pub control: Control,
    /// What it is called.
    pub name: String,
    log: PathBuf,
    limits: [Duration; 3],
    shown: String,
}

impl Guest {
    /// Waits for busybox's first word.
    pub fn ready(&mut self) -> Result<()> {
        let limit = self.limits[0];
        let heard = self.console.expect(READY, limit).map(drop);
        self.explained(heard)
    }

    /// Waits for Debian's login prompt and logs in.
    pub fn log_in(&mut self) -> Result<()> {
        let [_, limit, answer] = self.limits;
        let heard = self.console.expect("login: ", limit).map(drop);
        self.explained(heard)?;
        self.console.send("root\n")?;
        let heard = self.console.expect(":~#", limit).map(drop);
        self.explained(heard)?;
        self.console.command("export TERM=dumb; dmesg -n 1", answer).map(drop)
    }

    /// Types a command and returns its answer.
    pub fn command(&mut self, command: &str) -> Result<String> {
        let limit = self.limits[2];
        self.slow_command(command, limit)
    }

    /// Types a command that takes longer than most, and returns its answer.
    pub fn slow_command(&mut self, command: &str, limit: Duration) -> Result<String> {
        let answer = self.console.command(command, limit);
        self.explained(answer)
    }

    /// The monitor's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the monitor a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no such process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Switches the guest off from inside, and sees to it that this is what the monitor says.
    pub fn power_off(&mut self) -> Result<()> {
        self.console.send("poweroff -f\n")?;
        self.ended_with(status::SHUTDOWN)
    }

    /// Waits for the monitor's end, and checks its exit status.
    pub fn ended_with(&mut self, wanted: i32) -> Result<()> {
        let ended = self.wait();
        let status = self.explained(ended)?;
        let outcome = if status.code() == Some(wanted) {
            Ok(())
        } else {
            Err(anyhow::anyhow!("the monitor ended with {status}, wanted {wanted}"))
        };
        self.explained(outcome)
    }

    /// Waits for the monitor's end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + self.limits[0];
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        bail!("{} did not end in time", self.name)
    }

    /// Shows what the monitor itself said, and what its threads are doing, beside an error.
    fn explained<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|_| {
            let log = self.said().unwrap_or_default();
            println!("--- {}\n{}", self.shown, process::tail(&log, 20));
            println!("--- threads\n{}---", threads(self.child.id()));
            for _ in 0..2 {
                println!("--- state {:?}", self.control.get("/state"));
                println!("--- counters {:?}", self.control.get("/counters"));
                println!("--- KVM {}", kvm_statistics(self.child.id()));
                std::thread::sleep(Duration::from_secs(1));
            }
        })
    }

    /// What the monitor itself has said.
    pub fn said(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// Checks that the monitor is still running.
    pub fn is_running(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "{} has ended", self.name);
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What KVM counted for a process's virtual machine, where debugfs can be read: figures that are not zero.
fn kvm_statistics(pid: u32) -> String {
    let figures = kvm_figures(pid).into_iter().filter(|(_, count)| *count != 0);
    figures.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
}

/// What KVM counted for a process's virtual machine, by name; nothing where debugfs cannot be read.
pub fn kvm_figures(pid: u32) -> Vec<(String, u64)> {
    const FOLDER: &str = "/sys/kernel/debug/kvm";
    if !Path::new(FOLDER).exists() {
        // Where it cannot be mounted there is nothing to read.
        let _ =
            std::process::Command::new("mount").args(["-t", "debugfs", "none", "/sys/kernel/debug"]).status();
    }
    let entries =
        |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{pid}-")))
    };
    let figure = |path: PathBuf| {
        let value = std::fs::read_to_string(&path).ok()?.trim().parse().ok()?;
        Some((path.file_name()?.to_string_lossy().into_owned(), value))
    };
    entries(FOLDER.into()).filter(is_ours).flat_map(entries).filter_map(figure).collect()
}

/// A line for each thread of a process: name, state, and the innermost function of the kernel that it is in.
fn threads(pid: u32) -> String {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return "none\n".to_owned() };
    let line = |task: PathBuf| {
        let read = |name: &str| std::fs::read_to_string(task.join(name)).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default();
        format!("{:<16} {:<16} {}\n", read("comm").trim(), state.trim(), read("wchan"))
    };
    tasks.flatten().map(|task| line(task.path())).collect()
}
