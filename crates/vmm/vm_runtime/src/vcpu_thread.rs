//! The thread of one vCPU.
//!
//! ```text
//!          Run                 kicked and told so
//! Paused ───────► Running ──────────────────────────► Paused
//!   │    ▲           │  shutdown, triple fault, error ► Paused (after telling the driver)
//!   │    └─ Save
//!   └── Stop ─► (ends)
//! ```

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use arch_model::x86_64::CpuState;
use machine::Bus;
use vcpu_model::{EngineError, ExitCounters, Halt, Kick, Vcpu, VcpuIndex};

use crate::listener::Listener;
use crate::power::PowerLatch;

/// What the driver tells a vCPU. Each is followed by a kick.
enum Command {
    Run,
    /// Leave guest code, settle, answer.
    Pause(Sender<Result<(), EngineError>>),
    /// Answer with the state. All vCPUs are paused.
    Save(Sender<Result<CpuState, EngineError>>),
    Stop,
}

/// Where the thread is.
enum Phase {
    Paused,
    Running,
    Ended,
}

/// The driver's handle on a vCPU.
pub(crate) struct VcpuThread {
    commands: Sender<Command>,
    kick: Arc<dyn Kick>,
    counters: Arc<ExitCounters>,
    thread: Option<JoinHandle<()>>,
}

impl VcpuThread {
    /// Starts the thread, paused.
    pub(crate) fn start(
        index: VcpuIndex,
        vcpu: impl Vcpu,
        bus: Arc<Bus>,
        power: Arc<PowerLatch>,
        listener: Arc<dyn Listener>,
    ) -> io::Result<VcpuThread> {
        let (commands, received) = channel();
        let (kick, counters) = (vcpu.kicker(), vcpu.counters());
        let worker = Worker { index, vcpu, bus, power, commands: received, listener, stood_still: false };
        let thread = host_sys::threads::spawn(&format!("vcpu{index}"), move || worker.serve())?;
        Ok(VcpuThread { commands, kick, counters, thread: Some(thread) })
    }

    pub(crate) fn kicker(&self) -> Arc<dyn Kick> {
        Arc::clone(&self.kick)
    }

    pub(crate) fn counters(&self) -> &ExitCounters {
        &self.counters
    }

    /// Enters guest code.
    pub(crate) fn run(&self) {
        self.tell(Command::Run);
    }

    /// Asks the vCPU to leave guest code; the answer comes when it has, and its accesses are complete.
    pub(crate) fn begin_pause(&self) -> Receiver<Result<(), EngineError>> {
        let (sender, receiver) = channel();
        self.tell(Command::Pause(sender));
        receiver
    }

    /// Asks the vCPU, which is paused as all others are, for its state.
    pub(crate) fn begin_save(&self) -> Receiver<Result<CpuState, EngineError>> {
        let (sender, receiver) = channel();
        self.tell(Command::Save(sender));
        receiver
    }

    fn tell(&self, command: Command) {
        // The thread ends only when it is told to.
        let _ = self.commands.send(command);
        self.kick.kick();
    }
}

impl Drop for VcpuThread {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker<V> {
    index: VcpuIndex,
    vcpu: V,
    bus: Arc<Bus>,
    power: Arc<PowerLatch>,
    commands: Receiver<Command>,
    listener: Arc<dyn Listener>,
    /// It was paused since it ran last.
    stood_still: bool,
}

impl<V: Vcpu> Worker<V> {
    fn serve(mut self) {
        // Two vCPUs that hand each other work on one processor would otherwise cut each other off at every wake-up.
        if let Err(error) = host_sys::threads::compute() {
            tracing::debug!(index = self.index.0, %error, "a vCPU's thread is scheduled as any other");
        }
        let mut phase = Phase::Paused;
        loop {
            phase = match phase {
                Phase::Paused => self.paused(),
                Phase::Running => self.running(),
                Phase::Ended => return,
            };
        }
    }

    fn paused(&mut self) -> Phase {
        match self.commands.recv() {
            Ok(Command::Run) => self.go_on(),
            Ok(command) => self.obey(command),
            Err(_) => Phase::Ended,
        }
    }

    fn go_on(&mut self) -> Phase {
        let stood_still = std::mem::take(&mut self.stood_still);
        let told = if stood_still { self.vcpu.tell_of_standstill() } else { Ok(()) };
        match told {
            Ok(()) => Phase::Running,
            Err(error) => {
                self.listener.vcpu_stopped(self.index, Err(error));
                Phase::Paused
            }
        }
    }

    fn running(&mut self) -> Phase {
        match self.vcpu.run(&*self.bus) {
            Ok(Halt::Kicked) => match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(_) if self.power.stops_vcpus() => Phase::Paused,
                Err(_) => Phase::Running,
            },
            reason => {
                self.listener.vcpu_stopped(self.index, reason);
                Phase::Paused
            }
        }
    }

    fn obey(&mut self, command: Command) -> Phase {
        match command {
            Command::Run => Phase::Running,
            Command::Pause(reply) => {
                self.stood_still = true;
                let _ = reply.send(self.vcpu.settle(&*self.bus));
                Phase::Paused
            }
            Command::Save(reply) => {
                // Others may have sent it something between its own pause and theirs.
                let settled = self.vcpu.settle(&*self.bus);
                let _ = reply.send(settled.and_then(|()| self.vcpu.state()));
                Phase::Paused
            }
            Command::Stop => Phase::Ended,
        }
    }
}
