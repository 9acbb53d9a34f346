//! `yagura stop`
//!
//! ```text
//! status ─ paused? resume ─► listen to events ─► press the power button ─► wait ─┬─ it has ended
//!                                                                               └─ the guest does not react
//! ```

use std::thread::sleep;
use std::time::{Duration, Instant};

use vm_client::{ClientError, Next, VmClient};
use vm_control::{EventKind, FailureClass, Phase, Verb};
use vm_spec::VmName;

use super::arguments::StopArguments;
use super::failure::Failed;
use super::{Running, each};

/// How long a VM that has ended may take to put its things away.
const PUT_AWAY: Duration = Duration::from_secs(10);
/// How soon it is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// Switches VMs off and waits until they have ended; the exit status.
pub fn stop(arguments: &StopArguments) -> u8 {
    let StopArguments { names, force, timeout } = arguments;
    let running = Running::here();
    each(names, |name| {
        let vm = running.client(name);
        let outcome = if *force { vm.ask(Verb::Stop).map(|()| true) } else { press(&vm, *timeout) };
        match outcome {
            Ok(true) => until_gone(&vm, name),
            Ok(false) => Err(no_reaction(name, *timeout)),
            Err(error) => Err(running.failed(name, &error)),
        }
    })
}

/// Presses the power button of a VM; whether it has ended within `timeout`.
fn press(vm: &VmClient, timeout: Duration) -> Result<bool, ClientError> {
    let end = Instant::now() + timeout;
    let status = vm.status()?;
    match listen_and_press(vm, status.state == Phase::Paused, end) {
        // It was there, and is not any more: somebody else was quicker.
        Err(_) if matches!(vm.is_listening(), Ok(false)) => Ok(true),
        outcome => outcome,
    }
}

fn listen_and_press(vm: &VmClient, is_paused: bool, end: Instant) -> Result<bool, ClientError> {
    let mut events = vm.events()?;
    if is_paused {
        vm.ask(Verb::Resume)?;
    }
    vm.ask(Verb::PowerButton)?;
    loop {
        match events.next(end.saturating_duration_since(Instant::now()))? {
            Next::Event(event) if event.event == EventKind::Ended => return Ok(true),
            Next::Event(_) => {}
            Next::Ended => return Ok(true),
            Next::Nothing => return Ok(false),
        }
    }
}

/// Waits until the VM's name, its disks and all else of it are free again.
fn until_gone(vm: &VmClient, name: &VmName) -> Result<(), Failed> {
    let end = Instant::now() + PUT_AWAY;
    while vm.is_listening().unwrap_or(false) {
        if Instant::now() > end {
            let line = format!("VM {name} has ended, and its process has not; see what it waits for");
            return Err(Failed { class: FailureClass::Busy, line });
        }
        sleep(LOOK);
    }
    Ok(())
}

fn no_reaction(name: &VmName, timeout: Duration) -> Failed {
    let line = format!(
        "VM {name}: its guest has not shut down within {} s of its power button; 'yagura stop --force {name}' ends it at once",
        timeout.as_secs()
    );
    Failed { class: FailureClass::Busy, line }
}
