//! Messages to the state driver: one queue, one descriptor to wait on.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, sync::Arc};

use device_model::{EventFd, GuestReport, HostFailure, PowerRequest};
use host_sys::poll::{event_fd, new_event};
use vcpu_model::{EngineError, Halt, VcpuIndex};

use crate::control::ControlRequest;
use crate::listener::Listener;
use crate::snapshot::{GoBack, Step};

/// What the driver is told.
pub(crate) enum Message {
    /// A device asked for the end of this run.
    Power(PowerRequest),
    /// The host could not do something for a device.
    HostFailure(HostFailure),
    /// The guest told something of itself, for the first time in this run.
    Guest(GuestReport),
    /// The guest let go of the device in a PCI slot, as it was asked.
    Ejected(u8),
    /// A vCPU left guest code for a reason of its own.
    VcpuStopped(VcpuIndex, Result<Halt, EngineError>),
    /// The person at the terminal asked for the end.
    Quit,
    /// Somebody asked at a control socket.
    Control(ControlRequest),
    /// The worker of a snapshot needs something of the machine of this power cycle.
    Snapshot(u64, Step),
    /// The machine is to go back to a snapshot, which was seen to.
    GoBack(Box<GoBack>),
    /// Nobody asks there any more; these are the sockets.
    Unasked(Vec<UnixListener>),
}

/// The driver's end.
pub(crate) struct Inbox {
    messages: Receiver<Message>,
    wake: Arc<EventFd>,
    outbox: Outbox,
}

/// Everybody else's end.
#[derive(Clone)]
pub(crate) struct Outbox {
    messages: Sender<Message>,
    wake: Arc<EventFd>,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Inbox> {
        let (sender, messages) = channel();
        let wake = Arc::new(new_event()?);
        Ok(Inbox { messages, outbox: Outbox { messages: sender, wake: Arc::clone(&wake) }, wake })
    }

    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Readable when there are messages.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        event_fd(&self.wake)
    }

    /// The messages that have arrived, in order.
    pub(crate) fn drain(&self) -> Vec<Message> {
        // The event is cleared before the queue is read, so that a message in between wakes again.
        let _ = self.wake.read();
        self.messages.try_iter().collect()
    }
}

impl Listener for Outbox {
    fn power_requested(&self, request: PowerRequest) {
        self.send(Message::Power(request));
    }

    fn host_failed(&self, failure: HostFailure) {
        self.send(Message::HostFailure(failure));
    }

    fn guest_reported(&self, report: GuestReport) {
        self.send(Message::Guest(report));
    }

    fn slot_ejected(&self, slot: u8) {
        self.send(Message::Ejected(slot));
    }

    fn vcpu_stopped(&self, index: VcpuIndex, reason: Result<Halt, EngineError>) {
        self.send(Message::VcpuStopped(index, reason));
    }
}

impl Outbox {
    pub(crate) fn send(&self, message: Message) {
        // The receiver goes only when the process ends; then nobody is left to tell.
        if self.messages.send(message).is_ok() {
            let _ = self.wake.write(1);
        }
    }
}
