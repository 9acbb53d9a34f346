//! Lines for a person.

use std::io::Write;

/// Prints one line to stderr. A closed stderr is nobody's problem.
pub fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    let line = one_line(line);
    let _ = if host_sys::terminal::is_raw() {
        // The guest may have left the cursor anywhere, and nothing is translated.
        write!(stderr, "\r\nyagura: {line}\r\n")
    } else {
        writeln!(stderr, "yagura: {line}")
    };
}

/// Text without line breaks and without anything that a terminal would obey: names come from outside.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(one_line("no file 'a\nb\x1b[31m'\n"), "no file 'a\\nb\\u{1b}[31m'");
        assert_eq!(one_line("櫓"), "櫓");
    }
}
