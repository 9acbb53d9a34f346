//! How far long work is: a bar on a terminal, a line a stage elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use yagura_vmm::say;

use crate::interruption::Interruption;

/// Stages shorter than this get no line of their own.
const WORTH_A_LINE: Duration = Duration::from_millis(500);

/// Shows stages of long work on stderr, and how long each took.
pub struct Stages {
    terminal: bool,
    stage: Option<(String, Instant)>,
    bar: Option<ProgressBar>,
    interruption: Interruption,
}

impl Stages {
    /// Nothing is shown before the first stage.
    pub fn new() -> Stages {
        let (terminal, interruption) = (io::stderr().is_terminal(), Interruption::of_work());
        Stages { terminal, stage: None, bar: None, interruption }
    }

    /// All is done.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some((what, since)) = self.stage.take().filter(|(_, since)| since.elapsed() >= WORTH_A_LINE) {
            say(&format!("{what} ({:.1} s)", since.elapsed().as_secs_f64()));
        }
    }
}

impl messages::Watch for Stages {
    fn stage(&mut self, what: &str) {
        if self.stage.as_ref().is_some_and(|(current, _)| current == what) {
            return;
        }
        self.finish();
        self.stage = Some((what.to_owned(), Instant::now()));
        if self.terminal {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::new_spinner().with_message(what.to_owned());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            self.bar = Some(bar);
        }
    }

    fn bytes(&mut self, done: u64, all: Option<u64>) {
        let Some(bar) = &self.bar else { return };
        if let Some(all) = all.filter(|all| bar.length() != Some(*all)) {
            bar.set_style(byte_style("{msg} "));
            bar.set_length(all);
        }
        bar.set_position(done);
    }

    fn note(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(what)),
            None => say(what),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.interruption.is_wanted()
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.interruption.work_is_over();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// How many bytes are done, on a terminal.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// Nothing is done yet.
    pub fn new() -> Bar {
        Bar(io::stderr().is_terminal().then(|| ProgressBar::new(0).with_style(byte_style(""))))
    }

    /// So many bytes of so many are done.
    pub fn show(&self, done_bytes: u64, all_bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(all_bytes);
            bar.set_position(done_bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn byte_style(head: &str) -> ProgressStyle {
    let template = format!("{head}{{bar:40}} {{bytes}} of {{total_bytes}}, {{bytes_per_sec}}, {{eta}} left");
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
