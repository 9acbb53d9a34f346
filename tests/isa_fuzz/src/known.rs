//! Forms that a processor is known to execute otherwise than manuals say.

use std::path::Path;
use std::{fs, io};

use regex_lite::Regex;

use crate::run::Tally;

/// A line of the list: forms that differ.
pub struct Known {
    forms: Regex,
}

impl Known {
    /// Reads a list: each line a regular expression for names of forms, whatever their case, then the reason; `#` begins a
    /// comment.
    pub fn read(path: &Path) -> io::Result<Vec<Known>> {
        let text = fs::read_to_string(path)?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Known::parse).collect()
    }

    fn parse(line: &str) -> io::Result<Known> {
        let (forms, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if reason.trim().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no reason is given for {forms}"),
            ));
        }
        let forms = Regex::new(&format!("(?i){forms}"))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{forms}: {error}")))?;
        Ok(Known { forms })
    }

    fn has(&self, tally: &Tally) -> bool {
        self.forms.is_match(&format!("{:?}", tally.form.code))
    }
}

/// What of `tallies` diverges and is not in `list`, and the lines of which nothing does.
pub fn sort<'k>(list: &'k [Known], tallies: &[Tally]) -> (usize, Vec<&'k str>) {
    let diverging: Vec<_> = tallies.iter().filter(|tally| tally.divergences > 0).collect();
    let unknown = diverging.iter().filter(|tally| !list.iter().any(|known| known.has(tally)));
    let idle = list.iter().filter(|known| !diverging.iter().any(|tally| known.has(tally)));
    (unknown.map(|tally| tally.divergences).sum(), idle.map(|known| known.forms.as_str()).collect())
}
