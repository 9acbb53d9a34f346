//! Running a program whose output is both shown as it comes and kept.

use crate::process;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::thread;

/// Runs a program to its end; its output is shown and returned, also in the error's place when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let (text, success) = run_and_tell(command)?;
    if !success {
        bail!("{} failed", process::shown(command));
    }
    Ok(text)
}

/// Runs a program to its end; tells its output and whether it succeeded.
pub fn run_and_tell(command: &mut Command) -> Result<(String, bool)> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", process::shown(command)))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let text = thread::scope(|scope| {
        let output = scope.spawn(|| output.map(show_and_keep).unwrap_or_default());
        let errors = errors.map(show_and_keep).unwrap_or_default();
        output.join().unwrap_or_default() + &errors
    });
    Ok((without_colours(&text), child.wait()?.success()))
}

fn show_and_keep(from: impl Read) -> String {
    let mut kept = String::new();
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        kept += &line;
        kept.push('\n');
    }
    kept
}

/// The text without the terminal's escape sequences for colours.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain += before;
        rest = after.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_outputs_are_kept() {
        let (text, success) =
            run_and_tell(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 1"])).unwrap();
        assert_eq!((text.as_str(), success), ("one\ntwo\n", false));
    }

    #[test]
    fn colours_are_taken_away() {
        assert_eq!(without_colours("a\x1b[31;1mb\x1b[0m c"), "ab c");
    }
}
