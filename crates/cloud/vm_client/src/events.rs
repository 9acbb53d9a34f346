//! What happens to a VM, as it happens.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use vm_control::{EVENTS_PATH, Event, Method};

use crate::{ClientError, VmClient, exchange};

/// Longest line of an event, in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// The stream of a VM's events.
pub struct VmEvents {
    runtime: Runtime,
    body: Incoming,
    socket: PathBuf,
    /// What has arrived and was not handed out.
    read: Vec<u8>,
}

/// What became of waiting for an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It happened.
    Event(Event),
    /// Nothing happened in time.
    Nothing,
    /// The VM has ended.
    Ended,
}

impl VmEvents {
    pub(crate) fn listen(vm: &VmClient) -> Result<VmEvents, ClientError> {
        let socket = &*vm.socket;
        let runtime = exchange::runtime(socket)?;
        let answer = runtime.block_on(async {
            timeout(vm.patience, exchange::send(socket, Method::Get, EVENTS_PATH, Bytes::new())).await
        });
        let answer = answer.map_err(|_| ClientError::Silent(socket.to_owned()))??;
        let socket = socket.to_owned();
        if !answer.status().is_success() {
            return Err(ClientError::Nonsense(socket));
        }
        Ok(VmEvents { runtime, body: answer.into_body(), socket, read: Vec::new() })
    }

    /// Waits for the next event, for `at_most` this long.
    ///
    /// # Errors
    /// What arrives is no event.
    pub fn next(&mut self, at_most: Duration) -> Result<Next, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                return serde_json::from_slice(&line).map(Next::Event).map_err(|_| self.nonsense());
            }
            if self.read.len() > LONGEST_LINE {
                return Err(self.nonsense());
            }
            let body = &mut self.body;
            match self.runtime.block_on(async { timeout(at_most, body.frame()).await }) {
                Err(_) => return Ok(Next::Nothing),
                // A VM that is killed closes the connection in mid-sentence.
                Ok(None | Some(Err(_))) => return Ok(Next::Ended),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.read.iter().position(|byte| *byte == b'\n')?;
        Some(self.read.drain(..=end).collect())
    }

    fn nonsense(&self) -> ClientError {
        ClientError::Nonsense(self.socket.clone())
    }
}
