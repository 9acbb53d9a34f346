//! What can be typed; in a guest what follows `--` on the kernel's command line.

use std::time::Duration;

/// How to measure.
#[derive(Debug, PartialEq)]
pub struct Arguments {
    /// These benchmarks; all when it is empty.
    pub only: Vec<String>,
    /// Aim for the length of a repetition.
    pub length: Duration,
    /// Repetitions of each benchmark.
    pub repetitions: usize,
}

/// What is understood.
pub const USAGE: &str = "guest_bench [--only NAME,...] [--millis N] [--repetitions N]";

impl Arguments {
    /// Reads the arguments after the program's name.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments =
            Arguments { only: Vec::new(), length: Duration::from_millis(100), repetitions: 3 };
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} wants a value; {USAGE}"))?;
            let number = || value.parse::<u32>().map_err(|error| format!("{flag} {value}: {error}"));
            match flag.as_str() {
                "--only" => arguments.only = value.split(',').map(str::to_owned).collect(),
                "--millis" => arguments.length = Duration::from_millis(number()?.into()),
                "--repetitions" => arguments.repetitions = number()?.max(1) as usize,
                _ => return Err(format!("{flag} is not understood; {USAGE}")),
            }
        }
        Ok(arguments)
    }

    /// Whether a benchmark was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_what_is_given() {
        let arguments = parse("--only sort,x87 --millis 5 --repetitions 2").unwrap();
        assert!(arguments.wants("sort") && arguments.wants("x87") && !arguments.wants("integer"));
        assert_eq!((arguments.length, arguments.repetitions), (Duration::from_millis(5), 2));
        assert!(parse("").unwrap().wants("integer"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse("--fast yes").is_err());
        assert!(parse("--millis").is_err());
        assert!(parse("--millis many").is_err());
    }
}
