//! `yagura`: the one command that a person types.
//!
//! ```text
//! arguments ─► cli ─┬─ run ───► settings (flags over file) ─► Order ─► exec of yagura-vmm
//!                   │              └─ instance: an image's disk, seed and kernel ─► cloud_ops
//!                   ├─ image ─► cloud_ops, image_store
//!                   ├─ disk ──► images, offline
//!                   └─ doctor ─► facts of this host ─► rows ─► table or JSON
//! ```
//!
//! Errors travel as `anyhow` and are printed once, here. Knows no device and no machine.

mod cli;
mod complaint;
mod disk_images;
mod doctor;
mod images;
mod logging;
mod print;
mod progress;
mod run;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // Nothing may have been opened, started or read before a child confines itself.
    if image_import::is_child(std::env::args_os()) {
        return image_import::child_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return complaint::about_command_line(&error),
    };
    match carry_out(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => complaint::about_failure(&error),
    }
}

fn carry_out(Cli { log, command }: Cli) -> anyhow::Result<u8> {
    let level = logging::level(log)?;
    yagura_vmm::logging::start(level)?;
    match command {
        Command::Run(arguments) => run::run(*arguments, level),
        Command::List(arguments) => images::list_instances(&arguments),
        Command::Delete(arguments) => images::delete_instances(&arguments),
        Command::Image(command) => images::run(&command),
        Command::Disk(command) => disk_images::run(&command),
        Command::Doctor(arguments) => doctor::run(&arguments),
    }
}
