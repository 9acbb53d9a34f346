//! What becomes of a verb that was not carried out: a line, and an exit status.

use vm_control::FailureClass;

/// A verb that was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    /// What kind of failure.
    pub class: FailureClass,
    /// What, where, and what to do.
    pub line: String,
}

impl Failed {
    /// The exit status, as `--help` has it.
    pub fn status(&self) -> u8 {
        match self.class {
            FailureClass::Host | FailureClass::Invalid => 1,
            FailureClass::NotFound => 3,
            FailureClass::Busy => 4,
        }
    }
}
