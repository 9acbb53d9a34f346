//! `test` and `[` (GRUB's manual, "test").

use std::cmp::Ordering;

/// What conditions ask of files.
pub(super) trait Files {
    /// Whether there is something under a name.
    fn exists(&self, name: &str) -> bool;
    /// Whether that is a directory.
    fn is_directory(&self, name: &str) -> bool;
    /// The length of a regular file; nothing when it is none.
    fn size_bytes(&self, name: &str) -> Option<u64>;
}

/// Nested parentheses.
const DEPTH_LIMIT: usize = 16;

/// Whether the arguments of `test` are true. GRUB knows no precedence but that `-a` binds tighter than `-o`.
pub(super) fn is_true(arguments: &[&str], files: &dyn Files) -> bool {
    let mut reader = Reader { words: arguments, files };
    reader.any(0)
}

struct Reader<'a> {
    words: &'a [&'a str],
    files: &'a dyn Files,
}

impl Reader<'_> {
    /// Terms with `-o` between.
    fn any(&mut self, depth: usize) -> bool {
        let mut answer = self.all(depth);
        while self.words.first() == Some(&"-o") {
            self.words = &self.words[1..];
            answer |= self.all(depth);
        }
        answer
    }

    /// Terms with `-a` between, or nothing; nothing is true in GRUB.
    fn all(&mut self, depth: usize) -> bool {
        let mut answer: Option<bool> = None;
        while !matches!(self.words.first(), None | Some(&("-o" | ")"))) {
            if self.words[0] == "-a" {
                self.words = &self.words[1..];
                continue;
            }
            let term = self.term(depth);
            answer = Some(answer.unwrap_or(true) && term);
        }
        answer.unwrap_or(true)
    }

    fn term(&mut self, depth: usize) -> bool {
        let (answer, len) = match self.words {
            [left, operator, right, ..] if compare(left, operator, right).is_some() => {
                (compare(left, operator, right).unwrap_or(false), 3)
            }
            ["!", ..] => {
                self.words = &self.words[1..];
                return !(depth < DEPTH_LIMIT && !self.words.is_empty() && self.term(depth + 1));
            }
            ["(", ..] => {
                self.words = &self.words[1..];
                let answer = depth < DEPTH_LIMIT && self.any(depth + 1);
                // What is nested deeper than the limit is passed over.
                self.words = self.words.get(1..).unwrap_or_default();
                return answer;
            }
            ["-n", text, ..] => (!text.is_empty(), 2),
            ["-z", text, ..] => (text.is_empty(), 2),
            ["-d", name, ..] => (self.files.is_directory(name), 2),
            ["-e", name, ..] => (self.files.exists(name), 2),
            ["-f", name, ..] => (self.files.exists(name) && !self.files.is_directory(name), 2),
            ["-s", name, ..] => (self.files.size_bytes(name).is_some_and(|size| size > 0), 2),
            [text, ..] => (!text.is_empty(), 1),
            [] => (false, 0),
        };
        self.words = &self.words[len..];
        answer
    }
}

/// `left operator right`; nothing when that is no operator.
fn compare(left: &str, operator: &str, right: &str) -> Option<bool> {
    let numbers = || number(left).cmp(&number(right));
    // `-pgt` and `-plt` pass over what the operands share in front of their numbers.
    let shared = left.bytes().zip(right.bytes()).take_while(|(l, r)| l == r && !l.is_ascii_digit()).count();
    let suffixes = || number(&left[shared..]).cmp(&number(&right[shared..]));
    Some(match operator {
        "=" | "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        "-eq" => numbers() == Ordering::Equal,
        "-ne" => numbers() != Ordering::Equal,
        "-lt" => numbers() == Ordering::Less,
        "-le" => numbers() != Ordering::Greater,
        "-gt" => numbers() == Ordering::Greater,
        "-ge" => numbers() != Ordering::Less,
        "-pgt" if left.is_char_boundary(shared) => suffixes() == Ordering::Greater,
        "-plt" if left.is_char_boundary(shared) => suffixes() == Ordering::Less,
        _ => return None,
    })
}

/// The number that a text begins with, as C's `strtol` reads it; 0 when there is none.
fn number(text: &str) -> i64 {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse::<i64>().map_or(0, |number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree;

    impl Files for Tree {
        fn exists(&self, name: &str) -> bool {
            matches!(name, "/f" | "/empty" | "/d")
        }

        fn is_directory(&self, name: &str) -> bool {
            name == "/d"
        }

        fn size_bytes(&self, name: &str) -> Option<u64> {
            match name {
                "/f" => Some(1),
                "/empty" => Some(0),
                _ => None,
            }
        }
    }

    #[test]
    fn conditions() {
        for (text, expected) in [
            ("a", true),
            ("", true),
            ("a = a", true),
            ("a == b", false),
            ("a != b", true),
            ("-n a", true),
            ("-z", true),
            ("-n", true),
            ("-f", true),
            ("!", true),
            ("( )", true),
            ("a = b -o", true),
            ("a = b a = a", false),
            ("! a = b", true),
            ("a = b -o c = c", true),
            ("a = a -a c = d", false),
            ("a = b -a a = a -o c = c", true),
            ("( a = b -o a = a ) -a x", true),
            ("! ( a = b )", true),
            ("2 -lt 10", true),
            ("10 -le 9", false),
            ("-3 -lt 2", true),
            ("b < c", true),
            ("v10 -pgt v9", true),
            ("-s /f", true),
            ("-s /empty", false),
            ("-f /d", false),
            ("-d /d", true),
            ("-e /none", false),
            ("-f /f -a -s /f", true),
            ("x -f /f", true),
        ] {
            let words: Vec<&str> = text.split_whitespace().collect();
            assert_eq!(is_true(&words, &Tree), expected, "{text}");
        }
        is_true(&vec!["("; 10_000], &Tree);
        is_true(&vec!["!"; 10_001], &Tree);
        is_true(&["é1", "-pgt", "è2"], &Tree);
    }
}
