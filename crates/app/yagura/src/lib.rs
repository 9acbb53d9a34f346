//! What a person types, in two executables out of one command line.
//!
//! ```text
//! yagura ─► cli ─┬─ run ────► settings (flags over file) ─► Order ─► the VM, in this process
//!                ├─ doctor ─► facts of this host ─► rows ─► table or JSON
//!                └─ all else: exec of yagura-cloud ─► cli ─┬─ run --image ─► an instance ─► Order ─► exec of yagura
//!                                                          ├─ pause, resume, stop, reset, info, list ─► vm_client
//!                                                          ├─ snapshot, clone ─► snapshot_files, vm_client
//!                                                          ├─ image, list, delete ─► image_ops, instance_ops
//!                                                          └─ disk ─► images, offline
//! ```
//!
//! The process of a VM is small and has no code that speaks to a network; ADR 6 says what that is worth. Errors travel
//! as `anyhow` and are printed once, here. Knows no device and no machine.

mod cli;
mod complaint;
mod disk_images;
mod doctor;
mod images;
mod interruption;
mod logging;
mod print;
mod progress;
mod run;
mod settings;
mod verbs;

use std::os::unix::process::CommandExt;
use std::process::{Command as Process, ExitCode};

use anyhow::Context;
use clap::Parser;
use host_sys::inherited;
use vm_control::Verb;
use yagura_vmm::logging::LevelFilter;

use cli::{Cli, Command};

/// The executable for everything but running a machine.
const CLOUD: &str = "yagura-cloud";

/// What `yagura` does.
pub fn typed() -> ExitCode {
    host_sys::memory::share_one_heap();
    if let Err(status) = survive_limits() {
        return status;
    }
    if let Some(order) = yagura_vmm::ordered(std::env::args_os()) {
        return yagura_vmm::obey(&order);
    }
    carry_out(|command, level| match command {
        Command::Run(arguments) => run::run(*arguments, level, become_cloud),
        Command::Doctor(arguments) => doctor::run(&arguments),
        _ => become_cloud(),
    })
}

/// What `yagura-cloud` does.
pub fn cloud() -> ExitCode {
    if let Err(status) = survive_limits() {
        return status;
    }
    carry_out(|command, level| {
        hide_logins();
        carry_out_cloud(command, level)
    })
}

fn carry_out_cloud(command: Command, level: LevelFilter) -> anyhow::Result<u8> {
    match command {
        Command::Run(arguments) => run::run_by_order(*arguments, level),
        Command::Pause(arguments) => Ok(verbs::ask(Verb::Pause, &arguments.names)),
        Command::Resume(arguments) => Ok(verbs::ask(Verb::Resume, &arguments.names)),
        Command::Stop(arguments) => Ok(verbs::stop(&arguments)),
        Command::Reset(arguments) => Ok(verbs::ask(Verb::Reset, &arguments.names)),
        Command::Resize(arguments) => Ok(verbs::resize(&arguments)),
        Command::Attach(arguments) => verbs::attach(&arguments),
        Command::Detach(arguments) => Ok(verbs::detach(&arguments)),
        Command::Info(arguments) => verbs::info(&arguments),
        Command::Snapshot(command) => verbs::snapshot::run(&command),
        Command::Clone(arguments) => Ok(complaint::by_class(verbs::snapshot::clone(&arguments, level))),
        Command::List(arguments) => verbs::list(&arguments),
        Command::Delete(arguments) => Ok(complaint::by_class(images::delete_instances(&arguments))),
        Command::Image(command) => Ok(complaint::by_class(images::run(&command))),
        Command::Disk(command) => disk_images::run(&command),
        Command::Doctor(arguments) => doctor::run(&arguments),
    }
}

fn carry_out(act: impl FnOnce(Command, LevelFilter) -> anyhow::Result<u8>) -> ExitCode {
    let Cli { log, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return complaint::about_command_line(&error),
    };
    shut_foreign_files(&command);
    let answer = logging::level(log).and_then(|level| {
        yagura_vmm::logging::start(level)?;
        act(command, level)
    });
    match answer {
        Ok(status) => ExitCode::from(status),
        Err(error) => complaint::about_failure(&error),
    }
}

/// Takes passwords in addresses out of what `ps` shows of this process. Its arguments cannot be read afterwards: `yagura`,
/// which hands them on, is there for a moment only.
fn hide_logins() {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let shown: Vec<_> = words.iter().map(|word| messages::without_login(word)).collect();
    if words.iter().zip(&shown).any(|(word, shown)| word != shown) {
        // It is a courtesy: what a person types can be seen before, too.
        let _ = host_sys::process_title::set_process_title(&shown.join(" "));
    }
}

/// Less address space than that is not enough for any command.
const LEAST_BYTES: u64 = 24 << 20;

/// A write beyond `ulimit -f` is an error of that write; too low a `ulimit -v` is told before anything wants memory.
fn survive_limits() -> Result<(), ExitCode> {
    // Where that cannot be had, such a write stays the end of the process.
    let _ = host_sys::limits::survive_file_size_limit();
    match host_sys::limits::mappable_bytes() {
        Some(left_bytes) if left_bytes < LEAST_BYTES => {
            yagura_vmm::say("'ulimit -v' or 'ulimit -d' leaves this process too little memory; raise it");
            Err(ExitCode::from(yagura_vmm::FAILED))
        }
        _ => Ok(()),
    }
}

/// A caller's files that nobody named are none of ours. A VM closes them itself, when it knows all of its paths; until
/// then they are kept from whatever prepares it.
fn shut_foreign_files(command: &Command) {
    let arguments = std::env::args_os();
    let named: Vec<_> = arguments
        .flat_map(|argument| inherited::named_in(&argument.to_string_lossy()).collect::<Vec<_>>())
        .collect();
    match command {
        Command::Run(_) => {}
        _ => inherited::close_all_but(&named),
    }
}

/// This process becomes `yagura-cloud` with the same arguments. Returns only if that cannot be.
fn become_cloud() -> anyhow::Result<u8> {
    let program = yagura_vmm::beside(CLOUD)?;
    let error = Process::new(&program).arg0("yagura").args(std::env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
