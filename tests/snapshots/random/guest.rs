//! A guest that is spoken to, whoever started its machine.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::monitor::{LIMIT, Monitor};

pub enum Guest {
    /// `yagura run` by this process.
    Child(Monitor),
    /// `yagura clone`, whose process is nobody's child.
    Clone { console: UnixStream, pid: u64 },
}

impl Guest {
    /// The clone with this process, whose serial port is the socket at `console`.
    pub fn of_clone(console: &Path, pid: u64) -> Guest {
        let console = UnixStream::connect(console).unwrap();
        console.set_read_timeout(Some(LIMIT)).unwrap();
        Guest::Clone { console, pid }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        match self {
            Guest::Child(monitor) => monitor.send(bytes),
            Guest::Clone { console, .. } => console.write_all(bytes).unwrap(),
        }
    }

    #[track_caller]
    pub fn receive(&mut self) -> u8 {
        match self {
            Guest::Child(monitor) => monitor.receive(),
            Guest::Clone { console, .. } => {
                let mut byte = [0];
                console.read_exact(&mut byte).expect("the guest says nothing");
                byte[0]
            }
        }
    }

    /// What its process has said.
    pub fn said(&self) -> String {
        match self {
            Guest::Child(monitor) => monitor.said(),
            Guest::Clone { .. } => String::new(),
        }
    }

    /// Ends its process at once.
    pub fn kill(&mut self) {
        match self {
            Guest::Child(monitor) => {
                monitor.signal("KILL");
                monitor.wait();
            }
            Guest::Clone { console, pid } => {
                let killed = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status().unwrap();
                assert!(killed.success());
                wait_for_end(console);
            }
        }
    }
}

/// Until the other end is closed: it is when the process has gone.
fn wait_for_end(console: &mut UnixStream) {
    let deadline = Instant::now() + LIMIT;
    loop {
        match console.read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            outcome => drop(outcome.unwrap()),
        }
        assert!(Instant::now() < deadline, "the clone does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}
