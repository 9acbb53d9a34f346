//! Talking to a guest's serial console: send lines, wait for words, keep a transcript.

use crate::process;
use anyhow::{Context, Result, anyhow, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of the transcript that an error shows.
const TAIL_LINES: usize = 25;

const POLL: Duration = Duration::from_millis(20);

/// What the other side has said so far.
#[derive(Default)]
struct Heard {
    text: String,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One side of a conversation.
pub struct Console {
    shared: Arc<Shared>,
    writer: Box<dyn Write + Send>,
    /// What has been waited for lies before this place in the text.
    read_to: usize,
}

impl Console {
    /// A conversation over a pair of pipes, or over two handles of a socket.
    pub fn over(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let listener = Arc::clone(&shared);
        thread::spawn(move || listen(reader, &listener));
        Self { shared, writer: Box::new(writer), read_to: 0 }
    }

    /// A conversation at a unix socket that is there, or will be within `limit`.
    pub fn at(socket: &Path, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(Self::over(stream.try_clone()?, stream)),
                Err(_) if Instant::now() < deadline => thread::sleep(POLL),
                Err(error) => bail!("cannot connect to {}: {error}", socket.display()),
            }
        }
    }

    /// Sends text as it is.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush())
            .context("cannot write to the console")
    }

    /// Waits for `words`, and returns what came before them and has not been returned yet.
    pub fn expect(&mut self, words: &str, limit: Duration) -> Result<String> {
        let find = |text: &str| text.find(words).map(|at| (at + words.len(), text[..at].to_owned()));
        self.wait(&format!("{words:?}"), limit, find)
    }

    /// Types a command at a shell's prompt, and returns what it printed; an error when its status is not 0.
    pub fn command(&mut self, command: &str, limit: Duration) -> Result<String> {
        // What is typed comes back as an echo, so the marks are not in it as they will be printed.
        self.send(&format!("printf '\\n<%s>\\n' begin; {command}; printf '\\n<end %d>\\n' $?\n"))?;
        self.expect("<begin>", limit).with_context(|| format!("typed {command}"))?;
        let find = |text: &str| {
            let at = text.find("<end ")?;
            let (status, _) = text[at + "<end ".len()..].split_once('>')?;
            let end = at + "<end ".len() + status.len() + 1;
            Some((end, (status.to_owned(), text[..at].replace('\r', "").trim().to_owned())))
        };
        let (status, output) = self.wait(command, limit, find)?;
        if status != "0" {
            bail!("{command} ended with status {status}: {output}");
        }
        Ok(output)
    }

    /// Waits until the other side has closed the console.
    pub fn expect_end(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut heard = self.shared.lock();
        while !heard.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(heard);
                return Err(self.error("the end of the console", "did not come in time"));
            }
            heard = self.shared.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Everything that the other side has said.
    pub fn transcript(&self) -> String {
        self.shared.lock().text.clone()
    }

    /// Waits until `find` finds something in what has not been returned yet: where it ends, and its value.
    fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<(usize, T)>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut heard = self.shared.lock();
        loop {
            if let Some((end, value)) = find(&heard.text[self.read_to..]) {
                self.read_to += end;
                return Ok(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || heard.ended {
                let why = if heard.ended {
                    "did not come before the console's end"
                } else {
                    "did not come in time"
                };
                drop(heard);
                return Err(self.error(what, why));
            }
            heard = self.shared.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn error(&self, what: &str, why: &str) -> anyhow::Error {
        let transcript = self.transcript().replace('\r', "");
        println!("--- transcript\n{}\n---", process::tail(&transcript, TAIL_LINES));
        anyhow!("{what} {why}")
    }
}

fn listen(mut reader: impl Read, shared: &Shared) {
    let mut buffer = [0; 4096];
    // A character that is cut by the buffer's end becomes a replacement character; all that is waited for is ASCII.
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        shared.lock().text += &String::from_utf8_lossy(&buffer[..count]);
        shared.changed.notify_all();
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const SOON: Duration = Duration::from_secs(10);

    fn shell() -> Console {
        let mut command = Command::new("sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        thread::spawn(move || child.wait());
        Console::over(output, input)
    }

    #[test]
    fn waits_for_words_in_order() {
        let mut console = shell();
        console.send("echo one; echo two; echo three\n").unwrap();
        assert_eq!(console.expect("two", SOON).unwrap(), "one\n");
        assert_eq!(console.expect("three", SOON).unwrap(), "\n");
        assert!(console.expect("one", Duration::from_millis(10)).is_err());
    }

    #[test]
    fn commands_answer_and_fail() {
        let mut console = shell();
        assert_eq!(console.command("echo a; echo b", SOON).unwrap(), "a\nb");
        let error = console.command("sh -c 'echo broken; exit 4'", SOON).unwrap_err();
        assert!(error.to_string().contains("status 4: broken"), "{error}");
        assert_eq!(console.command("echo again", SOON).unwrap(), "again");
    }

    #[test]
    fn the_end_is_noticed() {
        let mut console = shell();
        console.send("echo bye; exit\n").unwrap();
        assert!(console.expect("never", SOON).unwrap_err().to_string().contains("before the console's end"));
        console.expect_end(SOON).unwrap();
        assert_eq!(console.transcript(), "bye\n");
    }
}
