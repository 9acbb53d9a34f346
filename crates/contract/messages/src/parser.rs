//! What parsers of TOML, JSON and YAML complain about, in words for whoever wrote the document.

use crate::{did_you_mean, one_line};

/// Kinds of values as serde names them, and as a person does.
const KINDS: &[(&str, &str)] = &[
    ("a string", "text in quotes"),
    ("string", "the text"),
    ("a boolean", "true or false"),
    ("boolean", "the value"),
    ("a sequence", "a list"),
    ("sequence", "a list"),
    ("a map", "a table"),
    ("map", "a table"),
    ("integer", "the number"),
    ("floating point", "the number"),
    ("float", "the number"),
    ("unit value", "an empty value"),
    ("unit", "an empty value"),
    ("null", "an empty value"),
    ("character", "the character"),
    ("datetime", "a date"),
    ("usize", "a number from 0 on"),
    ("u64", "a number from 0 on"),
    ("u32", "a number from 0 to 4294967295"),
    ("u16", "a number from 0 to 65535"),
    ("u8", "a number from 0 to 255"),
    ("i64", "a whole number"),
    ("bool", "true or false"),
];

/// The complaint of a parser in one line: no types, no place (whoever calls knows that better), and what was probably
/// meant. What is not known is passed on as it is.
pub fn parser_words(message: &str) -> String {
    let message = without_place(&one_line(message.lines().next().unwrap_or("")));
    if let Some(found) =
        message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))
    {
        let (found, wanted) = found.split_once(", expected ").unwrap_or((found, ""));
        return match wanted {
            "" => format!("{} is not what belongs here", kind(found)),
            wanted => format!("{} is needed, not {}", kind(wanted), kind(found)),
        };
    }
    for (start, told) in [("unknown field ", "unknown key"), ("unknown variant ", "unknown value")] {
        if let Some(rest) = message.strip_prefix(start) {
            // The unknown one first, then those that were expected.
            let mut names = rest.split('`').skip(1).step_by(2);
            let typed = names.next().unwrap_or("");
            let known: Vec<&str> = names.collect();
            let hint = did_you_mean(typed, known.iter().copied());
            let list = if hint.is_empty() && !known.is_empty() {
                format!(" (there are {})", known.join(", "))
            } else {
                hint
            };
            return format!("{told} '{typed}'{list}");
        }
    }
    for (start, told) in [
        ("missing field ", "is missing"),
        ("duplicate field ", "is given twice"),
        ("duplicate key ", "is given twice"),
    ] {
        if let Some(name) = message.strip_prefix(start) {
            return format!("'{}' {told}", name.trim_matches(['`', '"', '\'']));
        }
    }
    match message.as_str() {
        "duplicate key" => "this is given twice",
        "trailing characters" => "there is something behind its end",
        "recursion limit exceeded" => "it is nested too deeply",
        _ if message.starts_with("EOF while parsing ") => "it ends too early",
        _ => return message.replace('`', "'"),
    }
    .to_owned()
}

/// `string "a"` as `the text "a"`, `integer `1`` as `the number 1`.
fn kind(text: &str) -> String {
    let known = KINDS.iter().find_map(|(theirs, ours)| {
        let rest = text.strip_prefix(theirs)?;
        (rest.is_empty() || rest.starts_with(' ')).then(|| format!("{ours}{rest}"))
    });
    known.unwrap_or_else(|| text.to_owned()).replace('`', "")
}

/// Without ` at line 1 column 2` at the end.
fn without_place(message: &str) -> String {
    let place = message.rfind(" at line ").filter(|at| {
        let words = message[*at..].split_ascii_whitespace();
        words.clone().all(|word| {
            matches!(word, "at" | "line" | "column")
                || word.trim_end_matches([',', ':', '.']).parse::<u64>().is_ok()
        })
    });
    place.map_or(message, |at| &message[..at]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_parsers_name_no_types() {
        for (theirs, ours) in [
            (
                "invalid type: integer `512`, expected a string",
                "text in quotes is needed, not the number 512",
            ),
            (
                "invalid type: string \"yes\", expected a boolean",
                "true or false is needed, not the text \"yes\"",
            ),
            ("invalid type: map, expected a sequence", "a list is needed, not a table"),
            (
                "invalid value: integer `-1`, expected u16",
                "a number from 0 to 65535 is needed, not the number -1",
            ),
            (
                "unknown field `memry`, expected one of `name`, `memory`",
                "unknown key 'memry'; did you mean 'memory'?",
            ),
            ("unknown field `x`, expected `path`", "unknown key 'x' (there are path)"),
            ("unknown variant `kwm`, expected `kvm` or `soft`", "unknown value 'kwm'; did you mean 'kvm'?"),
            ("missing field `path` at line 3 column 1", "'path' is missing"),
            ("duplicate field `os`", "'os' is given twice"),
            ("duplicate key", "this is given twice"),
            ("EOF while parsing an object at line 1 column 1", "it ends too early"),
            ("trailing characters at line 1 column 3", "there is something behind its end"),
            ("recursion limit exceeded at line 1 column 128", "it is nested too deeply"),
            ("expected value at line 1 column 1", "expected value"),
            ("meet at line 4 of the story", "meet at line 4 of the story"),
            ("one\ntwo", "one"),
            ("", ""),
        ] {
            assert_eq!(parser_words(theirs), ours);
        }
    }
}
