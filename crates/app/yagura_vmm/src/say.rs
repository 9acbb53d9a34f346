//! Lines for a person.

use std::io::Write;

/// Prints one line to stderr. A closed stderr is nobody's problem.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "yagura: {}", messages::one_line(line));
}
