//! Figures of several runs side by side.

use anyhow::{Result, ensure};

use super::output::Run;
use crate::bench::statistics::{self, Spread};

/// What the host does itself.
pub const NATIVE: &str = "native";
/// QEMU.
pub const TCG: &str = "TCG";
/// This project.
pub const YAGURA: &str = "Yagura";

/// One contestant's runs.
pub struct Column {
    pub name: &'static str,
    pub runs: Vec<Run>,
}

/// One benchmark beside itself: medians of all repetitions of all runs, in nanoseconds an operation.
pub struct Row {
    pub name: String,
    pub unit: String,
    /// A figure for each column; nothing where it was not measured.
    pub nanoseconds: Vec<Option<f64>>,
}

/// All benchmarks.
pub struct Comparison {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Row>,
    /// What a reader has to know beside the figures.
    pub notes: Vec<String>,
}

/// A guest's clock that is further off than this is told.
const CLOCK_TOLERANCE: f64 = 0.05;

impl Comparison {
    /// Puts the columns side by side, in the order of the first. Fails when work had different results.
    pub fn of(columns: &[Column]) -> Result<Comparison> {
        for column in columns {
            let failed: Vec<_> = column.runs.iter().flat_map(|run| &run.failed).collect();
            ensure!(failed.is_empty(), "{} failed: {failed:?}", column.name);
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut checksums: Vec<(&str, &str, &'static str)> = Vec::new();
        for column in columns {
            for measured in column.runs.iter().flat_map(|run| &run.measured) {
                match checksums.iter().find(|(name, ..)| *name == measured.name) {
                    None => {
                        checksums.push((&measured.name, &measured.checksum, column.name));
                        rows.push(row(&measured.name, &measured.unit, columns));
                    }
                    Some((name, checksum, other)) => ensure!(
                        *checksum == measured.checksum,
                        "{name} came to {} on {}, but to {checksum} on {other}",
                        measured.checksum,
                        column.name
                    ),
                }
            }
        }
        let notes = columns.iter().flat_map(notes).collect();
        Ok(Comparison { columns: columns.iter().map(|column| column.name).collect(), rows, notes })
    }

    /// How many times as fast `one` is as `other`, a figure for each row.
    pub fn speeds(&self, one: &str, other: &str) -> Vec<Option<f64>> {
        let place = |wanted: &str| self.columns.iter().position(|name| *name == wanted);
        let (one, other) = (place(one), place(other));
        let speed = |row: &Row| Some(row.nanoseconds[other?]? / row.nanoseconds[one?]?);
        self.rows.iter().map(speed).collect()
    }

    /// The geometric mean of what [`speeds`](Self::speeds) gives.
    pub fn mean_speed(&self, one: &str, other: &str) -> Option<f64> {
        statistics::geometric_mean(self.speeds(one, other).into_iter().flatten())
    }
}

fn row(name: &str, unit: &str, columns: &[Column]) -> Row {
    let median = |column: &Column| {
        let measured = column.runs.iter().flat_map(|run| &run.measured);
        let figures = measured.filter(|measured| measured.name == name).flat_map(|one| &one.nanoseconds);
        Spread::of(figures.copied().collect()).map(|spread| spread.median)
    };
    let nanoseconds = columns.iter().map(median).collect();
    Row { name: name.to_owned(), unit: unit.to_owned(), nanoseconds }
}

fn notes(column: &Column) -> Vec<String> {
    let mut notes = Vec::new();
    let off = |run: &Run| (run.clock_ratio - 1.0).abs();
    let worst = column.runs.iter().max_by(|one, other| off(one).total_cmp(&off(other)));
    if let Some(run) = worst.filter(|run| off(run) > CLOCK_TOLERANCE) {
        notes.push(format!(
            "{}'s clock is not to be trusted: it went {:.3} times as fast as the host's",
            column.name, run.clock_ratio
        ));
    }
    if let Some(run) = column.runs.first() {
        let skipped = run.skipped.iter();
        notes.extend(skipped.map(|(name, reason)| format!("{} skipped {name}: {reason}", column.name)));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::output::Measured;
    use super::*;

    fn run(checksum: &str, figures: &[(&str, f64)], clock_ratio: f64) -> Run {
        let measured = |(name, figure): &(&str, f64)| Measured {
            name: (*name).to_owned(),
            unit: "step".to_owned(),
            checksum: checksum.to_owned(),
            nanoseconds: vec![*figure, *figure * 3.0, *figure * 2.0],
        };
        Run { measured: figures.iter().map(measured).collect(), clock_ratio, ..Run::default() }
    }

    #[test]
    fn speeds_are_ratios_of_medians() {
        let columns = [
            Column { name: NATIVE, runs: vec![run("1", &[("a", 1.0), ("b", 4.0)], 1.0)] },
            Column { name: TCG, runs: vec![run("1", &[("a", 2.0), ("b", 8.0)], 1.0)] },
            Column { name: YAGURA, runs: vec![run("1", &[("a", 1.0)], 1.2)] },
        ];
        let comparison = Comparison::of(&columns).unwrap();
        assert_eq!(comparison.speeds(YAGURA, TCG), [Some(2.0), None]);
        assert_eq!(comparison.mean_speed(TCG, NATIVE), Some(0.5));
        assert_eq!(comparison.mean_speed(YAGURA, "nobody"), None);
        assert_eq!(comparison.rows[1].nanoseconds, [Some(8.0), Some(16.0), None]);
        let [note] = comparison.notes.as_slice() else { panic!("{:?}", comparison.notes) };
        assert!(note.contains("1.200"), "{note}");
    }

    #[test]
    fn another_result_is_an_error() {
        let column = |name, checksum| Column { name, runs: vec![run(checksum, &[("a", 1.0)], 1.0)] };
        let error = Comparison::of(&[column(NATIVE, "1"), column(YAGURA, "2")]).err().unwrap();
        assert!(error.to_string().contains("a came to 2 on Yagura, but to 1 on native"), "{error}");
    }

    #[test]
    fn a_failure_is_an_error() {
        let mut failed = run("1", &[("a", 1.0)], 1.0);
        failed.failed.push(("b".to_owned(), "no memory".to_owned()));
        assert!(Comparison::of(&[Column { name: NATIVE, runs: vec![failed] }]).is_err());
    }
}
