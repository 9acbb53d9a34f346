//! The monitor's control socket: JSON over HTTP/1.1 on a unix socket.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A running monitor's control socket.
pub struct Control {
    path: PathBuf,
}

impl Control {
    /// The socket at `path`.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Asks for something.
    pub fn get(&self, what: &str) -> Result<Value> {
        self.request("GET", what, "")
    }

    /// Does something.
    pub fn put(&self, what: &str) -> Result<Value> {
        self.request("PUT", what, "")
    }

    /// Does something that takes more words.
    pub fn put_with(&self, what: &str, body: &Value) -> Result<Value> {
        self.request("PUT", what, &body.to_string())
    }

    fn request(&self, method: &str, what: &str, body: &str) -> Result<Value> {
        let place = || format!("{method} {what} at {}", self.path.display());
        let mut socket = UnixStream::connect(&self.path).with_context(place)?;
        socket.set_read_timeout(Some(LIMIT))?;
        write!(
            socket,
            "{method} {what} HTTP/1.1\r\nhost: yagura\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).with_context(place)?;
        let (status, body) = parse(&answer).with_context(|| format!("{}: no HTTP: {answer}", place()))?;
        ensure!((200..300).contains(&status), "{}: status {status}: {body}", place());
        if body.trim().is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&body)?) }
    }
}

/// The status and the body of an answer after which the connection was closed.
fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.lines().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    Some((status, if chunked { unchunk(body)? } else { body.to_owned() }))
}

fn unchunk(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole += rest.get(..size)?;
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers_of_both_kinds() {
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(plain), Some((200, "{}".to_owned())));
        let chunked =
            "HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((409, "abcd".to_owned())));
        assert_eq!(parse("rubbish"), None);
    }
}
