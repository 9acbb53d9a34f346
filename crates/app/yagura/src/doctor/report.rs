//! The findings as a table or as JSON.

use comfy_table::{Attribute, Cell, Color};
use serde::Serialize;

use super::facts::HostFacts;
use super::rows::{Row, State};
use crate::print::empty_table;

/// Narrower than this, columns would hold a few letters each.
const LEAST_COLUMNS: u16 = 50;
const USUAL_COLUMNS: u16 = 100;

/// A table as wide as the terminal, coloured only on one.
pub fn table(rows: &[Row]) -> String {
    let mut table = empty_table();
    // A terminal that tells no width, as over a serial line, gets one that most have.
    if table.width().is_some_and(|columns| columns < LEAST_COLUMNS) {
        table.set_width(USUAL_COLUMNS);
    }
    let titles = ["feature", "state", "what was found", "what to do about it"];
    table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    for Row { feature, state, detail, advice } in rows {
        let (word, color) = match state {
            State::Yes => ("yes", Color::Green),
            State::Limited => ("limited", Color::Yellow),
            State::No => ("no", Color::Red),
        };
        let state = Cell::new(word).fg(color);
        table.add_row([Cell::new(feature), state, Cell::new(detail), Cell::new(advice)]);
    }
    table.to_string()
}

/// An object with the facts, and the rows of the table as `rows`.
pub fn json(facts: &HostFacts, rows: &[Row]) -> String {
    #[derive(Serialize)]
    struct Report<'a> {
        can_run: bool,
        #[serde(flatten)]
        facts: &'a HostFacts,
        rows: &'a [Row],
    }
    let report = Report { can_run: facts.can_run(), facts, rows };
    serde_json::to_string_pretty(&report).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}
