//! Where VMs, snapshots and names of one test are.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use test_guests::guests::{self, LOAD_ADDRESS};
use test_guests::pvh_elf;

use crate::monitor::{Engine, Monitor};

pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn folder(&self) -> PathBuf {
        self.0.path().join("yagura")
    }

    /// A raw disk of 1 MiB that begins with `bytes`.
    pub fn disk(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        let file = fs::File::create_new(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        path
    }

    /// A VM whose guest counts what it is sent.
    pub fn counting(&self, engine: Engine, name: &str, arguments: &[&str]) -> Monitor {
        let kernel = pvh_elf(guests::counter(), LOAD_ADDRESS);
        let arguments = [&["--name", name], arguments].concat();
        let monitor =
            Monitor::start_among(tempfile::tempdir().unwrap(), &self.folder(), engine, &kernel, &arguments);
        assert_eq!(monitor.receive(), b'!', "{}", monitor.said());
        monitor
    }

    /// A VM that goes on from a snapshot.
    pub fn restored(&self, engine: Engine, id: &str, name: &str, arguments: &[&str]) -> Monitor {
        let arguments = [&["--restore", id, "--name", name], arguments].concat();
        Monitor::start_with(tempfile::tempdir().unwrap(), &self.folder(), engine, &arguments)
    }

    pub fn command(&self, text: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
        command.args(text.split_whitespace()).env("YAGURA_DIR", self.folder()).env_remove("YAGURA_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// What a command comes to: its exit status, and what it says.
    pub fn ask(&self, text: &str) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(text).stdout(Stdio::piped()).output().unwrap();
        (status.code().unwrap(), String::from_utf8(stderr).unwrap() + &String::from_utf8(stdout).unwrap())
    }

    #[track_caller]
    pub fn good(&self, text: &str) {
        assert_eq!(self.ask(text), (0, String::new()), "{text}");
    }

    /// One that is done, whatever it says.
    #[track_caller]
    pub fn done(&self, text: &str) -> String {
        let (status, said) = self.ask(text);
        assert_eq!(status, 0, "{text}: {said}");
        said
    }

    /// One that fails: its last line says this; those before tell how long it took.
    #[track_caller]
    pub fn bad_in_the_end(&self, text: &str, words: &str) {
        let (status, said) = self.ask(text);
        assert!(status == 1 && said.lines().last().unwrap().contains(words), "{text}: {said}");
    }

    /// One that fails: its line says this.
    #[track_caller]
    pub fn bad(&self, text: &str, status: i32, words: &str) {
        let (found, said) = self.ask(text);
        assert!(said.lines().count() == 1 && said.contains(words), "{text}: {said}");
        assert_eq!(found, status, "{text}: {said}");
    }

    #[track_caller]
    pub fn json(&self, text: &str) -> Value {
        // What is said besides is for a person.
        let Output { status, stdout, stderr } = self.command(text).stdout(Stdio::piped()).output().unwrap();
        assert!(status.success(), "{text}: {}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).unwrap()
    }

    pub fn info(&self, name: &str) -> Value {
        self.json(&format!("info {name} --json"))
    }

    /// The folder of a snapshot.
    pub fn snapshot(&self, id: &str) -> PathBuf {
        self.folder().join("snapshots").join(id)
    }

    /// What nobody was to leave: names that begin with a dot.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.0.path(), &mut found);
        found
    }
}

/// Clones outlive who made them: those of a test that failed are not to.
impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let rows = self.json("list --format json");
            let names = rows.as_array().into_iter().flatten().filter_map(|row| row["name"].as_str());
            names.for_each(|name| drop(self.ask(&format!("stop --force {name}"))));
        }
    }
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path().display().to_string());
        }
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        }
    }
}

/// The next counts of a guest, each asked for by a byte.
pub fn count(monitor: &mut Monitor, times: usize) -> Vec<u8> {
    let mut counts = Vec::new();
    for _ in 0..times {
        monitor.send(b"x");
        counts.push(monitor.receive());
    }
    counts
}
