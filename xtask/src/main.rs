//! `cargo xtask`: what this project's people and machines type besides `cargo build`.
//!
//! Each subcommand is a module; shared ground (cache, packages, processes, progress) is a module too.

mod bench;
mod cache;
mod demo;
mod guests;
mod lab;
mod packages;
mod process;
mod progress;
mod soft;
mod test;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, test and show Yagura.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build yagura as users get it, and say where it is.
    Build,
    /// Measure Yagura beside its peers.
    Bench(bench::Arguments),
    /// Show it: end in the shell of a guest.
    Demo(demo::Arguments),
    /// Prepare what guests boot from, and say where it is.
    Guests,
    /// Boot an emulated machine with hardware virtualization and run jobs in it.
    Lab(lab::Arguments),
    /// What runs inside the lab's machine.
    #[command(hide = true)]
    LabAgent(lab::agent::Arguments),
    /// One job, inside the lab's machine.
    #[command(hide = true)]
    LabJob(lab::agent::JobArguments),
    /// Run guests on the software engine, right here, and put them through their paces.
    Soft(soft::Arguments),
    /// One of the lab's jobs, on the software engine.
    #[command(hide = true)]
    SoftJob(lab::here::Arguments),
    /// Run every check and test.
    Test(test::Arguments),
    /// Check the invariants that no compiler checks.
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Build => workspace::build_yagura().map(|file| println!("{}", file.display())),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Guests => guests::run(),
        Command::Lab(arguments) => lab::run(&arguments),
        Command::LabAgent(arguments) => lab::agent::run(&arguments),
        Command::LabJob(arguments) => lab::agent::run_job(&arguments),
        Command::Soft(arguments) => soft::run(&arguments),
        Command::SoftJob(arguments) => lab::here::run_job(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Tidy(arguments) => tidy::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
