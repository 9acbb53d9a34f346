//! Lines for a person.

use std::io::Write;

/// Prints one line to stderr. A closed stderr is nobody's problem.
pub fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    let line = messages::one_line(line);
    let _ = if host_sys::terminal::is_raw() {
        // The guest may have left the cursor anywhere, and nothing is translated.
        write!(stderr, "\r\nyagura: {line}\r\n")
    } else {
        writeln!(stderr, "yagura: {line}")
    };
}
