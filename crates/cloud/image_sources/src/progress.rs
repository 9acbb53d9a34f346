//! How far a download is: bytes, rate, time left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is that of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(5);
/// Samples are no closer to one another than this.
const SAMPLE_STEP: Duration = Duration::from_millis(100);

/// How far a long action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all, where that is known.
    pub total_bytes: Option<u64>,
    /// Bytes a second of late; 0 before that can be told.
    pub rate_bytes_per_s: u64,
    /// When it will be done, if it goes on like this.
    pub left: Option<Duration>,
}

/// Measures a rate from what is done by when.
#[derive(Clone, Debug)]
pub struct RateMeter {
    samples: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    /// Begins to measure at `now`, when `done_bytes` are there already.
    pub fn new(now: Instant, done_bytes: u64) -> RateMeter {
        RateMeter { samples: VecDeque::from([(now, done_bytes)]) }
    }

    /// Whether the last sample is long enough ago that somebody may want to see how far it is.
    pub fn is_due(&self, now: Instant) -> bool {
        self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= SAMPLE_STEP)
    }

    /// Takes a sample and says how far it is.
    pub fn sample(&mut self, now: Instant, done_bytes: u64, total_bytes: Option<u64>) -> Progress {
        self.samples.push_back((now, done_bytes));
        while self.samples.len() > 2 && now.saturating_duration_since(self.samples[1].0) >= WINDOW {
            self.samples.pop_front();
        }
        let (first, first_bytes) = self.samples[0];
        let time = now.saturating_duration_since(first).as_secs_f64();
        let bytes = done_bytes.saturating_sub(first_bytes);
        let rate = if time > 0.0 { (bytes as f64 / time) as u64 } else { 0 };
        let left_bytes = total_bytes.map(|total| total.saturating_sub(done_bytes));
        let left = left_bytes.filter(|_| rate > 0).map(|left| Duration::from_secs(left.div_ceil(rate)));
        Progress { done_bytes, total_bytes, rate_bytes_per_s: rate, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut meter = RateMeter::new(start, 1000);
        let first = meter.sample(at(1.0), 3000, Some(10_000));
        assert_eq!((first.rate_bytes_per_s, first.left), (2000, Some(Duration::from_secs(4))));
        for second in 2..10 {
            meter.sample(at(f64::from(second)), 3000, None);
        }
        let stalled = meter.sample(at(10.0), 3000, Some(10_000));
        assert_eq!((stalled.rate_bytes_per_s, stalled.left), (0, None));
    }

    #[test]
    fn samples_are_not_asked_for_too_often() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start, 0);
        assert!(!meter.is_due(start + Duration::from_millis(50)));
        assert!(meter.is_due(start + Duration::from_millis(100)));
        // No time has gone by: no rate, and no division by it.
        assert_eq!(meter.sample(start, 10, Some(10)).rate_bytes_per_s, 0);
    }
}
