//! A folder in which `yagura` is run as a person runs it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command line that starts in the folder, with settings of nobody's.
    pub fn command(&self, text: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
        command.args(text.split_whitespace()).current_dir(self.0.path()).env_remove("YAGURA_LOG");
        command.env("YAGURA_DIR", self.path("store")).stdin(Stdio::null());
        command
    }

    pub fn run(&self, text: &str) -> Output {
        self.command(text).output().unwrap()
    }
}
