//! Why the command does not run.

use std::fmt::Display;

use oci_init::status;

/// Why the command does not run: a line for a person, and the exit status that says the same.
pub struct Failure {
    pub what: String,
    pub status: u8,
}

impl Failure {
    /// The machine is not ready for it.
    pub fn not_ready(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), status: status::NOT_READY }
    }
}

/// Errors of the kernel's.
pub trait IntoFailure<T> {
    /// What was tried, and the kernel's answer.
    fn or_fail(self, operation: &str) -> Result<T, Failure>;
}

impl<T, E: Display> IntoFailure<T> for Result<T, E> {
    fn or_fail(self, operation: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::not_ready(format!("cannot {operation}: {error}")))
    }
}
