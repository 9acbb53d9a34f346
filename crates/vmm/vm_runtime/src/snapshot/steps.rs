//! What the driver does for a snapshot's worker, step by step.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use guest_memory::DirtyPages;
use machine::Backends;
use messages::in_words;
use vcpu_model::Vm;
use vm_spec::{DeviceId, DiskFormat, VmSpec};
use vm_state::VmState;

use super::SnapshotFailure;
use crate::cycle::PowerCycle;
use crate::inbox::{Message, Outbox};

/// What a worker asks of the driver.
pub(crate) enum Step {
    /// Record what is written to RAM from now on.
    StartLog(Sender<Result<(), String>>),
    /// What was written since the last time.
    TakeLog(Sender<Result<DirtyPages, String>>),
    /// Record no longer.
    StopLog,
    /// Stand still, do this, go on. Whether there is a log.
    Freeze(bool, WhileFrozen),
}

/// What is done while the machine stands still, or told why it cannot.
pub(crate) type WhileFrozen = Box<dyn FnOnce(Result<Frozen, String>) + Send>;

/// A machine that stands still.
pub(crate) struct Frozen {
    pub(crate) state: VmState,
    /// What was written since the last look at the log, if there is one.
    pub(crate) dirty: DirtyPages,
    /// Lengths of its disks.
    pub(crate) disk_bytes: BTreeMap<DeviceId, u64>,
    /// When it was to stop.
    pub(crate) since: Instant,
}

/// A worker's way to the machine of one power cycle.
pub(crate) struct MachineHandle {
    pub(crate) outbox: Outbox,
    pub(crate) cycle: u64,
}

impl MachineHandle {
    pub(super) fn start_log(&self) -> Result<Result<(), String>, SnapshotFailure> {
        self.ask(Step::StartLog)
    }

    pub(super) fn take_log(&self) -> Result<DirtyPages, SnapshotFailure> {
        self.ask(Step::TakeLog)?.map_err(SnapshotFailure::Machine)
    }

    pub(super) fn stop_log(&self) {
        self.send(Step::StopLog);
    }

    /// Has the machine stand still while `act` runs in the driver's thread.
    pub(super) fn freeze<T: Send + 'static>(
        &self,
        is_logged: bool,
        act: impl FnOnce(Frozen) -> Result<T, SnapshotFailure> + Send + 'static,
    ) -> Result<T, SnapshotFailure> {
        let (sender, receiver) = channel();
        self.send(Step::Freeze(
            is_logged,
            Box::new(move |frozen| {
                // The worker waits.
                let _ = sender.send(frozen.map_err(SnapshotFailure::Machine).and_then(act));
            }),
        ));
        receiver.recv().map_err(|_| SnapshotFailure::Gone)?
    }

    fn ask<T>(&self, step: impl FnOnce(Sender<T>) -> Step) -> Result<T, SnapshotFailure> {
        let (sender, receiver) = channel();
        self.send(step(sender));
        receiver.recv().map_err(|_| SnapshotFailure::Gone)
    }

    fn send(&self, step: Step) {
        self.outbox.send(Message::Snapshot(self.cycle, step));
    }
}

/// Does one step with the machine that the worker means.
pub(crate) fn carry_out<V: Vm>(
    step: Step,
    cycle: &PowerCycle<V>,
    is_running: bool,
    spec: &VmSpec,
    backends: &Backends,
) {
    // A worker that is gone waits for no answer.
    match step {
        Step::StartLog(reply) => {
            let started = cycle.start_dirty_log().map_err(|error| in_words(&error));
            let _ = reply.send(started);
        }
        Step::TakeLog(reply) => {
            let _ = reply.send(cycle.take_dirty_log().map_err(|error| in_words(&error)));
        }
        Step::StopLog => {
            if let Err(error) = cycle.stop_dirty_log() {
                tracing::warn!(%error, "the dirty log goes on");
            }
        }
        Step::Freeze(is_logged, act) => {
            let since = Instant::now();
            if is_running && let Err(error) = cycle.pause() {
                return act(Err(in_words(&error)));
            }
            let saved = save(cycle, is_logged).and_then(|(state, dirty)| {
                flush(spec, backends)?;
                let length = |id: DeviceId| Some((backends.disk(&id)?.size_bytes(), id));
                let lengths = spec.disk_ids().into_iter().filter_map(length);
                let disk_bytes = lengths.map(|(bytes, id)| (id, bytes)).collect();
                Ok(Frozen { state, dirty, disk_bytes, since })
            });
            act(saved);
            if is_running {
                cycle.resume();
            }
        }
    }
}

/// The state, and then the log: what is settled for the state may be in it.
fn save<V: Vm>(cycle: &PowerCycle<V>, is_logged: bool) -> Result<(VmState, DirtyPages), String> {
    let state = cycle.save().map_err(|error| in_words(&error))?;
    let dirty = if is_logged {
        cycle.take_dirty_log().map_err(|error| in_words(&error))?
    } else {
        DirtyPages::default()
    };
    Ok((state, dirty))
}

fn flush(spec: &VmSpec, backends: &Backends) -> Result<(), String> {
    for (id, disk) in spec.disk_ids().iter().zip(&spec.disks) {
        // A raw disk has nothing but its blocks, which whoever copies it finds where they are.
        if disk.format == DiskFormat::Qcow2 && !disk.readonly {
            let flushed = backends.flush_disk(id);
            flushed.map_err(|error| format!("disk {}: {}", disk.path.display(), in_words(&error)))?;
        }
    }
    Ok(())
}
