//! Benchmarks of what a processor and a kernel do for a program, told in lines that a program reads:
//!
//! ```text
//! BEGIN <clock, ns> <processors>
//! RESULT <name> <unit> <checksum, hex> <ns an operation> <ns an operation> ...
//! SKIPPED <name> <unit> <reason>
//! FAILED <name> <unit> <reason>
//! END <clock, ns>
//! ```
//!
//! As the first process of a guest it mounts what it needs, and powers the machine off at the end.

#![allow(unsafe_code)]

mod arguments;
mod compute;
mod init;
mod list;
mod measure;
mod packed;
mod pages;
mod random;
mod smp;
mod system;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use arguments::Arguments;
use list::{BENCHMARKS, Benchmark, Prepare};
use measure::Measurement;
use system::{process, processors};

fn main() -> ExitCode {
    // The kernel also hands on words of its command line that it does not know itself, before what follows `--`.
    let words = std::env::args().skip(1).skip_while(|word| init::is_first() && !word.starts_with("--"));
    let words: Vec<String> = words.collect();
    if words.first().is_some_and(|word| word == process::EXIT) {
        return ExitCode::from(process::STATUS as u8);
    }
    if words.first().is_some_and(|word| word == smp::SINK) {
        return if smp::sink().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let outcome =
        if words.first().is_some_and(|word| word == smp::FLAG) { together(&words[1..]) } else { run(words) };
    if let Err(problem) = &outcome {
        println!("PROBLEM {problem}");
    }
    if init::is_first() {
        println!("PROBLEM cannot power off: {}", init::power_off());
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Measures what several processors do together, so many times.
fn together(words: &[String]) -> Result<(), String> {
    let repetitions = words.first().and_then(|word| word.parse().ok()).ok_or("--smp wants a number")?;
    if init::is_first() {
        init::mount().map_err(|error| format!("cannot mount /proc: {error}"))?;
    }
    smp::run(repetitions).map_err(|error| format!("cannot measure: {error}"))
}

fn run(words: Vec<String>) -> Result<(), String> {
    let arguments = Arguments::parse(words.into_iter())?;
    if init::is_first() {
        init::mount().map_err(|error| format!("cannot mount /proc: {error}"))?;
    }
    let processors = processors::allowed().map_err(|error| format!("cannot tell the processors: {error}"))?;
    let first = *processors.first().ok_or("there is no processor")?;
    processors::stay_on(first).map_err(|error| format!("cannot stay on processor {first}: {error}"))?;
    println!("BEGIN {} {}", clock().as_nanos(), processors.len());
    let wanted = BENCHMARKS.iter().filter(|benchmark| arguments.wants(benchmark.name));
    wanted.for_each(|benchmark| tell(benchmark, &arguments, processors.get(1).copied()));
    println!("END {}", clock().as_nanos());
    Ok(())
}

/// Measures one benchmark and prints its line.
fn tell(benchmark: &Benchmark, arguments: &Arguments, other: Option<usize>) {
    let Benchmark { name, unit, needs, prepare } = benchmark;
    let work = match (needs.missing(), prepare, other) {
        (Some(missing), ..) => return println!("SKIPPED {name} {unit} the processor has no {missing}"),
        (None, Prepare::One(prepare), _) => prepare(),
        (None, Prepare::Two(prepare), Some(other)) => prepare(other),
        (None, Prepare::Two(_), None) => {
            return println!("SKIPPED {name} {unit} there is one processor only");
        }
    };
    let measured: io::Result<Measurement> =
        work.and_then(|work| measure::measure(work, arguments.length, arguments.repetitions));
    match measured {
        Ok(Measurement { checksum, nanoseconds }) => {
            let figures: String = nanoseconds.iter().map(|figure| format!(" {figure:.4}")).collect();
            println!("RESULT {name} {unit} {checksum:x}{figures}");
        }
        Err(error) => println!("FAILED {name} {unit} {error}"),
    }
}

/// Time since some moment in the past.
fn clock() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer leads to the structure above. This clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
