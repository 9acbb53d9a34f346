//! Plots as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
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
        .x_labels(20)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_desc("share of starts, %")
        .light_line_style(WHITE)
        .draw()?;
    for (series, colour) in series.iter().zip(COLOURS) {
        let mut values = series.values.clone();
        values.sort_by(f64::total_cmp);
        let share = 100.0 / values.len().max(1) as f64;
        let points = values.iter().enumerate().map(|(index, value)| (*value, (index + 1) as f64 * share));
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
