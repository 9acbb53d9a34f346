//! Words: variables replaced in them, options told from arguments, and the kernel's command line made of them.

use super::environment::{TooMuch, VALUE_LIMIT, Variables};
use super::script::{Part, Word};

/// The longest line that comes of a command's words.
const LINE_LIMIT: usize = 16 * VALUE_LIMIT;

/// What variables stand for.
pub(super) struct Values<'a> {
    pub(super) variables: &'a Variables,
    pub(super) arguments: &'a [String],
    /// `$?`.
    pub(super) status: &'a str,
}

impl Values<'_> {
    /// The values of one name: those of `$@` and `$*` are as many as there are arguments.
    fn of(&self, name: &str) -> Vec<String> {
        match name {
            "@" => self.arguments.to_vec(),
            "*" => vec![self.arguments.join(" ")],
            "#" => vec![self.arguments.len().to_string()],
            "?" => vec![self.status.to_owned()],
            _ if name.starts_with(|c: char| c.is_ascii_digit()) => {
                let number = name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                vec![number.and_then(|number| self.arguments.get(number)).cloned().unwrap_or_default()]
            }
            _ => vec![self.variables.get(name).to_owned()],
        }
    }
}

/// Words as a command gets them. A variable without quotes is split at its spaces, and gone when it is empty; what
/// stands beside it in the word stays joined to its ends.
pub(super) fn expand(words: &[Word], values: &Values<'_>) -> Result<Vec<String>, TooMuch> {
    let mut line = Line { words: Vec::new(), open: None, len: 0 };
    for word in words {
        for part in word {
            match part {
                Part::Text(text) => line.append(text)?,
                Part::Variable { name, quoted } => {
                    for (index, value) in values.of(name).iter().enumerate() {
                        if index > 0 {
                            line.close();
                        }
                        if *quoted { line.append(value)? } else { line.split_append(value)? }
                    }
                }
            }
        }
        line.close();
    }
    Ok(line.words)
}

struct Line {
    words: Vec<String>,
    /// The word that is being made; nothing as long as it has no part.
    open: Option<String>,
    len: usize,
}

impl Line {
    fn append(&mut self, text: &str) -> Result<(), TooMuch> {
        self.len += text.len() + 1;
        if self.len > LINE_LIMIT {
            return Err(TooMuch);
        }
        self.open.get_or_insert_default().push_str(text);
        Ok(())
    }

    fn split_append(&mut self, text: &str) -> Result<(), TooMuch> {
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            if end > 0 {
                self.append(&rest[..end])?;
            }
            rest = rest[end..].trim_start();
            if !rest.is_empty() {
                self.close();
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.words.extend(self.open.take());
    }
}

/// A command's words as GRUB's commands see them: options may stand anywhere, up to `--`.
#[derive(Debug)]
pub(super) struct Options<'a> {
    options: Vec<(&'a str, Option<&'a str>)>,
    pub(super) arguments: Vec<&'a str>,
}

impl<'a> Options<'a> {
    /// Whether an option is there, by its long name or its short one.
    pub(super) fn has(&self, long: &str, short: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long || *name == short)
    }

    /// The value of the last option of a name.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        self.options.iter().rev().find(|(option, _)| *option == name).and_then(|(_, value)| *value)
    }

    /// The values of all options of these names, in order.
    pub(super) fn values(&self, names: &[&str]) -> Vec<&'a str> {
        self.options.iter().filter(|(name, _)| names.contains(name)).filter_map(|(_, value)| *value).collect()
    }
}

/// Tells options from arguments; `with_value` are those whose value may be the next word.
pub(super) fn options<'a>(words: &[&'a str], with_value: &[&str]) -> Options<'a> {
    let mut found = Options { options: Vec::new(), arguments: Vec::new() };
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let long = word.strip_prefix("--");
        match (long, word.strip_prefix('-')) {
            (Some(""), _) => found.arguments.extend(words.by_ref()),
            (Some(long), _) => {
                let (name, value) =
                    long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                let takes_next = value.is_none() && with_value.contains(&name);
                let value = if takes_next { words.next() } else { value };
                found.options.push((name, value));
            }
            (None, Some(short)) if !short.is_empty() => {
                for (at, c) in short.char_indices() {
                    let name = &short[at..at + c.len_utf8()];
                    if with_value.contains(&name) {
                        let rest = &short[at + c.len_utf8()..];
                        let value = if rest.is_empty() { words.next() } else { Some(rest) };
                        found.options.push((name, value));
                        break;
                    }
                    found.options.push((name, None));
                }
            }
            _ => found.arguments.push(word),
        }
    }
    found
}

/// The words of a command line as GRUB hands them on to a kernel: in quotes where they hold spaces, and with a
/// backslash before quotes and backslashes, but for `\x` and two hexadecimal digits.
pub(super) fn kernel_line(words: &[String]) -> String {
    let word = |word: &String| {
        let mut text = String::new();
        for (at, c) in word.char_indices() {
            let is_code = || {
                let digits = word[at..].strip_prefix("\\x").map(str::as_bytes).and_then(|rest| rest.get(..2));
                digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            };
            if matches!(c, '\'' | '"') || c == '\\' && !is_code() {
                text.push('\\');
            }
            text.push(c);
        }
        if word.contains(' ') { format!("\"{text}\"") } else { text }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::grub::script::{Statement, parse};

    fn expanded(text: &str) -> Vec<String> {
        let mut variables = Variables::default();
        for (name, value) in [("two", "1 2"), ("wide", " 1  2 "), ("none", "")] {
            variables.set(name, value).unwrap();
        }
        let arguments = ["x y".to_owned(), "z".to_owned()];
        let values = Values { variables: &variables, arguments: &arguments, status: "0" };
        let statements = parse(text);
        let [Statement::Command(words)] = statements.as_slice() else { panic!("{statements:?}") };
        expand(words, &values).unwrap()
    }

    #[test]
    fn variables_become_words() {
        for (text, words) in [
            ("a $two b", &["a", "1", "2", "b"] as &[&str]),
            ("x${two}y", &["x1", "2y"]),
            ("\"$two\"", &["1 2"]),
            ("x$wide\"y\"", &["x", "1", "2y"]),
            ("$none a \"$none\" '' $unset", &["a", "", ""]),
            ("$1 \"$1\" $2 $3 $#", &["x", "y", "x y", "z", "2"]),
            ("\"$@\"", &["x y", "z"]),
            ("\"$*\" $?", &["x y z", "0"]),
        ] {
            assert_eq!(expanded(text), words, "{text}");
        }
    }

    #[test]
    fn options_stand_anywhere() {
        let words = [
            "--no-floppy",
            "name",
            "--set=root",
            "-u",
            "--hint",
            "hd0,gpt1",
            "--hint-efi=hd0",
            "--",
            "--last",
        ];
        let options = options(&words, &["hint", "hint-efi"]);
        assert!(options.has("fs-uuid", "u") && options.has("no-floppy", "n") && !options.has("file", "f"));
        assert_eq!(options.value("set"), Some("root"));
        assert_eq!(options.values(&["hint", "hint-efi"]), ["hd0,gpt1", "hd0"]);
        assert_eq!(options.arguments, ["name", "--last"]);
    }

    #[test]
    fn a_kernels_line_is_quoted() {
        let words = ["a b", "c", "d\"e", "f\\g", "\\x20h"].map(str::to_owned);
        assert_eq!(kernel_line(&words), "\"a b\" c d\\\"e f\\\\g \\x20h");
    }

    #[test]
    fn a_line_has_an_end() {
        let mut variables = Variables::default();
        variables.set("a", &"x".repeat(VALUE_LIMIT)).unwrap();
        let values = Values { variables: &variables, arguments: &[], status: "0" };
        let statements = parse(&"$a ".repeat(100));
        let [Statement::Command(words)] = statements.as_slice() else { panic!("{statements:?}") };
        assert_eq!(expand(words, &values), Err(TooMuch));
    }
}
