//! Errors with their causes.

use std::error::Error;

use crate::one_line;

/// Words of the standard library that name its types or say nothing, and what they mean.
const PLAIN: &[(&str, &str)] = &[
    ("failed to fill whole buffer", "it ends too early"),
    ("failed to write whole buffer", "not all of it could be written"),
    ("stream did not contain valid UTF-8", "it is not text in UTF-8"),
    ("file name contained an unexpected NUL byte", "its name contains a zero byte"),
    ("data provided contains a nul byte", "it contains a zero byte"),
    ("path must be shorter than SUN_LEN", "a socket's path has at most 107 bytes"),
    ("paths must not contain interior null bytes", "its name contains a zero byte"),
    ("invalid input parameter", "that is not possible"),
];

/// An error with its causes, in one line: `cannot open a.img: Permission denied`.
///
/// What an error says of its cause itself is not said twice, and numbers of errors are left out.
pub fn in_words(error: &dyn Error) -> String {
    let mut line = plain(&error.to_string());
    append_causes(&mut line, error);
    line
}

fn append_causes(line: &mut String, error: &dyn Error) {
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = plain(&error.to_string());
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
}

/// One error's own text, without what only a programmer reads.
fn plain(text: &str) -> String {
    let mut text = without_numbers(text);
    for (words, meaning) in PLAIN {
        if text.contains(words) {
            text = text.replace(words, meaning);
        }
    }
    one_line(&text)
}

/// Takes out each ` (os error 2)`, which the standard library puts behind the kernel's words.
fn without_numbers(text: &str) -> String {
    const OPENING: &str = " (os error ";
    let mut rest = text;
    let mut line = String::with_capacity(text.len());
    while let Some((before, behind)) = rest.split_once(OPENING) {
        line.push_str(before);
        match behind.split_once(')') {
            Some((number, behind)) if number.parse::<i32>().is_ok() => rest = behind,
            _ => {
                line.push_str(OPENING);
                rest = behind;
            }
        }
    }
    line.push_str(rest);
    line
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Failed(&'static str, Option<Box<dyn Error>>);

    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref()
        }
    }

    #[test]
    fn causes_follow_and_none_is_said_twice() {
        let kernel = || Box::new(io::Error::from_raw_os_error(2));
        let said = in_words(&Failed("cannot open a", Some(kernel())));
        assert_eq!(said, "cannot open a: No such file or directory");
        let twice = Failed("a: No such file or directory (os error 2)", Some(kernel()));
        assert_eq!(in_words(&twice), "a: No such file or directory");
        let deep = Failed("VM a", Some(Box::new(Failed("disk b", Some(kernel())))));
        assert_eq!(in_words(&deep), "VM a: disk b: No such file or directory");
    }

    #[test]
    fn words_of_libraries_are_put_into_plain_ones() {
        for (theirs, ours) in [
            ("x (os error 2): y (os error 13)", "x: y"),
            ("a (os error x)", "a (os error x)"),
            ("a (os error ", "a (os error"),
            ("failed to fill whole buffer", "it ends too early"),
            ("path must be shorter than SUN_LEN", "a socket's path has at most 107 bytes"),
            ("two\n  lines", "two\\n  lines"),
        ] {
            assert_eq!(in_words(&Failed(theirs, None)), ours);
        }
    }
}
