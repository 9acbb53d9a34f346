//! Cases that a processor is known to get wrong, listed by groups with a reason each.
//!
//! ```text
//! // What the manual says, and what this processor does.
//! cpl {0|3} mov ss: type 2 *
//! ```
//!
//! Lines that begin with `//` give the reason of the patterns below them; with an empty line below, they speak of the
//! list. A pattern is a case's name, in which `{a|b}`
//! stands for one of several words and `*` for anything. Every case that a pattern matches has to differ: one that does
//! not is told as well, and the pattern is then to be made narrower.

use crate::suite::Report;

/// A list of such cases.
#[derive(Clone, Debug, Default)]
pub struct Known {
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    reason: String,
    patterns: Vec<String>,
}

/// What is left of a report when the list has been held against it.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// A line for each case that differs and is not listed, or is listed and does not differ.
    pub unexpected: Vec<String>,
    /// How many cases differ as listed, by the reasons.
    pub expected: Vec<(String, usize)>,
}

impl Known {
    /// Reads a list.
    ///
    /// # Errors
    /// A pattern without a reason above it, or with a brace that does not close.
    pub fn parse(text: &str) -> Result<Known, String> {
        let mut groups: Vec<Group> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = || format!("line {}: {line}", index + 1);
            if let Some(words) = line.strip_prefix("//") {
                match groups.last_mut().filter(|group| group.patterns.is_empty()) {
                    Some(group) => group.reason.push_str(words),
                    None => groups.push(Group { reason: words.trim().to_owned(), patterns: Vec::new() }),
                }
            } else if line.trim().is_empty() {
                groups.pop_if(|group| group.patterns.is_empty());
            } else {
                let group = groups.last_mut().ok_or_else(|| format!("{}: no reason given", place()))?;
                if line.matches('{').count() != line.matches('}').count() {
                    return Err(format!("{}: braces do not fit", place()));
                }
                group.patterns.push(line.to_owned());
            }
        }
        Ok(Known { groups })
    }

    /// The group that lists a case, by its number.
    fn group_of(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.patterns.iter().any(|pattern| matches(pattern, name)))
    }

    /// Whether a case is listed.
    pub fn lists(&self, name: &str) -> bool {
        self.group_of(name).is_some()
    }

    /// Patterns that match none of `names`.
    pub fn unused(&self, names: &[String]) -> Vec<&str> {
        let patterns = self.groups.iter().flat_map(|group| &group.patterns);
        let unused = patterns.filter(|pattern| !names.iter().any(|name| matches(pattern, name)));
        unused.map(String::as_str).collect()
    }

    /// Holds the list against what came of a suite.
    pub fn judge(&self, report: &Report) -> Judged {
        let mut counts = vec![0; self.groups.len()];
        let mut unexpected = Vec::new();
        for wrong in &report.wrong {
            match self.group_of(&wrong.name).and_then(|group| counts.get_mut(group)) {
                Some(count) => *count += 1,
                None => unexpected.push(wrong.to_string()),
            }
        }
        let stale = report.agreed.iter().filter(|name| self.lists(name));
        unexpected.extend(stale.map(|name| format!("{name}: listed as known to differ, and does not")));
        let reasons = self.groups.iter().map(|group| group.reason.clone());
        Judged { unexpected, expected: reasons.zip(counts).collect() }
    }
}

/// Whether `name` is what `pattern` says.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let special = pattern.find(['{', '*']).unwrap_or(pattern.len());
    let (literal, rest) = pattern.split_at(special);
    let Some(name) = name.strip_prefix(literal) else { return false };
    if let Some(rest) = rest.strip_prefix('*') {
        return name.char_indices().any(|(at, _)| matches(rest, &name[at..])) || matches(rest, "");
    }
    match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((words, rest)) => {
            words.split('|').any(|word| name.strip_prefix(word).is_some_and(|left| matches(rest, left)))
        }
        None => name.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Wrong;

    const LIST: &str = "// Of the list.\n\n// It takes\n// both.\ncpl {0|3} jmp: type * L true D true\n\n// No INT1.\nint1\n";

    #[test]
    fn patterns_are_matched_as_a_whole() {
        assert!(matches("a {b|c} d", "a c d"));
        assert!(!matches("a {b|c} d", "a e d"));
        assert!(matches("a{| with x}", "a") && matches("a{| with x}", "a with x"));
        assert!(matches("a * d*", "a bc d") && !matches("a * d", "a bc de"));
        assert!(!matches("int1", "int1 and more") && !matches("int1", "an int1"));
        assert!(matches("mov ecx, [rax] *", "mov ecx, [rax] across"));
    }

    #[test]
    fn what_differs_unlisted_and_what_agrees_though_listed_is_told() {
        let known = Known::parse(LIST).unwrap();
        let wrong = |name: &str| Wrong { name: name.to_owned(), section: "here", how: "why".to_owned() };
        let report = Report {
            agreed: vec!["nop".to_owned(), "int1".to_owned()],
            wrong: vec![wrong("cpl 3 jmp: type 8 L true D true"), wrong("cpl 3 jmp: type 8 L true D false")],
        };
        let judged = known.judge(&report);
        assert_eq!(
            judged.unexpected,
            ["cpl 3 jmp: type 8 L true D false [here]: why", "int1: listed as known to differ, and does not"]
        );
        assert_eq!(judged.expected, [("It takes both.".to_owned(), 1), ("No INT1.".to_owned(), 0)]);
    }

    #[test]
    fn patterns_that_match_nothing_are_named() {
        let known = Known::parse(LIST).unwrap();
        assert_eq!(known.unused(&["int1".to_owned()]), ["cpl {0|3} jmp: type * L true D true"]);
    }

    #[test]
    fn a_list_says_what_is_wrong_with_it() {
        assert!(Known::parse("int1\n").unwrap_err().contains("line 1: int1: no reason"));
        assert!(Known::parse("// Why.\nint{1\n").unwrap_err().contains("line 2"));
    }
}
