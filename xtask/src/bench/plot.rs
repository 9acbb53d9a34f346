//! Plots as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// One monitor's sample.
pub struct Series<'a> {
    pub name: &'a str,
    pub values: Vec<f64>,
}

const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1f, 0x6f, 0xb4),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0x75, 0x70, 0xb3),
];

/// From this ratio of the longest to the shortest time on, the axis has no room for all of its numbers.
const WIDE: f64 = 20.0;

/// Share of runs (0 to 100 %) that took at most so long, a line a series. Logarithmic time axis.
pub fn cumulative(file: &Path, title: &str, series: &[Series]) -> Result<()> {
    draw(file, title, series).map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}

fn draw(file: &Path, title: &str, series: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let all = series.iter().flat_map(|series| series.values.iter().copied());
    let (least, most) =
        all.fold((f64::MAX, 0.0f64), |(least, most), value| (least.min(value), most.max(value)));
    let root = SVGBackend::new(file, (760, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(52)
        .build_cartesian_2d((least * 0.8..most * 1.25).log_scale(), 0.0..100.0)?;
    chart
        .configure_mesh()
        .x_desc("milliseconds, logarithmic")
        .x_labels(if most / least > WIDE { 10 } else { 20 })
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_desc("share of starts, %")
        .light_line_style(WHITE)
        .draw()?;
    for (series, colour) in series.iter().zip(COLOURS) {
        let mut values = series.values.clone();
        values.sort_by(f64::total_cmp);
        let share = 100.0 / values.len().max(1) as f64;
        let points = values.iter().enumerate().map(|(index, value)| (*value, (index + 1) as f64 * share));
        // A line of one run is seen too.
        let points = values.first().map(|first| (*first, 0.0)).into_iter().chain(points);
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerMiddle)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Bars in groups, one below the other.
pub struct Bars<'a> {
    pub title: &'a str,
    /// What the figures are.
    pub axis: &'a str,
    pub series: &'a [&'a str],
    /// A name, and a figure above zero for each series; nothing where there is none.
    pub groups: &'a [(String, Vec<Option<f64>>)],
    pub scale: Scale,
}

/// Where bars begin and how they grow.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// At 1, to both sides, logarithmically.
    Ratios,
    /// At 0.
    Amounts,
}

/// Draws bars.
pub fn bars(file: &Path, bars: &Bars) -> Result<()> {
    draw_bars(file, bars).map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}

/// Height of a bar and of the gap between groups, in pixels.
const BAR_PIXELS: u32 = 9;
const GAP_PIXELS: u32 = 7;
/// Room for a letter of a group's name.
const LETTER_PIXELS: usize = 7;
/// Share of a group's height that its bars take.
const FILLED: f64 = 0.76;

fn draw_bars(file: &Path, bars: &Bars) -> Result<(), Box<dyn std::error::Error>> {
    let count = bars.groups.len();
    let figures = bars.groups.iter().flat_map(|(_, figures)| figures.iter().flatten().copied());
    let (least, most) =
        figures.fold((1.0f64, 1.0f64), |(least, most), figure| (least.min(figure), most.max(figure)));
    let height = count as u32 * (bars.series.len() as u32 * BAR_PIXELS + GAP_PIXELS) + 130;
    let letters = bars.groups.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let root = SVGBackend::new(file, (860, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&root);
    builder.caption(bars.title, ("sans-serif", 20)).margin(12);
    builder.x_label_area_size(42).y_label_area_size((letters * LETTER_PIXELS) as u32);
    // The first group is at the top.
    let rows = count as f64 - 0.5..-0.5;
    match bars.scale {
        Scale::Ratios => {
            let columns = (least * 0.8..most * 1.25).log_scale();
            draw_groups(builder.build_cartesian_2d(columns, rows)?, bars, 1.0)?;
        }
        Scale::Amounts => draw_groups(builder.build_cartesian_2d(0.0..most * 1.1, rows)?, bars, 0.0)?,
    }
    root.present()?;
    Ok(())
}

fn draw_groups<'a, X>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
    bars: &Bars,
    begin: f64,
) -> Result<(), Box<dyn std::error::Error>>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let name = |place: &f64| {
        let group = (place.fract() == 0.0 && *place >= 0.0).then(|| bars.groups.get(*place as usize));
        group.flatten().map_or(String::new(), |(name, _)| name.clone())
    };
    chart
        .configure_mesh()
        .x_desc(bars.axis)
        .x_label_formatter(&|value| format!("{value}"))
        .y_labels(bars.groups.len() * 2)
        .y_label_formatter(&name)
        .disable_y_mesh()
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    let thickness = FILLED / bars.series.len() as f64;
    for ((index, series), colour) in bars.series.iter().enumerate().zip(COLOURS) {
        let bar = |(place, (_, figures)): (usize, &(String, Vec<Option<f64>>))| {
            let top = place as f64 - FILLED / 2.0 + index as f64 * thickness;
            let figure = figures.get(index).copied().flatten()?;
            Some(Rectangle::new([(begin, top), (figure, top + thickness)], colour.filled()))
        };
        chart
            .draw_series(bars.groups.iter().enumerate().filter_map(bar))?
            .label(*series)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled()));
    }
    let bottom = bars.groups.len() as f64 - 0.5;
    let line = [(begin, -0.5), (begin, bottom)];
    chart.draw_series(LineSeries::new(line, BLACK.stroke_width(2)))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_that_has_a_figure_has_its_name_and_bars() {
        let folder = tempfile::tempdir().unwrap();
        let groups =
            [("first".to_owned(), vec![Some(0.5), Some(20.0)]), ("second".to_owned(), vec![None, Some(3.0)])];
        for scale in [Scale::Ratios, Scale::Amounts] {
            let file = folder.path().join("plot.svg");
            let series = ["here", "there"];
            bars(&file, &Bars { title: "speed", axis: "times", series: &series, groups: &groups, scale })
                .unwrap();
            let text = std::fs::read_to_string(file).unwrap();
            assert!(["first", "second", "here", "there"].iter().all(|name| text.contains(name)));
            let colour = |index: usize| {
                let RGBColor(red, green, blue) = COLOURS[index];
                text.matches(&format!("#{red:02X}{green:02X}{blue:02X}")).count()
            };
            // One more each in the legend.
            assert_eq!((colour(0), colour(1)), (2, 3));
        }
    }
}
