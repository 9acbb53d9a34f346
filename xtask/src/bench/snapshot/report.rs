//! The measurement as tables and as a plot.

use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, TableStyle, presets};

use super::Arguments;
use super::clones::Clones;
use super::contestant::{Row, Save};
use crate::bench::plot::{self, Series};
use crate::bench::statistics::Spread;

/// How a table looks on a terminal.
pub const TERMINAL: TableStyle = presets::UTF8_FULL_CONDENSED;

const MIB: f64 = (1 << 20) as f64;

/// The tiny guest's rows.
pub fn tiny(rows: &[Row], style: TableStyle) -> Table {
    let head =
        ["machine", "command, ms", "its process, ms", "pause, ms", "on disk, KiB", "start to answer, ms"];
    table(
        &head,
        style,
        rows.iter().map(|row| {
            let [total, work, pause] = saves(row);
            let kib = row.saves.last().map_or(0.0, |save| save.file_bytes as f64 / 1024.0);
            [row.name.clone(), total, work, pause, format!("{kib:.0}"), best_and_median(&row.restores_ms)]
        }),
    )
}

/// Debian's rows.
pub fn debian(rows: &[Row], style: TableStyle) -> Table {
    let head = [
        "machine",
        "cold start to shell, s",
        "command, ms",
        "its process, ms",
        "pause, ms",
        "on disk, MiB",
        "start to answer, ms",
    ];
    table(
        &head,
        style,
        rows.iter().map(|row| {
            let [total, work, pause] = saves(row);
            let boot = row.boot_ms.map_or(NONE.to_owned(), |boot| format!("{:.1}", boot / 1e3));
            let mib = row.saves.last().map_or(0.0, |save| save.file_bytes as f64 / MIB);
            [
                row.name.clone(),
                boot,
                total,
                work,
                pause,
                format!("{mib:.0}"),
                best_and_median(&row.restores_ms),
            ]
        }),
    )
}

/// What many machines of one snapshot came to, in a sentence.
pub fn clones(clones: &Clones) -> String {
    let Clones { count, command_s, answered_s, each } = clones;
    format!(
        "`yagura clone` of {count} machines from one snapshot took {command_s:.1} s, and after {answered_s:.1} s all their shells \
         had answered. Each while idle, a mean: {:.1} MiB of RAM that its guest has written since, {:.1} MiB besides that are its \
         process's own; {:.1} MiB with its share of what is shared.",
        each.ram_private / 1024.0,
        each.own_private / 1024.0,
        each.proportional / 1024.0
    )
}

/// The page of the documentation.
pub fn page(tiny_rows: &[Row], debian_rows: &[Row], many: Option<&Clones>, arguments: &Arguments) -> String {
    let Arguments { runs, saves, .. } = arguments;
    let style = presets::ASCII_MARKDOWN;
    format!(
        "# Snapshots\n\n\
        A machine is saved while it runs (`yagura snapshot create`; of that, its process's part, from the order at the control \
        socket to the answer; QEMU's `savevm`), and another goes on from there (`yagura run --restore`; QEMU with `-loadvm`), with \
        input waiting at its console: from the start of the command until the guest has answered. Best / median, all in turn on \
        one machine. What was saved is in the host's page cache. Yagura's guest runs while it is saved, and stands still for the \
        pause alone; QEMU's stands still throughout. Yagura brings all files to stable storage before it answers, and looks at \
        each page's checksum before a machine goes on. `cargo xtask bench snapshot` writes this page.\n\n\
        ## A tiny guest\n\n\
        128 MiB, of which a guest of a few instructions has touched some pages; {runs} saves and restores. What is saved is on \
        the work tree's disk, or where it says so, in memory.\n\n\
        {}\n\n\
        ## Debian\n\n\
        1 GiB, 1 vCPU, booted to a shell and idle, with a qcow2 disk on a raw one; {saves} saves, {} restores. The software engine, and \
        QEMU's TCG on q35.\n\n\
        {}\n\n![milliseconds to a shell that answers](snapshot.svg)\n{}",
        tiny(tiny_rows, style),
        saves * 2,
        debian(debian_rows, style),
        many.map_or(String::new(), |many| format!("\n{}\n", clones(many)))
    )
}

/// Draws how long it takes to a shell that answers, cold and restored.
pub fn draw(file: &Path, rows: &[Row]) -> Result<()> {
    let cold = rows.iter().filter_map(|row| Some((format!("{}, cold", row.name), vec![row.boot_ms?])));
    let booted = rows.iter().filter(|row| row.boot_ms.is_some());
    let restored = booted.map(|row| (format!("{}, restored", row.name), row.restores_ms.clone()));
    let all: Vec<_> = restored.chain(cold).collect();
    let series: Vec<Series> =
        all.iter().map(|(name, values)| Series { name, values: values.clone() }).collect();
    plot::cumulative(file, "start of the monitor to a shell of Debian that answers (ms)", &series)
}

const NONE: &str = "–";

fn saves(row: &Row) -> [String; 3] {
    let figures = |figure: fn(&Save) -> Option<f64>| {
        best_and_median(&row.saves.iter().filter_map(figure).collect::<Vec<_>>())
    };
    [figures(|save| Some(save.total_ms)), figures(|save| save.work_ms), figures(|save| Some(save.pause_ms))]
}

fn best_and_median(figures: &[f64]) -> String {
    let digits = |figure: f64| if figure < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") };
    Spread::of(figures.to_vec()).map_or(NONE.to_owned(), |Spread { best, median, .. }| {
        format!("{} / {}", digits(best), digits(median))
    })
}

fn table<const N: usize>(
    head: &[&str; N],
    style: TableStyle,
    rows: impl Iterator<Item = [String; N]>,
) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(*head);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, work_ms: Option<f64>, boot_ms: Option<f64>) -> Row {
        let save = |total_ms| Save { total_ms, work_ms, pause_ms: 0.25, file_bytes: 3 << 20 };
        Row {
            name: name.to_owned(),
            boot_ms,
            saves: vec![save(12.0), save(10.0)],
            restores_ms: vec![150.0, 7.5],
        }
    }

    #[test]
    fn a_row_has_the_best_and_the_median() {
        let rows = [row("Yagura", Some(1.5), Some(9000.0)), row("QEMU", None, None)];
        let text = debian(&rows, presets::ASCII_MARKDOWN).to_string();
        let cells = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(&format!("| {name} "))).unwrap();
            line.split('|').skip(2).map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(
            cells("Yagura")[..6],
            ["9.0", "10.00 / 12.00", "1.50 / 1.50", "0.25 / 0.25", "3", "7.50 / 150"]
        );
        assert_eq!(cells("QEMU")[..3], ["–", "10.00 / 12.00", "–"]);
    }
}
