//! How long a round of a benchmark takes, by this machine's own clock.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

/// A benchmark made ready: the same work in every round, with the same checksum.
pub struct Work {
    /// Operations in a round.
    operations: u64,
    round: Box<dyn FnMut() -> io::Result<u64>>,
}

impl Work {
    /// Work that asks the system for something.
    pub fn system(operations: u64, round: impl FnMut() -> io::Result<u64> + 'static) -> io::Result<Work> {
        Ok(Work { operations, round: Box::new(round) })
    }

    /// Work that computes.
    pub fn compute(operations: u64, mut round: impl FnMut() -> u64 + 'static) -> io::Result<Work> {
        Work::system(operations, move || Ok(round()))
    }
}

/// What was measured of a benchmark.
pub struct Measurement {
    /// The same on every machine.
    pub checksum: u64,
    /// Nanoseconds an operation, one figure a repetition.
    pub nanoseconds: Vec<f64>,
}

/// Repeats rounds until a repetition takes about `length`, and takes so many repetitions.
pub fn measure(mut work: Work, length: Duration, repetitions: usize) -> io::Result<Measurement> {
    let checksum = (work.round)()?;
    let rounds = calibrate(&mut work, checksum, length)?;
    let mut nanoseconds = Vec::with_capacity(repetitions);
    for _ in 0..repetitions {
        let elapsed = time(&mut work, checksum, rounds)?;
        nanoseconds.push(elapsed.as_nanos() as f64 / (rounds as f64 * work.operations as f64));
    }
    Ok(Measurement { checksum, nanoseconds })
}

/// The rounds that fill `length`, at least one.
fn calibrate(work: &mut Work, checksum: u64, length: Duration) -> io::Result<u64> {
    /// Above this share of the length a trial says enough.
    const ENOUGH: f64 = 0.2;
    let wanted = length.as_secs_f64();
    let mut rounds = 1;
    loop {
        let elapsed = time(work, checksum, rounds)?.as_secs_f64();
        if elapsed >= wanted * ENOUGH {
            return Ok(((rounds as f64 * wanted / elapsed) as u64).max(1));
        }
        rounds *= 2;
    }
}

fn time(work: &mut Work, checksum: u64, rounds: u64) -> io::Result<Duration> {
    let start = Instant::now();
    for _ in 0..rounds {
        let got = black_box((work.round)()?);
        if got != checksum {
            return Err(io::Error::other(format!("a round's checksum was {got:#x}, not {checksum:#x}")));
        }
    }
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repetition_is_told_and_positive() {
        let work = Work::compute(1, || (0..200u64).map(black_box).sum()).unwrap();
        let measured = measure(work, Duration::from_micros(200), 4).unwrap();
        assert_eq!(measured.checksum, 19900);
        assert_eq!(measured.nanoseconds.len(), 4);
        assert!(measured.nanoseconds.iter().all(|time| *time > 0.0));
    }

    #[test]
    fn a_round_that_differs_is_an_error() {
        let mut count = 0;
        let work = Work::compute(1, move || {
            count += 1;
            count
        });
        assert!(measure(work.unwrap(), Duration::from_micros(1), 1).is_err());
    }
}
