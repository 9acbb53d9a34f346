//! QEMU's machines that are saved by `savevm`, into their qcow2 disk, and go on by `-loadvm`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A machine that is saved under this name.
pub const SAVED: &str = "s";

/// One of QEMU's machines.
pub struct Qemu {
    /// What makes it the machine it is: kind, accelerator, processor, RAM, kernel, devices.
    pub arguments: Vec<String>,
    /// Where its monitor listens (QMP).
    pub monitor: PathBuf,
}

impl Qemu {
    /// Starts it cold.
    pub fn cold(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
        ]);
        command.args(&self.arguments);
        command.arg("-qmp").arg(format!("unix:{},server,nowait", self.monitor.display()));
        command
    }

    /// Has it go on where it was saved.
    pub fn restored(&self) -> Command {
        let mut command = self.cold();
        command.args(["-loadvm", SAVED]);
        command
    }

    /// Saves the machine that runs; milliseconds in which its guest stood still.
    pub fn save(&self) -> Result<f64> {
        let mut monitor = Monitor::at(&self.monitor)?;
        let began = Instant::now();
        let said = monitor.type_in(&format!("savevm {SAVED}"))?;
        ensure!(said.is_empty(), "savevm: {said}");
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }
}

/// Bytes of the machine's state in a qcow2 disk.
pub fn saved_bytes(info: &str) -> Result<u64> {
    let info: Value = serde_json::from_str(info)?;
    info["snapshots"][0]["vm-state-size"].as_u64().context("the disk has no saved machine")
}

/// QEMU's monitor, by its machine protocol.
struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    fn at(socket: &Path) -> Result<Monitor> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(error) => bail!("cannot connect to {}: {error}", socket.display()),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Monitor { lines: BufReader::new(stream) };
        let mut greeting = String::new();
        monitor.lines.read_line(&mut greeting)?;
        monitor.ask(&json!({"execute": "qmp_capabilities"}))?;
        Ok(monitor)
    }

    /// What the monitor for people answers to a line.
    fn type_in(&mut self, line: &str) -> Result<String> {
        let order = json!({"execute": "human-monitor-command", "arguments": {"command-line": line}});
        let answer = self.ask(&order)?;
        Ok(answer.as_str().unwrap_or_default().trim().to_owned())
    }

    fn ask(&mut self, order: &Value) -> Result<Value> {
        writeln!(self.lines.get_mut(), "{order}")?;
        loop {
            let mut line = String::new();
            ensure!(self.lines.read_line(&mut line)? > 0, "QEMU has closed its monitor");
            let mut answer: Value = serde_json::from_str(&line)?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU's monitor: {error}");
            }
            // Events come in between.
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_has_a_size() {
        let info = r#"{"snapshots": [{"name": "s", "vm-state-size": 77}], "format": "qcow2"}"#;
        assert_eq!(saved_bytes(info).unwrap(), 77);
        assert!(saved_bytes("{}").is_err());
    }
}
