//! Running the programs that do the work, and what they say when they fail.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use host_sys::signals::begin_unblocked;
use messages::Cancelled;
use rustix::process::{Pid, Signal, kill_process};

use crate::BuildError;

/// Lines of a failed program's output that are repeated to the user.
const TAIL_LINES: usize = 5;

/// The file that a program's name stands for, in `PATH` and in the system's own folders that it may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The same, or the bare name, of which running it will complain.
pub fn path(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| program.into())
}

/// Lets what a shell runs find the programs of the system's folders, too.
pub fn with_system_folders(command: &mut Command) {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
}

/// Fails where one of these programs is missing; names all that are.
pub fn require(programs: &[(&str, &str)]) -> Result<(), BuildError> {
    let missing = programs.iter().filter(|(program, _)| find(program).is_none());
    let (names, packages): (Vec<&str>, Vec<&str>) = missing.copied().unzip();
    if names.is_empty() { Ok(()) } else { Err(BuildError::Missing(names.join(", "), packages.join(" "))) }
}

/// Runs a program to its end, and tells of each line that it writes to its standard error output; it is asked to end, and to
/// tidy up, where the answer is that nobody wants it any more.
pub fn watch(command: &mut Command, mut line: impl FnMut(&str) -> ControlFlow<()>) -> Result<(), BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |words: String| BuildError::Failed { program: program.clone(), words };
    // What it writes to standard output is no less interesting when it fails.
    let (reader, writer) = std::io::pipe().map_err(|error| failed(error.to_string()))?;
    let twin = writer.try_clone().map_err(|error| failed(error.to_string()))?;
    command.stdin(Stdio::null()).stdout(twin).stderr(writer);
    // Whoever asks may have signals come elsewhere; the program is to hear its own.
    begin_unblocked(command);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    // The command holds the pipe's ends that are written to.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut last: Vec<String> = Vec::new();
    let mut is_cancelled = false;
    for bytes in BufReader::new(reader).split(b'\n') {
        let Ok(bytes) = bytes else { break };
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if !is_cancelled && line(&text).is_break() {
            is_cancelled = true;
            // One that has ended meanwhile is waited for as well.
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        }
        // What begins like this is mmdebstrap's account of what it does, after a failure too.
        if !text.is_empty() && !text.starts_with("I: ") {
            last.push(text);
        }
        if last.len() > TAIL_LINES {
            last.remove(0);
        }
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if is_cancelled {
        return Err(Cancelled.into());
    }
    if status.success() { Ok(()) } else { Err(failed(format!("{status}: {}", last.join(" | ")))) }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Result<(), BuildError> {
    watch(command, |_| ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_the_programs_last_words() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; echo out; exit 3"]);
        let ended = watch(&mut command, |line| {
            seen.push(line.to_owned());
            ControlFlow::Continue(())
        });
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("line 7 | out") && !error.contains("line 3"), "{error}");
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_program_that_nobody_wants_any_more_is_asked_to_end_and_tidies_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let script = "touch made; trap 'rm made; exit 1' TERM; echo begun >&2; while :; do sleep 0.01; done";
        command.args(["-c", script]).current_dir(folder.path());
        let ended = watch(&mut command, |_| ControlFlow::Break(()));
        assert!(matches!(ended, Err(BuildError::Cancelled(_))), "{ended:?}");
        assert!(!folder.path().join("made").exists());
    }

    /// Shells unblock what was handed on to them; most programs do not.
    #[test]
    fn a_program_hears_what_its_parent_blocks() {
        // As whoever builds does, to hear of Ctrl-C.
        let _events = host_sys::signals::SignalEvents::block(&[15]).unwrap();
        let ended = watch(&mut Command::new("yes"), |_| ControlFlow::Break(()));
        assert!(matches!(ended, Err(BuildError::Cancelled(_))), "{ended:?}");
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let error = require(&[("no-such-a", "pa"), ("sh", "dash"), ("no-such-b", "pb")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-a, no-such-b cannot be found; install with: apt-get install pa pb"
        );
    }
}
