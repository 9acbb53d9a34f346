//! The state driver: the one place where a VM's phase changes.

mod hotplug;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_model::x86_64::cpuid::Cpuid;
use device_model::{Consequence, GuestReport, HostFailure, PowerRequest};
use host_sys::poll::{Poller, Token};
use host_sys::signals::SignalEvents;
use machine::{Backends, GenerationId};
use messages::Bytes;
use vcpu_model::{Engine, EngineError, Halt, VcpuIndex, Vm};
use vm_control::{EventKind, FailureClass, Phase, ResizeDisk, RestoreOrder, SnapshotOrder, Status, VERSION};
use vm_spec::{Blueprint, DeviceId, HostFacts, OnPanic, OnReset, VmSpec, resolve};

use crate::control::{ControlRequest, ControlServer, ControlSocket, Refusal, Reply, ReplySender, Wanted};
use crate::cycle::{PowerCycle, PowerOn};
use crate::error::RunError;
use crate::events::Events;
use crate::inbox::{Inbox, Message};
use crate::keeper::{Keeper, guest_cpuid};
use crate::listener::Listener;
use crate::outcome::Outcome;
use crate::removals::Removals;
use crate::report;
use crate::resize;
use crate::snapshot::{
    Answer, GoBack, GoBackJob, MachineHandle, Opened, SnapshotFailure, TakeJob, Worker, carry_out,
};
use crate::trouble::{PANICKED, Reach, Told, in_words, panic_in_words};

/// How a VM is run, besides what it consists of.
#[derive(Debug, Default)]
pub struct Options {
    /// Where control requests come in.
    pub control: Vec<ControlSocket>,
    /// How a person reaches it, for what he is told.
    pub reach: Reach,
    /// Tells a person, in a line, what happens to the VM while it runs.
    pub say: Option<fn(&str)>,
    /// Another engine of this host to which the guest may go, if nobody chose a CPU for it.
    pub also: Option<Elsewhere>,
    /// The folder of a snapshot from which it goes on, instead of being powered on cold. Whoever says so has verified it.
    pub restore: Option<PathBuf>,
    /// A byte is written here when the machine runs, and this is closed: whoever started the process waits for it.
    pub started: Option<File>,
    /// Keeps what the machine was resolved to, for a VM that is to be the same machine at its next start.
    pub keeper: Option<Box<dyn Keeper>>,
}

/// What a guest finds elsewhere. It is told of no CPU feature that is missing there.
#[derive(Debug)]
pub struct Elsewhere {
    /// What is offered there.
    pub cpuid: Cpuid,
    /// Frequency of the TSC, in kHz, if it cannot be any.
    pub tsc_khz: Option<u32>,
}

/// Why a power cycle is over.
enum End {
    Power(PowerRequest),
    /// Somebody asked for a reset: no doing of the guest's.
    Reset,
    TripleFault,
    Panic,
    Crash(EngineError),
    /// The host has nothing left for a device: what, in words.
    HostFailed(String),
    /// The machine goes back to a snapshot.
    GoBack(Box<GoBack>),
    Killed,
}

/// How the next power cycle begins.
enum Next {
    Cold,
    /// On from a snapshot; who asked for that while the VM ran.
    From(Box<Opened>, Option<Answer>),
}

/// Resets in a row, each within [`ResetLoop::QUICK`] of the machine's start, that make a loop.
const RESET_LOOP: u32 = 10;

/// Runs a VM in the foreground until it ends. Blocks SIGTERM, SIGINT and SIGHUP in the calling thread.
pub fn run<E: Engine>(engine: &E, spec: &VmSpec, options: Options) -> Result<Outcome, RunError> {
    let Options { control, reach, say, also, restore, started, keeper } = options;
    let signals = SignalEvents::block(&[libc_signal::TERM, libc_signal::INT, libc_signal::HUP])?;
    let inbox = Inbox::new()?;
    let events = Events::default();
    // Dropped last: a name is free again when everything else of the VM's is.
    let mut control = ControlServer::new(control, inbox.outbox(), events.clone());
    let outbox = inbox.outbox();
    let backends = Backends::open(spec, move || outbox.send(Message::Quit))?;
    let (blueprint, first, other_cpu) = match restore {
        None => {
            let former = keeper.as_deref().and_then(Keeper::former);
            let (cpuid, other_cpu) =
                guest_cpuid(engine, spec.cpu_model, former, also.as_ref().map(|also| &also.cpuid[..]))?;
            let tsc_khz = also.and_then(|also| also.tsc_khz);
            let facts = HostFacts { cpuid, tsc_khz, backends: backends.facts() };
            (resolve(spec, &facts, former)?, Next::Cold, other_cpu)
        }
        Some(folder) => {
            let opened = Opened::open(&folder)?;
            opened.state.blueprint.check_fit(&backends.facts())?;
            (opened.state.blueprint.clone(), Next::From(Box::new(opened), None), None)
        }
    };
    let blueprint = Arc::new(blueprint);
    if let Some(keeper) = &keeper {
        keeper.keep(&blueprint).map_err(RunError::Keep)?;
    }
    let kept = Arc::clone(&blueprint);
    // Each device has a name that it keeps, whatever comes and goes.
    let spec = spec.clone().named();
    let life = GenerationId::fresh().map_err(RunError::Random)?;
    let world = World { spec, blueprint, life, engine: engine.name(), backends, reach, say };
    let mut driver = Driver::new(world, &mut control, signals, inbox, events)?;
    driver.starter = started;
    if let Some(line) = other_cpu {
        driver.say(&line);
    }
    let ended = driver.power_cycles(engine, first);
    if let Some(keeper) = &keeper {
        let how = ended.as_ref().map_or_else(|error| messages::in_words(error), Outcome::to_string);
        if let Err(error) = keeper.ended(&kept, &how) {
            driver.say(&format!("its end is not recorded: {error}"));
        }
    }
    let outcome = ended?;
    driver.events.tell(EventKind::Ended, Some(outcome.to_string()));
    Ok(outcome)
}

/// What a VM is run with, kept over power cycles.
struct World {
    spec: VmSpec,
    blueprint: Arc<Blueprint>,
    /// The same over resets.
    life: GenerationId,
    engine: &'static str,
    backends: Backends,
    reach: Reach,
    say: Option<fn(&str)>,
}

struct Driver<'s> {
    world: World,
    control: &'s mut ControlServer,
    poller: Poller,
    signals: SignalEvents,
    inbox: Inbox,
    events: Events,
    /// Control requests that arrived while the machine was being built anew.
    waiting: VecDeque<ControlRequest>,
    /// Devices that the guest was asked to let go of.
    removals: Removals,
    /// Devices that are out, while what was behind them could not be released.
    unreleased: Vec<DeviceId>,
    phase: Phase,
    /// Why the machine is paused, where nobody asked for it.
    paused_by: Option<String>,
    told: Told,
    /// The power button was pressed while the machine was paused.
    pressed: bool,
    asked_to_shut_down: bool,
    started: Instant,
    /// Waits for the machine to run.
    starter: Option<File>,
    resets: u32,
    /// Power cycles in which the guest's kernel panicked.
    panics: u32,
    /// Power cycles so far.
    cycle: u64,
    worker: Worker,
}

/// A cycle in which nothing has happened for so long is no longer starting.
const SETTLED: Duration = Duration::from_millis(30);

const SIGNALS: Token = Token(0);
const INBOX: Token = Token(1);
const CONTROL: Token = Token(2);

impl<'s> Driver<'s> {
    fn new(
        world: World,
        control: &'s mut ControlServer,
        signals: SignalEvents,
        inbox: Inbox,
        events: Events,
    ) -> Result<Driver<'s>, RunError> {
        let poller = Poller::new()?;
        poller.watch(signals.as_fd(), SIGNALS)?;
        poller.watch(inbox.descriptor(), INBOX)?;
        control.watch(&poller, CONTROL)?;
        Ok(Driver {
            world,
            control,
            poller,
            signals,
            inbox,
            events,
            waiting: VecDeque::new(),
            removals: Removals::default(),
            unreleased: Vec::new(),
            phase: Phase::Running,
            paused_by: None,
            told: Told::default(),
            pressed: false,
            asked_to_shut_down: false,
            started: Instant::now(),
            starter: None,
            resets: 0,
            panics: 0,
            cycle: 0,
            worker: Worker::default(),
        })
    }

    /// Power cycle after power cycle, until one ends for good.
    fn power_cycles<E: Engine>(&mut self, engine: &E, first: Next) -> Result<Outcome, RunError> {
        let (on_reset, on_panic) = (self.world.spec.on_reset, self.world.spec.on_panic);
        let mut quick_resets = ResetLoop::default();
        let listener: Arc<dyn Listener> = Arc::new(self.inbox.outbox());
        let mut next = first;
        loop {
            let mut cycle = self.power_on(engine, std::mem::replace(&mut next, Next::Cold), &listener)?;
            let powered_on = Instant::now();
            cycle.resume();
            self.cycle += 1;
            self.phase = Phase::Running;
            self.paused_by = None;
            self.pressed = false;
            self.events.tell(EventKind::Started, None);
            if let Some(mut starter) = self.starter.take() {
                // One that is gone waits for nothing.
                let _ = starter.write_all(&[1]);
            }
            let end = self.serve(&mut cycle);
            drop(cycle);
            self.keep_control_requests();
            let restarts = match end {
                End::Reset => true,
                End::Power(PowerRequest::Reset) | End::TripleFault => on_reset == OnReset::Restart,
                End::Panic => on_panic == OnPanic::Restart,
                _ => false,
            };
            match end {
                End::GoBack(back) => next = self.go_back(*back)?,
                _ if restarts => {
                    let is_the_guest_s = !matches!(end, End::Reset);
                    if is_the_guest_s && quick_resets.is_loop(powered_on.elapsed()) {
                        return Ok(Outcome::ResetLoop);
                    }
                    self.forget_those_asked_for();
                    self.resets += 1;
                    self.events.tell(EventKind::Reset, None);
                }
                End::Power(PowerRequest::Reset) | End::Reset => return Ok(Outcome::Reset),
                End::Power(PowerRequest::Shutdown) => return Ok(Outcome::Shutdown),
                End::Power(PowerRequest::DebugExit(value)) => return Ok(Outcome::DebugExit(value)),
                End::Power(PowerRequest::Exit(status)) => return Ok(Outcome::Exited(status)),
                End::TripleFault => return Ok(Outcome::TripleFault),
                End::Panic => return Ok(Outcome::Panicked),
                End::Crash(error) => return Ok(Outcome::Crash(error)),
                End::HostFailed(what) => return Err(RunError::Device(what)),
                End::Killed => return Ok(Outcome::Killed),
            }
        }
    }

    /// Powers the machine on, and answers whoever asked for it.
    fn power_on<E: Engine>(
        &mut self,
        engine: &E,
        next: Next,
        listener: &Arc<dyn Listener>,
    ) -> Result<PowerCycle<E::Vm>, RunError> {
        let World { spec, backends, blueprint, life, .. } = &mut self.world;
        let Next::From(opened, reply) = next else {
            return PowerCycle::power_on(engine, spec, backends, PowerOn::Cold(blueprint, life), listener);
        };
        let restored = opened.ram(spec.merge).map_err(RunError::from).and_then(|memory| {
            *life = GenerationId::fresh().map_err(RunError::Random)?;
            let how = PowerOn::Snapshot(&opened.state, memory, life);
            PowerCycle::power_on(engine, spec, backends, how, listener)
        });
        self.world.blueprint = Arc::new(opened.state.blueprint);
        if let Some(reply) = reply {
            reply.send(restored.as_ref().map(|_| Reply::Done {}).map_err(ended_by));
        }
        restored
    }

    /// Puts the machine's disks back, as there is no machine now.
    fn go_back(&mut self, back: GoBack) -> Result<Next, RunError> {
        let GoBack { opened, disks, reply } = back;
        let World { spec, backends, .. } = &mut self.world;
        match backends.exchange_disks(spec, || disks.put().map_err(RunError::from)) {
            Ok(()) => {
                self.events.tell(EventKind::Restored, Some(opened.snapshot.record.id().to_string()));
                Ok(Next::From(Box::new(opened), Some(reply)))
            }
            Err(error) => {
                reply.send(Err(ended_by(&error)));
                Err(error)
            }
        }
    }

    /// Waits for and carries out what comes, until the cycle is over.
    fn serve<V: Vm>(&mut self, cycle: &mut PowerCycle<V>) -> End {
        while let Some(request) = self.waiting.pop_front() {
            if let Some(end) = self.control(request, cycle) {
                return end;
            }
        }
        // A VM that lives on gives back what only its start needed; one that ends at once is spared the work.
        let mut settles = Some(SETTLED);
        loop {
            let again = self.control.wait();
            let overdue = self.until_overdue();
            let ready = self.poller.wait(settles.into_iter().chain(again).chain(overdue).min());
            self.control.try_again(&self.poller);
            self.give_up_overdue(cycle);
            if ready.is_empty() && settles.take().is_some() {
                host_sys::memory::give_back_start_up_memory();
            }
            for token in ready {
                let end = match token {
                    SIGNALS => self.signal(cycle),
                    CONTROL => {
                        self.control.serve(&self.poller);
                        None
                    }
                    _ => self.messages(cycle),
                };
                if let Some(end) = end {
                    return end;
                }
            }
        }
    }

    /// The first signal presses the power button, the second pulls the plug.
    fn signal<V: Vm>(&mut self, cycle: &PowerCycle<V>) -> Option<End> {
        while let Ok(Some(number)) = self.signals.next() {
            self.events.tell(EventKind::Signal, Some(number.to_string()));
            if self.asked_to_shut_down {
                return Some(End::Killed);
            }
            self.asked_to_shut_down = true;
            self.press_power_button(cycle);
            self.resume(cycle);
        }
        None
    }

    /// A paused machine's state stays as it is: a press waits for the end of the pause.
    fn press_power_button<V: Vm>(&mut self, cycle: &PowerCycle<V>) {
        match self.phase {
            Phase::Paused => self.pressed = true,
            _ => cycle.machine.press_power_button(),
        }
    }

    fn messages<V: Vm>(&mut self, cycle: &mut PowerCycle<V>) -> Option<End> {
        let mut end = None;
        for message in self.inbox.drain() {
            match message {
                // What comes after the end of a cycle is about a machine that is gone, but for requests.
                Message::Control(request) if end.is_some() => self.waiting.push_back(request),
                Message::Control(request) => end = self.control(request, cycle),
                Message::Unasked(listeners) => self.listen(listeners),
                _ if end.is_some() => {}
                Message::Snapshot(number, step) if number == self.cycle => {
                    let World { spec, backends, .. } = &self.world;
                    carry_out(step, cycle, self.phase == Phase::Running, spec, backends);
                }
                // About a machine that is gone: its worker sees that nobody answers.
                Message::Snapshot(..) => {}
                // A device that the guest was asked for before may have gone since all was seen to.
                Message::GoBack(back) if !back.opened.state.blueprint.has_devices_of(&self.world.spec) => {
                    back.reply.send(Err(Refusal::host(&SnapshotFailure::Changed)));
                }
                Message::GoBack(back) => end = Some(End::GoBack(back)),
                Message::Quit => end = Some(End::Killed),
                Message::Power(request) => end = Some(End::Power(request)),
                Message::HostFailure(failure) => end = self.host_failure(&failure, cycle),
                Message::Guest(report) => end = self.guest_report(report, cycle),
                Message::Ejected(slot) => self.ejected(slot, cycle),
                Message::VcpuStopped(index, reason) => end = self.vcpu_stopped(index, reason),
            }
        }
        end
    }

    /// Tells what the guest told, and does what is to be done about a panic.
    fn guest_report<V: Vm>(&mut self, report: GuestReport, cycle: &PowerCycle<V>) -> Option<End> {
        match report {
            GuestReport::CrashLoaded => self.events.tell(EventKind::CrashLoaded, None),
            GuestReport::ShuttingDown => self.events.tell(EventKind::ShuttingDown, None),
            GuestReport::Panicked => {
                self.panics += 1;
                self.events.tell(EventKind::Panicked, None);
                match self.world.spec.on_panic {
                    OnPanic::Guest => {}
                    OnPanic::Restart | OnPanic::Exit => return Some(End::Panic),
                    OnPanic::Pause => return self.pause_after_panic(cycle),
                }
            }
        }
        None
    }

    /// vCPUs are held already; devices are stopped, too, if somebody has not done so before.
    fn pause_after_panic<V: Vm>(&mut self, cycle: &PowerCycle<V>) -> Option<End> {
        if self.phase == Phase::Running {
            if let Err(error) = cycle.pause() {
                return Some(End::Crash(error));
            }
            self.phase = Phase::Paused;
            self.events.tell(EventKind::Paused, Some(PANICKED.to_owned()));
            self.say(&panic_in_words(&self.world.spec.name, &self.world.reach));
            self.paused_by = Some(PANICKED.to_owned());
        }
        cycle.release();
        None
    }

    fn vcpu_stopped(&mut self, index: VcpuIndex, reason: Result<Halt, EngineError>) -> Option<End> {
        match reason {
            Ok(Halt::Reset) => Some(End::Power(PowerRequest::Reset)),
            Ok(Halt::Shutdown) => Some(End::Power(PowerRequest::Shutdown)),
            Ok(Halt::TripleFault) => {
                self.events.tell(EventKind::TripleFault, Some(format!("vCPU {index}")));
                Some(End::TripleFault)
            }
            Ok(Halt::Kicked | Halt::Debug) => None,
            Err(error) => Some(End::Crash(error)),
        }
    }

    /// The host could not do something for a device: a person is told, and the machine goes on, stands still or ends.
    fn host_failure<V: Vm>(&mut self, failure: &HostFailure, cycle: &PowerCycle<V>) -> Option<End> {
        let line = in_words(failure, &self.world.spec, &self.world.reach);
        match failure.consequence {
            Consequence::Told => {
                if self.told.is_new(failure) {
                    self.events.tell(EventKind::HostFailure, Some(line.clone()));
                    self.say(&line);
                }
                None
            }
            Consequence::Held => {
                // Paused already, or what was held has been done since.
                if self.phase == Phase::Paused || cycle.machine.held_requests() == 0 {
                    return None;
                }
                self.events.tell(EventKind::HostFailure, Some(line.clone()));
                if let Err(error) = self.pause(cycle) {
                    let why = messages::in_words(&error);
                    return Some(End::HostFailed(format!("{line}; it cannot be paused: {why}")));
                }
                self.say(&line);
                self.paused_by = Some(line);
                None
            }
            Consequence::Fatal => {
                self.events.tell(EventKind::HostFailure, Some(line.clone()));
                Some(End::HostFailed(line))
            }
        }
    }

    /// Tells a person at the terminal.
    fn say(&self, line: &str) {
        if let Some(say) = self.world.say {
            say(&format!("VM {}: {line}", self.world.spec.name));
        }
    }

    fn control<V: Vm>(&mut self, request: ControlRequest, cycle: &mut PowerCycle<V>) -> Option<End> {
        let ControlRequest { wanted, reply } = request;
        let done = Ok(Reply::Done {});
        let (answer, end) = match wanted {
            Wanted::Status => (Ok(Reply::Status(self.status())), None),
            Wanted::Counters => (Ok(Reply::Counters(report::counters(cycle))), None),
            Wanted::Pause => {
                let paused = self.pause(cycle).map_err(|error| Refusal::host(&error));
                (paused.map(|()| Reply::Done {}), None)
            }
            Wanted::Resume => {
                self.resume(cycle);
                (done, None)
            }
            Wanted::PowerButton => {
                self.press_power_button(cycle);
                (done, None)
            }
            Wanted::Reset => (done, Some(End::Reset)),
            Wanted::Stop => (done, Some(End::Killed)),
            Wanted::Attach(device) => (self.attach(&device, cycle), None),
            Wanted::Detach(wanted) => {
                self.detach(&wanted, reply, cycle);
                return None;
            }
            Wanted::ResizeDisk(wanted) => (self.resize_disk(&wanted, cycle).map(|()| Reply::Done {}), None),
            Wanted::Snapshot(order) => {
                self.snapshot(order, reply, cycle);
                return None;
            }
            Wanted::Restore(order) => {
                self.restore(order, reply);
                return None;
            }
        };
        // A client that did not wait for its answer needs none.
        let _ = reply.send(answer);
        end
    }

    /// The disk's file first, then the device, so that the guest hears of nothing that is not there.
    fn resize_disk<V: Vm>(&mut self, wanted: &ResizeDisk, cycle: &PowerCycle<V>) -> Result<(), Refusal> {
        let (id, grown_to) = resize::grow(&self.world.spec, &self.world.backends, wanted)?;
        if let Some(size_bytes) = grown_to {
            cycle.machine.follow_backend(&id);
            self.events.tell(EventKind::DiskResized, Some(format!("{id} is {} long", Bytes(size_bytes))));
        }
        Ok(())
    }

    /// Has a snapshot made, by a worker that answers.
    fn snapshot<V: Vm>(&mut self, order: SnapshotOrder, reply: ReplySender, cycle: &PowerCycle<V>) {
        let World { spec, backends, .. } = &self.world;
        let dirty = |id: DeviceId| Some((Arc::clone(backends.disk(&id)?.dirty_bitmap()), id));
        let dirty = spec.disk_ids().into_iter().filter_map(dirty).map(|(dirty, id)| (id, dirty));
        let job = TakeJob {
            order,
            spec: spec.clone(),
            engine: self.world.engine,
            dirty: dirty.collect(),
            memory: cycle.memory().clone(),
            machine: MachineHandle { outbox: self.inbox.outbox(), cycle: self.cycle },
        };
        self.worker.start(self.inbox.outbox(), reply, move |_, reply| job.run(reply));
    }

    /// Has everything seen to that a way back to a snapshot needs, by a worker that answers if it finds something wrong.
    fn restore(&mut self, order: RestoreOrder, reply: ReplySender) {
        let World { spec, backends, .. } = &self.world;
        let job = GoBackJob { order, spec: spec.clone(), backends: backends.facts() };
        self.worker.start(self.inbox.outbox(), reply, move |outbox, reply| job.run(outbox, reply));
    }

    fn pause<V: Vm>(&mut self, cycle: &PowerCycle<V>) -> Result<(), EngineError> {
        if self.phase == Phase::Running {
            cycle.pause()?;
            self.phase = Phase::Paused;
            self.events.tell(EventKind::Paused, None);
        }
        Ok(())
    }

    fn resume<V: Vm>(&mut self, cycle: &PowerCycle<V>) {
        if self.phase == Phase::Paused {
            cycle.resume();
            host_sys::memory::give_back_start_up_memory();
            self.phase = Phase::Running;
            self.paused_by = None;
            self.removals.begin_anew(Instant::now());
            self.events.tell(EventKind::Resumed, None);
            if std::mem::take(&mut self.pressed) {
                cycle.machine.press_power_button();
            }
        }
    }

    fn status(&self) -> Status {
        let World { spec, blueprint, engine, backends, .. } = &self.world;
        Status {
            protocol: VERSION,
            name: spec.name.as_str().to_owned(),
            state: self.phase,
            paused_by: self.paused_by.clone(),
            engine: (*engine).to_owned(),
            cpus: spec.cpus.get(),
            memory_bytes: spec.memory.bytes(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            resets: self.resets,
            panics: self.panics,
            pid: std::process::id(),
            disks: report::disks(spec, backends),
            cards: report::cards(spec, blueprint),
        }
    }

    /// Control sockets that nobody asks at any more are watched again, and what served them is given back.
    fn listen(&mut self, listeners: Vec<UnixListener>) {
        if let Err(error) = self.control.listen(listeners, &self.poller, CONTROL) {
            tracing::error!(%error, "control socket lost");
        }
        host_sys::memory::give_back_start_up_memory();
    }

    /// Messages of a machine that is gone are dropped; requests wait for the next one.
    fn keep_control_requests(&mut self) {
        for message in self.inbox.drain() {
            match message {
                Message::Control(request) => self.waiting.push_back(request),
                Message::Unasked(listeners) => self.listen(listeners),
                _ => {}
            }
        }
    }
}

/// The answer to who asked for what ended the VM.
fn ended_by(error: &RunError) -> Refusal {
    Refusal { class: FailureClass::Host, why: format!("{}; the VM has ended", messages::in_words(error)) }
}

/// Tells a guest that cannot start from one that is restarted.
#[derive(Default)]
struct ResetLoop {
    quick_in_a_row: u32,
}

impl ResetLoop {
    /// A machine that ran for less was not used between two resets.
    const QUICK: Duration = Duration::from_secs(3);

    fn is_loop(&mut self, ran_for: Duration) -> bool {
        self.quick_in_a_row = if ran_for < Self::QUICK { self.quick_in_a_row + 1 } else { 0 };
        self.quick_in_a_row >= RESET_LOOP
    }
}

/// Signal numbers (signal(7)).
mod libc_signal {
    pub(super) const HUP: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const TERM: i32 = 15;
}

#[cfg(test)]
mod policy_tests {
    use super::*;

    #[test]
    fn ten_quick_resets_in_a_row_are_a_loop() {
        let (quick, slow) = (Duration::from_millis(10), Duration::from_secs(20));
        let mut resets = ResetLoop::default();
        for _ in 0..9 {
            assert!(!resets.is_loop(quick));
        }
        assert!(!resets.is_loop(slow));
        for _ in 0..9 {
            assert!(!resets.is_loop(quick));
        }
        assert!(resets.is_loop(quick));
    }
}
