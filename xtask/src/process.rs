//! Running other programs: quietly when they succeed, with their own last words when they fail.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output, Stdio};

use crate::workspace;

/// Lines of a failed program's output that are repeated to the user.
const TAIL_LINES: usize = 15;

/// Runs a program to its end and keeps its output for the case that it fails.
pub fn run(command: &mut Command) -> Result<()> {
    capture(command).map(drop)
}

/// Runs a program to its end and returns what it wrote to its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", shown(command)))
}

/// Runs a program to its end and returns the bytes it wrote to its standard output.
pub fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    Ok(capture(command)?.stdout)
}

pub use image_build::find_program as find;

/// A command that dies with the thread that starts it, so that no machine outlives its lab. Machines have names here of
/// their own, whatever others run on this host.
pub fn bound_to_us(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).env("YAGURA_DIR", workspace::place());
    command
}

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The last lines of a long text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn capture(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        let mut words = String::from_utf8_lossy(&output.stderr).into_owned();
        if words.trim().is_empty() {
            words = String::from_utf8(output.stdout).unwrap_or_default();
        }
        bail!("{} ended with {}\n{}", shown(command), output.status, tail(&words, TAIL_LINES));
    }
    Ok(output)
}

/// A child that is killed when this goes.
pub struct Ended(Child);

impl Ended {
    /// Takes care of `child`.
    pub fn of(child: Child) -> Ended {
        Ended(child)
    }
}

impl Deref for Ended {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Ended {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_the_programs_words() {
        let error = run(Command::new("sh").args(["-c", "echo it broke >&2; exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("it broke"), "{error:#}");
    }

    #[test]
    fn finds_a_program_and_misses_none_that_is_not_there() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
    }

    #[test]
    fn tail_keeps_the_end() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
