//! Where Yagura's machines, snapshots and names of one measurement are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use vm_client::{RunFolder, VmClient};

use crate::process;

/// A `YAGURA_DIR` that goes with everything in it.
pub struct Place {
    yagura: PathBuf,
    folder: tempfile::TempDir,
}

impl Place {
    /// One below `folder`, for this executable.
    pub fn new(yagura: &Path, folder: &Path) -> Result<Place> {
        std::fs::create_dir_all(folder)?;
        Ok(Place { yagura: yagura.to_owned(), folder: tempfile::tempdir_in(folder)? })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `yagura` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.yagura);
        command.env("YAGURA_DIR", self.folder()).args(arguments);
        command
    }

    /// A machine on this engine.
    pub fn machine(&self, engine: &str, name: &str) -> Command {
        self.command(&["run", "--engine", engine, "--name", name, "--console", "stdio"])
    }

    /// Runs `yagura` to its end: what it printed, and how many milliseconds it took.
    pub fn ask(&self, arguments: &[&str]) -> Result<(String, f64)> {
        let began = Instant::now();
        let printed = process::output(&mut self.command(arguments))?;
        Ok((printed, began.elapsed().as_secs_f64() * 1e3))
    }

    /// The control socket of a machine.
    pub fn client(&self, name: &str) -> VmClient {
        let variable = |asked: &str| (asked == "YAGURA_DIR").then(|| self.folder().into());
        RunFolder::new(&vm_control::run_folder::folder(variable, 0)).client(name)
    }
}
