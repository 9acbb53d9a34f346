//! Runs what is wholly known, until it ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::RawFd;
use std::process::Command;

use anyhow::{Context, bail};
use host_sys::{inherited, limits};
use kvm_engine::{Hardware, KvmEngine};
use messages::{Bytes, in_words};
use vcpu_model::{Engine, EngineError};
use vm_runtime::{ControlSocket, Keeper, Options, Outcome, Reach};
use vm_spec::{BootSpec, ConsoleSpec, MemorySize, OnError, VmSpec};

use crate::engine::{self, Chosen};
use crate::kept::KeptMachine;
use crate::meminfo::{self, MemoryFacts};
use crate::name;
use crate::order::Order;
use crate::say::say;

/// Runs a VM in this process until it ends, and then what is to be done afterwards; the exit status.
///
/// # Errors
/// What is wrong with the host or with what was given, in one line.
pub fn run(mut order: Order) -> anyhow::Result<u8> {
    inherited::close_all_but(&named_descriptors(&order));
    limits::raise_descriptor_limit();
    // Before anything is touched. What is done afterwards is about the name's owner.
    let by_name = name::claim(&mut order.spec, order.another_name_will_do)?;
    // A VM runs without a title, too.
    let _ = host_sys::process_title::set_process_title(&format!("yagura: {}", order.spec.name));
    let afterwards = std::mem::take(&mut order.afterwards);
    let answer = run_vm(order, by_name);
    let cleaned_up = clean_up(&afterwards);
    let status = answer?;
    cleaned_up.map(|()| status)
}

/// The descriptors that the order's paths lead to: files that were opened for this VM.
pub(crate) fn named_descriptors(order: &Order) -> Vec<RawFd> {
    let Order { spec, kvm_device, control, started, .. } = order;
    let BootSpec::Kernel(kernel) = &spec.boot;
    let disks = spec.disks.iter().map(|disk| &disk.path);
    let consoles =
        std::iter::once(&spec.console).chain(&spec.virtio_console).filter_map(|console| match console {
            ConsoleSpec::File { path, .. } | ConsoleSpec::Socket(path) => Some(path),
            ConsoleSpec::Stdio | ConsoleSpec::None => None,
        });
    let single = std::iter::once(kvm_device).chain(control).chain(started);
    let paths = single.chain(kernel.paths()).chain(disks).chain(consoles);
    paths.filter_map(|path| inherited::named_by(path)).collect()
}

/// Tells a person at a terminal which keys are not the guest's.
fn tell_keys(spec: &VmSpec) {
    let has_stdio = spec.console == ConsoleSpec::Stdio || spec.virtio_console == Some(ConsoleSpec::Stdio);
    if has_stdio && std::io::stdin().is_terminal() {
        say(&format!("VM {}: Ctrl-] and then q ends it, Ctrl-] twice sends one Ctrl-]", spec.name));
    }
}

fn run_vm(order: Order, by_name: Option<ControlSocket>) -> anyhow::Result<u8> {
    let Order { mut spec, engine: choice, jit, kvm_device, control, machine, restore, started, .. } = order;
    let started = started.map(|path| File::options().write(true).open(path)).transpose();
    let started = started.context("cannot tell who started this process that it runs")?;
    let kept = machine.map(|path| KeptMachine::open(&path, &mut spec)).transpose();
    let kept = kept.with_context(|| format!("VM {}", spec.name))?;
    let name = &spec.name;
    let table = std::fs::read_to_string(meminfo::PATH).unwrap_or_default();
    let warning = MemoryFacts::parse(&table).map(|host| check_memory(spec.memory, host)).transpose()?;
    if let Some(warning) = warning.flatten() {
        say(&warning);
    }
    let reach = match (&by_name, &control) {
        (Some(_), _) => Reach::ByName,
        (None, Some(path)) => Reach::At(path.clone()),
        (None, None) => Reach::Signals,
    };
    check_resume(&spec, &reach)?;
    let by_path = control.as_deref().map(ControlSocket::open).transpose();
    let by_path = by_path.map_err(|error| failure(&spec, &error.into(), ""))?;
    let control = by_name.into_iter().chain(by_path).collect();
    let keeper = kept.map(|kept| Box::new(kept) as Box<dyn Keeper>);
    let options = Options { control, reach, say: Some(say), also: None, restore, started, keeper };
    tell_keys(&spec);
    match engine::choose(choice, jit, &kvm_device).with_context(|| format!("VM {name}"))? {
        Chosen::Kvm(engine) => {
            check_address_space(&spec, 0)?;
            run_on(&engine, &spec, options, |error| hint(error, &engine))
        }
        Chosen::Soft(engine, reason) => {
            if let Some(reason) = reason {
                say(&format!("VM {name}: {reason}"));
            }
            check_address_space(&spec, engine.mapped_bytes_max(spec.cpus.get()))?;
            let is_open = spec.cpu_model.is_none() && options.restore.is_none();
            let also = is_open.then(|| engine::beside(choice, &kvm_device)).flatten();
            run_on(&engine, &spec, Options { also, ..options }, |_| "")
        }
    }
}

/// Executes `program` with its arguments, if there is one.
fn clean_up(program: &[OsString]) -> anyhow::Result<()> {
    let [program, arguments @ ..] = program else { return Ok(()) };
    let status = Command::new(program).args(arguments).status();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    // It has said itself what is wrong.
    if status.success() { Ok(()) } else { bail!("the VM ended, and something of it is left") }
}

/// Runs a VM on `engine`; `hint` knows what to do about its errors.
fn run_on<E: Engine>(
    engine: &E,
    spec: &VmSpec,
    options: Options,
    hint: impl Fn(&EngineError) -> &'static str,
) -> anyhow::Result<u8> {
    let name = &spec.name;
    match vm_runtime::run(engine, spec, options) {
        Ok(outcome) => {
            if let Some(line) = unusual(&outcome, hint) {
                say(&format!("VM {name}: {line}"));
            }
            Ok(outcome.exit_status())
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            let stuck = error.chain().find_map(|cause| cause.downcast_ref::<EngineError>());
            let hint = stuck.map_or("", hint);
            Err(failure(spec, &error, hint))
        }
    }
}

/// An error in the VM's name, with what can be done about it.
fn failure(spec: &VmSpec, error: &anyhow::Error, hint: &str) -> anyhow::Error {
    anyhow::anyhow!("VM {}: {}{}{hint}", spec.name, of_image(in_words(&**error), spec), advice(error))
}

/// What to do where the host has run out of something.
pub(crate) fn advice(error: &anyhow::Error) -> &'static str {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    refused.map_or("", limits::advice)
}

/// A machine that pauses by itself needs somebody who can resume it.
fn check_resume(spec: &VmSpec, reach: &Reach) -> anyhow::Result<()> {
    let waits = spec.disks.iter().find(|disk| disk.on_error == OnError::Pause);
    if let Some(disk) = waits.filter(|_| *reach == Reach::Signals) {
        let path = disk.path.display();
        bail!(
            "VM {}: disk {path}: on-error=pause needs a control socket, where the machine is resumed; add --control PATH",
            spec.name
        );
    }
    Ok(())
}

/// Files that were taken out of an image have no names, only descriptors, which say nothing to a person.
fn of_image(line: String, spec: &VmSpec) -> String {
    let BootSpec::Kernel(kernel) = &spec.boot;
    let nameless = kernel.paths().filter(|path| path.starts_with("/proc/self/fd"));
    nameless.fold(line, |line, path| line.replace(&path.display().to_string(), "of its image"))
}

/// Refuses what the host can never give, and warns of what it cannot give now.
fn check_memory(wanted: MemorySize, host: MemoryFacts) -> anyhow::Result<Option<String>> {
    let MemoryFacts { total_bytes, available_bytes } = host;
    if wanted.bytes() > total_bytes {
        let total = Bytes(total_bytes);
        bail!("{wanted} of memory: this host has {total}; give the VM less with --memory SIZE");
    }
    let available = Bytes(available_bytes);
    let warning = format!("warning: {wanted} of memory: only {available} are free now; the host may run out");
    Ok((wanted.bytes() > available_bytes).then_some(warning))
}

/// Address space that a machine takes beside its RAM and what its engine takes: the executable, its heap, threads.
const MACHINE_BYTES: u64 = 48 << 20;
/// The same for each disk or card: its queues' threads and rings.
const DEVICE_BYTES: u64 = 8 << 20;

/// Refuses a VM that `ulimit -v` or `ulimit -d` would end when it wants more memory later.
fn check_address_space(spec: &VmSpec, engine_bytes: u64) -> anyhow::Result<()> {
    let Some(left_bytes) = limits::mappable_bytes() else { return Ok(()) };
    let devices = (spec.disks.len() + spec.nets.len()) as u64;
    // A sixteenth of the RAM for tables about it.
    let ram_bytes = spec.memory.bytes() + spec.memory.bytes() / 16;
    let wanted_bytes = ram_bytes + engine_bytes + MACHINE_BYTES + devices * DEVICE_BYTES;
    if left_bytes >= wanted_bytes {
        return Ok(());
    }
    let (left, wanted) = (Bytes(left_bytes), Bytes(wanted_bytes));
    bail!(
        "VM {}: this process may map {left} more, and the VM may come to take {wanted}; raise 'ulimit -v' and 'ulimit -d', \
         or give it less memory or fewer CPUs",
        spec.name
    )
}

/// A line about an end that is not what a user hopes for.
fn unusual(outcome: &Outcome, hint: impl Fn(&EngineError) -> &'static str) -> Option<String> {
    const SEE_CONSOLE: &str = "see what it wrote to its console";
    match outcome {
        Outcome::ResetLoop => Some(format!("the guest kept resetting right after its start; {SEE_CONSOLE}")),
        Outcome::TripleFault => Some(format!("the guest crashed its CPU (triple fault); {SEE_CONSOLE}")),
        Outcome::Panicked => Some(format!("the guest's kernel panicked; {SEE_CONSOLE}")),
        Outcome::Crash(error) => Some(format!("{}{}", in_words(error), hint(error))),
        Outcome::Shutdown | Outcome::Reset | Outcome::DebugExit(_) | Outcome::Exited(_) | Outcome::Killed => {
            None
        }
    }
}

/// What to do about an engine that could not go on: the commonest reason is that no hardware helps it.
fn hint(error: &EngineError, engine: &KvmEngine) -> &'static str {
    let stuck = matches!(error, EngineError::Stuck { .. });
    if stuck && engine.probe().is_ok_and(|report| report.hardware == Hardware::Absent) {
        "; no hardware stands behind the KVM of this host, see 'yagura doctor'"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_the_host_has_is_refused() {
        let host = MemoryFacts { total_bytes: 4 << 30, available_bytes: 1 << 30 };
        let error = check_memory("5G".parse().unwrap(), host).unwrap_err().to_string();
        assert!(error.contains("5G of memory: this host has 4 GiB; give the VM less"), "{error}");
        let warning = check_memory("4G".parse().unwrap(), host).unwrap();
        assert!(warning.unwrap().contains("only 1 GiB are free"));
        assert_eq!(check_memory("512M".parse().unwrap(), host).unwrap(), None);
    }
}
