//! The comparison as a table and as a plot.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, TableStyle, presets};

use super::comparison::{Comparison, NATIVE, TCG, YAGURA};
use crate::bench::plot::{self, Bars, Scale};

/// Speeds that the table has: whose, against whose.
const SPEEDS: [(&str, &str); 3] = [(YAGURA, TCG), (YAGURA, NATIVE), (TCG, NATIVE)];
/// Columns of words, before those of figures.
const WORDS: [&str; 2] = ["benchmark", "operation"];
const NOTHING: &str = "–";

/// A table for a terminal.
pub fn terminal(comparison: &Comparison) -> String {
    format!("{}\n{}", table(comparison, presets::UTF8_FULL_CONDENSED), notes(comparison))
}

/// The page of the documentation.
pub fn page(comparison: &Comparison, runs: u32) -> String {
    format!(
        "# Processor benchmarks\n\n\
        Nanoseconds an operation, medians over {runs} runs in turn on one machine: natively, as `init` of Debian's \
        cloud kernel on QEMU's TCG, and on Yagura's software engine. The last columns are ratios of speeds: above 1 \
        the first one is the faster, and each mean is over what both ran. `cargo xtask bench cpu` writes this page; `bench/guest_bench` is what runs.\n\n\
        {}\n\n{}\n![ratios of speeds](cpu.svg)\n",
        table(comparison, presets::ASCII_MARKDOWN),
        notes(comparison)
    )
}

/// Draws how Yagura and the host itself compare with TCG.
pub fn draw(comparison: &Comparison, file: &Path) -> Result<()> {
    let [yagura, native] = [YAGURA, NATIVE].map(|name| comparison.speeds(name, TCG));
    let rows = comparison.rows.iter().zip(yagura.into_iter().zip(native));
    let mut groups: Vec<_> = rows.map(|(row, (one, other))| (row.name.clone(), vec![one, other])).collect();
    let means = [YAGURA, NATIVE].map(|name| comparison.mean_speed(name, TCG));
    groups.push(("geometric mean".to_owned(), means.to_vec()));
    plot::bars(
        file,
        &Bars {
            title: "speed relative to QEMU's TCG",
            axis: "times TCG's speed, logarithmic",
            series: &[YAGURA, NATIVE],
            groups: &groups,
            scale: Scale::Ratios,
        },
    )
}

fn table(comparison: &Comparison, style: TableStyle) -> Table {
    let speeds = SPEEDS.iter().filter(|(one, other)| {
        comparison.columns.contains(one) && comparison.columns.contains(other) && one != other
    });
    let speeds: Vec<_> = speeds.collect();
    let mut table = Table::new();
    table.load_style(style);
    let figures = comparison.columns.iter().map(|name| format!("{name}, ns"));
    let ratios = speeds.iter().map(|(one, other)| format!("{one} : {other}"));
    table.set_header(WORDS.iter().map(|word| (*word).to_owned()).chain(figures).chain(ratios));
    let all_speeds: Vec<_> = speeds.iter().map(|(one, other)| comparison.speeds(one, other)).collect();
    for (index, row) in comparison.rows.iter().enumerate() {
        let figures = row.nanoseconds.iter().map(|figure| figure.map(time));
        let ratios = all_speeds.iter().map(|speeds| speeds[index].map(ratio));
        let cells = figures.chain(ratios).map(|cell| cell.unwrap_or(NOTHING.to_owned()));
        table.add_row([row.name.clone(), row.unit.clone()].into_iter().chain(cells));
    }
    let empty = (0..comparison.columns.len() + 1).map(|_| String::new());
    let means = speeds.iter().map(|(one, other)| comparison.mean_speed(one, other).map(ratio));
    let means = means.map(|mean| mean.unwrap_or(NOTHING.to_owned()));
    table.add_row(["geometric mean".to_owned()].into_iter().chain(empty).chain(means));
    for column in table.column_iter_mut().skip(WORDS.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn notes(comparison: &Comparison) -> String {
    let mut text = String::new();
    for note in &comparison.notes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {note}");
    }
    text
}

/// Three digits that count, up to a million.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..10.0 => format!("{nanoseconds:.2}"),
        10.0..100.0 => format!("{nanoseconds:.1}"),
        _ => format!("{nanoseconds:.0}"),
    }
}

fn ratio(ratio: f64) -> String {
    match ratio {
        ..0.1 => format!("{ratio:.3}"),
        0.1..10.0 => format!("{ratio:.2}"),
        _ => format!("{ratio:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::comparison::Row;
    use super::*;

    #[test]
    fn the_page_has_a_line_for_each_benchmark_and_the_means() {
        let row =
            |name: &str, nanoseconds| Row { name: name.to_owned(), unit: "step".to_owned(), nanoseconds };
        let comparison = Comparison {
            columns: vec![NATIVE, TCG, YAGURA],
            rows: vec![
                row("a", vec![Some(1.0), Some(80.0), Some(2.0)]),
                row("b", vec![Some(3.0), None, None]),
            ],
            notes: vec!["TCG skipped b: no processor".to_owned()],
        };
        let page = page(&comparison, 3);
        let cells = |name: &str| -> Vec<String> {
            let line = page.lines().find(|line| line.starts_with(&format!("| {name}"))).unwrap();
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("a ")[2..9], ["step", "1.00", "80.0", "2.00", "40.0", "0.50", "0.013"]);
        assert_eq!(cells("b ")[2..9], ["step", "3.00", "–", "–", "–", "–", "–"]);
        assert_eq!(cells("geometric")[6..9], ["40.0", "0.50", "0.013"]);
        assert!(page.contains("- TCG skipped b"));
    }
}
