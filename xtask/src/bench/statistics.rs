//! The few figures that a noisy machine lets one quote.

/// Best, median and 90th percentile of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub best: f64,
    pub median: f64,
    pub p90: f64,
}

impl Spread {
    /// Of a sample that is not empty.
    pub fn of(mut sample: Vec<f64>) -> Option<Spread> {
        sample.sort_by(f64::total_cmp);
        let at = |share: f64| sample.get(((sample.len() as f64 - 1.0) * share).round() as usize).copied();
        Some(Spread { best: at(0.0)?, median: at(0.5)?, p90: at(0.9)? })
    }
}

/// The geometric mean of figures above zero; nothing for none.
pub fn geometric_mean(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<f64> = figures.into_iter().map(f64::ln).collect();
    let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
    (!logarithms.is_empty()).then(|| mean.exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_of_the_sorted_sample() {
        let spread = Spread::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { best: 1.0, median: 3.0, p90: 5.0 });
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn the_geometric_mean_takes_ratios_and_their_inverses_alike() {
        let mean = geometric_mean([4.0, 0.25, 8.0, 0.5]).unwrap();
        assert!((mean - 2f64.sqrt()).abs() < 1e-12, "{mean}");
        assert_eq!(geometric_mean([]), None);
    }
}
