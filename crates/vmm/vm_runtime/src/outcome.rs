//! How a VM's process ends.

use std::fmt;

use vcpu_model::EngineError;

/// Why the run is over, each with an exit status of its own.
#[derive(Debug)]
pub enum Outcome {
    /// The guest powered off.
    Shutdown,
    /// The guest reset its machine, and resets end the process.
    Reset,
    /// The guest kept resetting right after its start.
    ResetLoop,
    /// The guest wrote this value to the debug exit port.
    DebugExit(u8),
    /// The command for which the machine was there ended with this status.
    Exited(u8),
    /// The guest brought its CPU to a triple fault, and resets end the process.
    TripleFault,
    /// The engine could not go on.
    Crash(EngineError),
    /// The guest's kernel panicked, and panics end the process.
    Panicked,
    /// Somebody ended the VM from outside: a second SIGTERM, or `stop` at the control socket.
    Killed,
}

impl fmt::Display for Outcome {
    /// For the stream of events: what a program compares, and a person can read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Shutdown => f.write_str("shutdown"),
            Outcome::Reset => f.write_str("reset"),
            Outcome::ResetLoop => f.write_str("reset-loop"),
            Outcome::DebugExit(value) => write!(f, "debug-exit {value}"),
            Outcome::Exited(status) => write!(f, "exit {status}"),
            Outcome::TripleFault => f.write_str("triple-fault"),
            Outcome::Crash(error) => write!(f, "crash: {}", messages::in_words(error)),
            Outcome::Killed => f.write_str("killed"),
            Outcome::Panicked => f.write_str("panicked"),
        }
    }
}

impl Outcome {
    /// The process's exit status. All but the test guests' own are even, so that they stay apart; a command's status is
    /// what it is.
    pub fn exit_status(&self) -> u8 {
        match self {
            Outcome::Shutdown => 0,
            Outcome::Reset => 4,
            Outcome::ResetLoop => 6,
            Outcome::TripleFault | Outcome::Crash(_) => 8,
            Outcome::Killed => 10,
            Outcome::Panicked => 12,
            Outcome::DebugExit(value) => (value << 1) | 1,
            Outcome::Exited(status) => *status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_stay_apart() {
        let ours = [
            Outcome::Shutdown,
            Outcome::Reset,
            Outcome::ResetLoop,
            Outcome::TripleFault,
            Outcome::Killed,
            Outcome::Panicked,
        ];
        let mut statuses: Vec<u8> = ours.iter().map(Outcome::exit_status).collect();
        statuses.dedup();
        assert_eq!(statuses, [0, 4, 6, 8, 10, 12]);
        for value in [0, 1, 0x31, 0x7f, 0xff] {
            assert_eq!(Outcome::DebugExit(value).exit_status() & 1, 1);
        }
        assert_eq!(Outcome::DebugExit(0x31).exit_status(), 0x63);
        assert_eq!([0, 1, 127, 255].map(|status| Outcome::Exited(status).exit_status()), [0, 1, 127, 255]);
    }
}
