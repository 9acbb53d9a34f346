//! Text that strangers wrote, or that may hold anything: names of files, guests' configurations, servers' answers.

/// Text on one line, without anything that a terminal or a log would obey, and without what cannot be seen.
pub fn one_line(text: &str) -> String {
    shortened(text, usize::MAX)
}

/// The same, cut behind the character with which it has `bytes_max` bytes; `…` stands for the rest.
pub fn shortened(text: &str, bytes_max: usize) -> String {
    let text = text.trim_end();
    let mut line = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        if line.len() >= bytes_max {
            line.push('…');
            break;
        }
        if is_seen(c) { line.push(c) } else { line.extend(c.escape_default()) }
    }
    line
}

/// Whether a character shows as itself. Controls do not, nor do marks that only change how others are shown: a byte order
/// mark, zero-width characters, and those that turn the direction of a line (Unicode 15, 23.2, 23.3, 23.8).
fn is_seen(c: char) -> bool {
    let is_mark = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !is_mark
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
        for (text, line) in
            [("abc", "abc"), ("abcd", "abc…"), ("äöü", "äö…"), ("\n\n", ""), ("a\nb", "a\\n…")]
        {
            assert_eq!(shortened(text, 3), line, "{text:?}");
        }
    }
}
