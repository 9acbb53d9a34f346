//! The user's terminal in raw mode, put back in every way of ending.

use anyhow::{Context, Result, ensure};
use std::io::{Read, stdin};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

/// Keeps the terminal (its standard error) raw for as long as its standard input is open. The kernel closes
/// that when we end, however we end; and what is sent to our process group does not end the keeper.
const KEEPER: &str = "trap '' INT TERM HUP QUIT TTOU TSTP; saved=$(stty -g <&2) || exit; \
    stty raw -echo <&2; echo raw; cat >/dev/null; stty \"$saved\" <&2";

/// A terminal in raw mode; put back when this value goes.
pub struct RawTerminal {
    keeper: Child,
}

impl RawTerminal {
    /// Puts the terminal on our standard input into raw mode.
    pub fn enter() -> Result<Self> {
        let terminal = stdin().as_fd().try_clone_to_owned()?;
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(terminal);
        let mut keeper = command.spawn().context("cannot run sh")?;
        let mut word = [0; 4];
        let said = keeper.stdout.take().map(|mut output| output.read_exact(&mut word));
        ensure!(matches!(said, Some(Ok(()))), "cannot put the terminal into raw mode");
        Ok(Self { keeper })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
