//! A machine that was started, and how long it takes until it says something.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

use crate::demo::PROMPT;
use crate::lab::console::Console;
use crate::process::{self, Ended};

/// What is typed at a shell, and what it answers; the echo of the one is not the other.
pub const QUESTION: &str = "echo $((6*7))-is-it\n";
pub const ANSWER: &str = "42-is-it";
/// A guest that has not answered by then will not, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(120);

/// Its process, ended when this goes, and its serial console.
pub struct Started {
    process: Ended,
    console: Console,
    began: Instant,
}

impl Started {
    /// Starts it, with this typed already.
    pub fn start(mut command: Command, typed: &str) -> Result<Started> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot run {}", process::shown(&command)))?;
        let mut process = Ended::of(child);
        let (output, input) = (process.stdout.take(), process.stdin.take());
        let (output, input) = output.zip(input).context("the process has no pipes")?;
        let mut console = Console::over(output, input);
        console.send(typed)?;
        Ok(Started { process, console, began })
    }

    /// Milliseconds from its start until it has said this.
    pub fn says(&mut self, words: &str) -> Result<f64> {
        self.console.expect(words, PATIENCE)?;
        Ok(self.began.elapsed().as_secs_f64() * 1e3)
    }

    /// Milliseconds from the start of a machine that boots until its shell answers.
    pub fn boots(&mut self) -> Result<f64> {
        self.says(PROMPT)?;
        self.console.send(QUESTION)?;
        self.says(ANSWER)
    }

    pub fn send(&mut self, text: &str) -> Result<()> {
        self.console.send(text)
    }

    /// Stops its process (SIGSTOP), so that it takes nothing from others that are measured; or lets it go on.
    pub fn stop(&self, stop: bool) -> Result<()> {
        let signal = if stop { Signal::STOP } else { Signal::CONT };
        let pid =
            i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("the process has no number")?;
        rustix::process::kill_process(pid, signal).context("cannot stop a process")
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}
