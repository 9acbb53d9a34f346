//! The measurement as a table and as a plot.

use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, TableStyle, presets};

use super::cases::Case;
use super::measure::Sample;
use super::{NAMES, Row};
use crate::bench::plot::{self, Bars, Scale};
use crate::bench::statistics::{Spread, geometric_mean};

const RATIOS: [&str; 2] = ["throughput, Yagura : QEMU", "CPU a request, QEMU : Yagura"];

/// A table for a terminal.
pub fn terminal(rows: &[Row]) -> String {
    format!("{}\n{}", table(rows, presets::UTF8_FULL_CONDENSED), means(rows, presets::UTF8_FULL_CONDENSED))
}

/// The page of the documentation.
pub fn page(rows: &[Row], runs: u32) -> String {
    format!(
        "# Disks\n\n\
        virtio block on Yagura's software engine beside QEMU's TCG: the same Debian kernel with the same fio (libaio, \
        `direct=1`), one vCPU, one disk with one queue; medians of {runs} runs in turn on one machine. Names are \
        format, pattern, size of a request, requests in flight. Reads go over 256 MiB that the host has in its page \
        cache; writes go to images that held nothing, each case to a part of its own. Both monitors use the host's \
        page cache and io_uring; QEMU has `cache=writeback`, and an iothread. CPU is the user and kernel time of the \
        monitor's process, guest included, for a request. Both ratios are above 1 where Yagura is the better. \
        `cargo xtask bench disk` writes this page; what a request costs in exits on KVM, \
        `cargo xtask lab --job disk-exits` counts.\n\n\
        {}\n\n![ratios](disk.svg)\n\n{}\n",
        means(rows, presets::ASCII_MARKDOWN),
        table(rows, presets::ASCII_MARKDOWN)
    )
}

/// Draws the ratios, over depths.
pub fn draw(rows: &[Row], file: &Path) -> Result<()> {
    let alike = |one: &Row, next: &Row| {
        let key = |case: &Case| (case.format, case.pattern, case.block_kib);
        key(&one.case) == key(&next.case)
    };
    let group = |rows: &[Row]| {
        let Case { format, pattern, block_kib, .. } = rows.first()?.case;
        let name = format!("{} {} {block_kib} KiB", format.name(), pattern.name());
        Some((name, mean_ratios(rows).to_vec()))
    };
    let groups: Vec<_> = rows.chunk_by(alike).filter_map(group).collect();
    plot::bars(
        file,
        &Bars {
            title: "disks beside QEMU's TCG",
            axis: "ratios, geometric means over depths; above 1 Yagura is the better",
            series: &RATIOS,
            groups: &groups,
            scale: Scale::Ratios,
        },
    )
}

/// A figure's median over a contestant's runs.
fn median(samples: &[Sample], figure: fn(&Sample) -> f64) -> Option<f64> {
    Spread::of(samples.iter().map(figure).collect()).map(|spread| spread.median)
}

/// In the order of [`RATIOS`].
fn ratios(row: &Row) -> [Option<f64>; 2] {
    let medians = |figure| row.samples.each_ref().map(|samples| median(samples, figure));
    let [ours, theirs] = medians(|sample| sample.mib_s);
    let [our_cpu, their_cpu] = medians(|sample| sample.cpu_us);
    // A case too short for the kernel's clock has used no time.
    let above_zero = |ratio: f64| ratio.is_finite() && ratio > 0.0;
    [ours.zip(theirs), their_cpu.zip(our_cpu)]
        .map(|pair| pair.map(|(above, below)| above / below).filter(|ratio| above_zero(*ratio)))
}

fn mean_ratios(rows: &[Row]) -> [Option<f64>; 2] {
    [0, 1].map(|which| geometric_mean(rows.iter().filter_map(|row| ratios(row)[which])))
}

fn table(rows: &[Row], style: TableStyle) -> Table {
    let each = |what: &str| NAMES.map(|name| format!("{name}, {what}"));
    let header = [each("MiB/s"), each("requests/s"), each("CPU, µs"), RATIOS.map(str::to_owned)].concat();
    let mut table = begin(style, "case", &header);
    for row in rows {
        let each = |figure| row.samples.each_ref().map(|samples| median(samples, figure));
        let amounts = [each(|sample| sample.mib_s), each(|sample| sample.requests_s)].concat();
        let amounts = amounts.into_iter().map(|figure| written(figure, 0));
        let cpu = each(|sample| sample.cpu_us).into_iter().map(|figure| written(figure, 1));
        let ratios = ratios(row).into_iter().map(|ratio| written(ratio, 2));
        table.add_row([row.case.to_string()].into_iter().chain(amounts).chain(cpu).chain(ratios));
    }
    right(table)
}

/// Geometric means by format and pattern, over all, and in how many cases Yagura is not behind.
fn means(rows: &[Row], style: TableStyle) -> Table {
    let mut header = RATIOS.map(str::to_owned).to_vec();
    header.push("at least QEMU's throughput, at no more CPU".to_owned());
    let mut table = begin(style, "geometric means", &header);
    let mut add = |name: String, rows: &[Row]| {
        let not_behind = |which: usize| {
            rows.iter().filter(|row| ratios(row)[which].is_some_and(|ratio| ratio >= 1.0)).count()
        };
        let ratios = mean_ratios(rows).map(|ratio| written(ratio, 2));
        let counts = format!("{} and {} of {}", not_behind(0), not_behind(1), rows.len());
        table.add_row([name].into_iter().chain(ratios).chain([counts]));
    };
    let alike =
        |one: &Row, next: &Row| (one.case.format, one.case.pattern) == (next.case.format, next.case.pattern);
    for group in rows.chunk_by(alike) {
        let Some(Row { case, .. }) = group.first() else { continue };
        add(format!("{} {}", case.format.name(), case.pattern.name()), group);
    }
    add("all".to_owned(), rows);
    right(table)
}

fn begin(style: TableStyle, first: &str, others: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header([first.to_owned()].iter().chain(others));
    table
}

fn right(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn written(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{figure:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Format, Pattern};
    use super::*;

    fn row(ours: Sample, theirs: Sample) -> Row {
        let case = Case { format: Format::Raw, pattern: Pattern::RandomRead, block_kib: 4, depth: 8 };
        Row { case, samples: [vec![ours], vec![theirs]] }
    }

    #[test]
    fn both_ratios_are_above_1_where_yagura_is_the_better() {
        let fast = Sample { mib_s: 300.0, requests_s: 76800.0, cpu_us: 10.0 };
        let slow = Sample { mib_s: 100.0, requests_s: 25600.0, cpu_us: 40.0 };
        assert_eq!(ratios(&row(fast, slow)), [Some(3.0), Some(4.0)]);
        let page = page(&[row(fast, slow), row(slow, fast)], 1);
        assert!(page.contains("raw-randread-4k-x8") && page.contains("1 and 1 of 2"), "{page}");
    }

    #[test]
    fn no_time_measured_is_no_ratio() {
        let sample = |cpu_us| Sample { mib_s: 1.0, requests_s: 256.0, cpu_us };
        assert_eq!(ratios(&row(sample(0.0), sample(1.0))), [Some(1.0), None]);
    }
}
