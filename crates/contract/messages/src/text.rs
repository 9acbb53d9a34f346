//! Text that strangers wrote, or that may hold anything: names of files, guests' configurations, servers' answers.

/// Text on one line, without anything that a terminal or a log would obey, and without what cannot be seen.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        if is_seen(c) { line.push(c) } else { line.extend(c.escape_default()) }
    }
    line
}

/// The same, of at most `chars_max` characters; `…` stands for the rest.
pub fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => one_line(&text[..end]) + "…",
        None => one_line(text),
    }
}

/// Whether a character shows as itself. Controls do not, nor do marks that only change how others are shown: a byte order
/// mark, zero-width characters, and those that turn the direction of a line (Unicode 15, 23.2, 23.3, 23.8).
fn is_seen(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        for (text, line) in [
            ("no file 'a\nb\x1b[31m'\n", "no file 'a\\nb\\u{1b}[31m'"),
            ("櫓 ä", "櫓 ä"),
            ("\u{feff}a", "\\u{feff}a"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{9b}b", "a\\u{9b}b"),
            ("", ""),
        ] {
            assert_eq!(one_line(text), line);
        }
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcd", 3), "abc…");
        assert_eq!(shortened("äöü\n", 3), "äöü…");
        assert_eq!(shortened("\n\n", 1), "…");
    }
}
