//! A monitor process under test: started with a small guest, talked to over its console, ended in every case.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test file uses a part of it")]

use std::cell::Cell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use test_guests::guests::LOAD_ADDRESS;
use test_guests::pvh_elf;

/// Longer than anything here takes, on a busy machine too.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Why guests cannot be started here, if they cannot. A test that finds a reason prints it and returns.
pub fn skipped() -> bool {
    let opened = std::fs::File::options().read(true).write(true).open("/dev/kvm");
    if let Err(error) = &opened {
        println!("SKIPPED: /dev/kvm cannot be opened: {error}");
    }
    opened.is_err()
}

/// What executes the guests of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Kvm,
    Soft,
}

impl Engine {
    /// Starts `guest`, entered by PVH.
    pub fn start(self, guest: &[u8], arguments: &[&str]) -> Monitor {
        Monitor::start(self, guest, arguments)
    }

    /// Starts the kernel `image` with 64 MiB and its console on pipes. `DIR` in `arguments` stands for the test's
    /// folder.
    pub fn start_kernel(self, image: &[u8], arguments: &[&str]) -> Monitor {
        Monitor::start_kernel(self, image, arguments)
    }

    pub fn name(self) -> &'static str {
        match self {
            Engine::Kvm => "kvm",
            Engine::Soft => "soft",
        }
    }
}

/// Makes two tests out of each function of an [`Engine`]: one under KVM, where there is one, and one in software.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod kvm {
            $(#[test]
            fn $name() {
                if !crate::monitor::skipped() {
                    super::$name(crate::monitor::Engine::Kvm);
                }
            })+
        }
        mod soft {
            $(#[test]
            fn $name() {
                super::$name(crate::monitor::Engine::Soft);
            })+
        }
    };
}
pub(crate) use on_each_engine;

/// A running monitor. Killed when dropped.
pub struct Monitor {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<u8>,
    /// What was heard before anybody asked.
    heard: Cell<Option<u8>>,
    pub folder: tempfile::TempDir,
    kept: Option<tempfile::TempDir>,
}

impl Monitor {
    /// Starts `guest`, entered by PVH.
    pub fn start(engine: Engine, guest: &[u8], arguments: &[&str]) -> Monitor {
        Monitor::start_kernel(engine, &pvh_elf(guest, LOAD_ADDRESS), arguments)
    }

    /// Starts the kernel `image` with 64 MiB and its console on pipes. `DIR` in `arguments` stands for the test's
    /// folder.
    pub fn start_kernel(engine: Engine, image: &[u8], arguments: &[&str]) -> Monitor {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("yagura");
        let arguments = [&["--name", "test"], arguments].concat();
        Monitor::start_among(folder, &place, engine, image, &arguments)
    }

    /// The same beside other machines, which are found in the folder `place`, as YAGURA_DIR names it.
    pub fn start_among(
        folder: tempfile::TempDir,
        place: &Path,
        engine: Engine,
        image: &[u8],
        arguments: &[&str],
    ) -> Monitor {
        let kernel = folder.path().join("kernel");
        std::fs::write(&kernel, image).unwrap();
        let own = ["--memory", "64M", "--kernel", kernel.to_str().unwrap()];
        Monitor::start_with(folder, place, engine, &[&own, arguments].concat())
    }

    /// The same of a machine that `arguments` alone describe.
    pub fn start_with(
        folder: tempfile::TempDir,
        place: &Path,
        engine: Engine,
        arguments: &[&str],
    ) -> Monitor {
        Monitor::start_by(Command::new(env!("CARGO_BIN_EXE_yagura")), folder, place, engine, arguments)
    }

    /// The same by a command that takes the arguments of Yagura's.
    pub fn start_by(
        mut command: Command,
        folder: tempfile::TempDir,
        place: &Path,
        engine: Engine,
        arguments: &[&str],
    ) -> Monitor {
        command.env("YAGURA_DIR", place).env_remove("YAGURA_LOG");
        command.args(["run", "--engine", engine.name()]);
        let path = folder.path().to_str().unwrap().to_owned();
        command.args(arguments.iter().map(|argument| argument.replace("DIR", &path)));
        let errors = std::fs::File::create(folder.path().join("stderr")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let input = child.stdin.take();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            while stdout.read(&mut byte).is_ok_and(|count| count == 1) && sender.send(byte[0]).is_ok() {}
        });
        Monitor { child, input, output, heard: Cell::new(None), folder, kept: None }
    }

    /// A file in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Removes `folder` only after the process has ended.
    pub fn keep(&mut self, folder: tempfile::TempDir) {
        self.kept = Some(folder);
    }

    /// The folder that is kept.
    pub fn kept(&self) -> &Path {
        self.kept.as_ref().unwrap().path()
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types `bytes` at the console.
    pub fn send(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Whether the guest says nothing for a while.
    pub fn is_silent(&self) -> bool {
        self.output.recv_timeout(Duration::from_millis(200)).is_err()
    }

    /// The next byte from the console.
    pub fn receive(&self) -> u8 {
        if let Some(byte) = self.heard.take() {
            return byte;
        }
        self.output.recv_timeout(LIMIT).expect("the guest says nothing")
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Whether it ends before its guest says anything.
    pub fn ended_within_a_while(&mut self) -> bool {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if self.ended().is_some() {
                return true;
            }
            if let Ok(byte) = self.output.recv_timeout(Duration::from_millis(20)) {
                self.heard.set(Some(byte));
                return false;
            }
        }
        panic!("it neither ends nor says anything")
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the monitor does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sleeping process that holds namespaces of its own. It ends when dropped.
pub struct Holder(Child);

impl Holder {
    /// Namespaces of this kind, and of users, in which `script` has been run. Nothing where this host does not let its users
    /// have them, or the script fails.
    pub fn new(kind: &str, script: &str) -> Option<Holder> {
        let script = format!("{script} && echo ready && exec sleep 600");
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", kind, "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut ready = [0; 5];
        let is_ready = child.stdout.take().unwrap().read_exact(&mut ready).is_ok() && &ready == b"ready";
        let holder = Holder(child);
        is_ready.then_some(holder)
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A small file system in memory, mounted in a namespace of its own.
pub struct SmallMount {
    _holder: Holder,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallMount {
    /// Nothing where this host does not let its users have one.
    pub fn new(size_bytes: u64) -> Option<SmallMount> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let holder = Holder::new("--mount", &format!("mount -t tmpfs -o size={size_bytes} small {path}"));
        // A process sees another's file systems through its root, where it may trace it.
        let mount = holder.map(|holder| SmallMount {
            path: PathBuf::from(format!("/proc/{}/root{path}", holder.pid())),
            _holder: holder,
            _folder: folder,
        });
        let mount = mount.filter(|mount| std::fs::write(mount.path.join("probe"), "").is_ok());
        let Some(mount) = mount else {
            println!("SKIPPED: no file system can be mounted in a namespace here");
            return None;
        };
        std::fs::remove_file(mount.path.join("probe")).unwrap();
        Some(mount)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
