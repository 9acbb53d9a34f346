//! What the user sees of long work: a spinner on a terminal, one line a step elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// One step of long work, shown while it lasts.
pub struct Step {
    label: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

/// Shows that a step has begun.
pub fn step(label: impl Into<String>) -> Step {
    let label = label.into();
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = ProgressBar::new_spinner().with_message(label.clone());
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    if bar.is_none() {
        eprintln!("{label} …");
    }
    Step { label, started: Instant::now(), bar }
}

impl Step {
    /// Says what the step is at now; seen only on a terminal.
    pub fn at(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {what}", self.label));
        }
    }

    /// Prints a line above the step.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Says that the step is over and how long it took.
    pub fn done(self) {
        let took = self.started.elapsed();
        let text = format!("{} ({:.1} s)", self.label, took.as_secs_f64());
        if let Some(bar) = self.bar.as_ref() {
            bar.finish_and_clear();
        }
        eprintln!("{text}");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
