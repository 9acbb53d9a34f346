//! Disks and cards that come and go, as the driver carries it out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vcpu_model::Vm;
use vm_control::{AttachDevice, Attached, DetachDevice, EventKind, FailureClass, Phase};
use vm_spec::DeviceId;

use super::Driver;
use crate::control::{Refusal, Reply, ReplySender};
use crate::cycle::PowerCycle;
use crate::hotplug::{self, Extended};
use crate::snapshot::BUSY;

impl Driver<'_> {
    /// Puts a device in.
    pub(super) fn attach<V: Vm>(
        &mut self,
        device: &AttachDevice,
        cycle: &mut PowerCycle<V>,
    ) -> Result<Reply, Refusal> {
        self.check_runs()?;
        let world = &mut self.world;
        let machine = (&world.spec, &*world.blueprint);
        let Extended { id, spec, blueprint } = hotplug::attach(device, machine, &mut world.backends, cycle)?;
        (world.spec, world.blueprint) = (spec, blueprint);
        self.events.tell(EventKind::DeviceAttached, Some(id.to_string()));
        Ok(Reply::Attached(Attached { id: id.into() }))
    }

    /// Asks the guest to let go of a device; who asked is answered when it has, or when its time is over. By force it is
    /// taken out at once.
    pub(super) fn detach<V: Vm>(
        &mut self,
        wanted: &DetachDevice,
        answer: ReplySender,
        cycle: &mut PowerCycle<V>,
    ) {
        let found = self.check_runs().and_then(|()| self.find(&wanted.device));
        let done = match found {
            Ok(Some(id)) if !wanted.force => {
                cycle.machine.ask_to_leave(&id);
                let limit = Duration::from_millis(wanted.timeout_ms);
                self.removals.add(id, limit, Instant::now(), answer);
                return;
            }
            Ok(Some(id)) => {
                cycle.machine.pull_out(&id);
                self.is_out(&id, cycle)
            }
            Ok(None) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        // Who does not wait any more needs no answer.
        let _ = answer.send(done.map(|()| Reply::Done {}));
    }

    /// The disk or card of this name; nothing where it is out already, and what was behind it could be released only now.
    fn find(&mut self, name: &str) -> Result<Option<DeviceId>, Refusal> {
        match hotplug::find(&self.world.spec, name) {
            Ok(id) => Ok(Some(id)),
            Err(refusal) => match self.unreleased.iter().position(|id| id.as_str() == name) {
                Some(index) => {
                    let id = self.unreleased.swap_remove(index);
                    self.release(&id).map(|()| None)
                }
                None => Err(refusal),
            },
        }
    }

    /// A guest that stands still can neither find a device nor let go of one, and a snapshot is of one machine.
    fn check_runs(&self) -> Result<(), Refusal> {
        let why = match self.phase {
            Phase::Running if !self.worker.is_busy() => return Ok(()),
            Phase::Running => BUSY,
            _ => "it is paused: its guest can neither find a device nor let go of one; resume it first",
        };
        Err(Refusal { class: FailureClass::Busy, why: why.to_owned() })
    }

    /// The guest has let go of what is in `slot`, as it was asked, be it before the machine was saved.
    pub(super) fn ejected<V: Vm>(&mut self, slot: u8, cycle: &mut PowerCycle<V>) {
        if let Some(id) = cycle.machine.detach(slot) {
            // Who waits for it is told.
            let _ = self.is_out(&id, cycle);
        }
    }

    /// A device is out of the machine.
    fn is_out<V: Vm>(&mut self, id: &DeviceId, cycle: &mut PowerCycle<V>) -> Result<(), Refusal> {
        let answer = self.forget(id);
        cycle.follow(&self.world.blueprint);
        answer
    }

    /// Those that were asked for go with a machine that is reset: its guest uses nothing any more.
    pub(super) fn forget_those_asked_for(&mut self) {
        for mut removal in self.removals.take_all() {
            let answer = self.forget(&removal.id);
            removal.answer(&answer);
        }
    }

    /// A device that is out is no part of the machine's description any more, and what was behind it is released. All who
    /// waited for it are told.
    fn forget(&mut self, id: &DeviceId) -> Result<(), Refusal> {
        self.world.spec = hotplug::without_device(&self.world.spec, id);
        self.world.blueprint = Arc::new(self.world.blueprint.without(id));
        self.events.tell(EventKind::DeviceDetached, Some(id.to_string()));
        let answer = self.release(id);
        self.removals.take(id).iter_mut().for_each(|removal| removal.answer(&answer));
        answer
    }

    fn release(&mut self, id: &DeviceId) -> Result<(), Refusal> {
        self.world.backends.remove(id).map_err(|error| {
            self.unreleased.push(id.clone());
            let Refusal { class: _, why } = hotplug::refusal(&error);
            let why = format!("{id} is out of the machine, but not given back: {why}; detach it once more");
            self.say(&why);
            Refusal { class: FailureClass::Host, why }
        })
    }

    /// How long until a guest's time is over.
    pub(super) fn until_overdue(&self) -> Option<Duration> {
        self.removals.wait(Instant::now(), self.phase == Phase::Paused)
    }

    /// Tells those who wait that the guest's time is over. A guest that stands still can do nothing about it: it is asked
    /// on.
    pub(super) fn give_up_overdue<V: Vm>(&mut self, cycle: &PowerCycle<V>) {
        let now = Instant::now();
        if self.phase == Phase::Paused {
            for removal in self.removals.overdue(now) {
                let why =
                    format!("its guest has not let go of {} yet, and is paused; it is asked on", removal.id);
                removal.answer(&Err(Refusal { class: FailureClass::Busy, why }));
            }
            return;
        }
        for mut removal in self.removals.take_overdue(now) {
            cycle.machine.keep(&removal.id);
            let (id, seconds) = (&removal.id, removal.limit().as_secs_f32());
            let why = format!(
                "its guest has not let go of {id} within {seconds} s, and keeps it: it may be in use there, or the guest knows \
                 no PCI hot-plug; --force takes it out whatever the guest does with it"
            );
            removal.answer(&Err(Refusal { class: FailureClass::Busy, why }));
        }
    }
}
