//! The modern PCI transport (4.1): negotiation, status and rings of any [`VirtioDevice`] behind one PCI
//! function.
//!
//! ```text
//!        ┌───────────────────────── write 0: queues stopped, device reset ──────────────────────────┐
//!        ▼                                                                                          │
//!      Reset ──ACKNOWLEDGE, DRIVER──► Negotiating ──FEATURES_OK──► Set up ──DRIVER_OK──► Serving ───┤
//!                                       ▲      │                 (rings placed,        (queues run) │
//!                                       └──────┘                  queues enabled)          │        │
//!                              bits not offered, or no                                     │        │
//!                              VERSION_1: bit stays 0                    broken ring, failed start  │
//!                                                                                          ▼        │
//!                                                                   Serving + DEVICE_NEEDS_RESET ───┘
//! ```
//!
//! [`Negotiation`](negotiation::Negotiation) decides, [`VirtioPci`] acts. Pausing stops the queues in
//! whatever state the machine is and remembers where they stood; resuming starts them again.

mod capabilities;
mod common_config;
mod doorbells;
mod interrupts;
mod negotiation;
mod queue_slot;
mod snapshot;
pub mod spec;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use device_model::{
    BarRegion, Consequence, Device, Doorbells, Figures, HostFailure, MsiController, PciFunction, PowerSink,
    read_register, write_register,
};
use guest_memory::GuestMemory;
use pci::{ConfigSpace, Msix};
use tracing::debug;

use crate::{
    ConfigChange, StartError, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1, VirtioDevice,
};
use capabilities::{
    BAR, COMMON, ConfigWindow, DEVICE_CONFIG, ISR, MAX_QUEUES, MSIX_PLACEMENT, NOTIFY, REGION,
};
use doorbells::NotifyDoorbells;
use interrupts::Interrupts;
use negotiation::{Negotiation, Step};
use queue_slot::QueueSlot;

pub use snapshot::VirtioPciState;

/// Features of the rings and the transport, offered for every device.
const TRANSPORT_FEATURES: u64 = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;

/// A virtio device as a PCI function.
///
/// Lock order: the machine's lock around this type, then whatever the device takes. Queue workers never take
/// the former: they reach the guest through [`Interrupts`], which is atomics and the vectors' own locks, so
/// stopping a worker with the lock held cannot deadlock.
pub struct VirtioPci {
    id: String,
    device: Box<dyn VirtioDevice>,
    memory: GuestMemory,
    config: ConfigSpace,
    config_window: ConfigWindow,
    msix: Msix,
    interrupts: Arc<Interrupts>,
    doorbells: NotifyDoorbells,
    negotiation: Negotiation,
    queues: Vec<QueueSlot>,
    paused: bool,
    /// Told of queues that the host has nothing to serve by.
    machine: Option<Arc<dyn PowerSink>>,
}

impl VirtioPci {
    /// Puts `device` behind a PCI function named `id`. Fails when the host is out of event descriptors or
    /// interrupt vectors, or when the device asks for queues that the specification does not allow.
    pub fn new(
        id: impl Into<String>,
        mut device: Box<dyn VirtioDevice>,
        memory: GuestMemory,
        msi: &dyn MsiController,
        doorbells: Arc<dyn Doorbells>,
    ) -> io::Result<VirtioPci> {
        let sizes = device.queue_sizes();
        if sizes.len() > usize::from(MAX_QUEUES) || sizes.iter().any(|size| !size.is_power_of_two()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "virtqueues with impossible sizes"));
        }
        let (mut config, config_window) = capabilities::config_space(device.device_type());
        let vectors = sizes.len() as u16 + 1;
        let msix = Msix::new(&mut config, MSIX_PLACEMENT, vectors, msi)?;
        let interrupts = Arc::new(Interrupts::new(msix.vectors(), sizes.len()));
        device.connect_config(ConfigChange::new(interrupts.clone()));
        let queues = sizes.into_iter().map(QueueSlot::new).collect::<io::Result<Vec<_>>>()?;
        Ok(VirtioPci {
            id: id.into(),
            device,
            memory,
            config,
            config_window,
            msix,
            interrupts,
            doorbells: NotifyDoorbells::new(doorbells),
            negotiation: Negotiation::default(),
            queues,
            paused: false,
            machine: None,
        })
    }

    /// The same function, whose failures for want of the host's threads or descriptors end the machine: its guest would
    /// wait for ever.
    pub fn part_of(mut self, machine: Arc<dyn PowerSink>) -> VirtioPci {
        self.machine = Some(machine);
        self
    }

    /// Counters of completed chains, one a queue, that live as long as anybody holds them.
    pub fn served(&self) -> Vec<Arc<AtomicU64>> {
        self.queues.iter().map(QueueSlot::served).collect()
    }

    /// The device behind the transport.
    pub fn device(&self) -> &dyn VirtioDevice {
        &*self.device
    }

    fn offered(&self) -> u64 {
        self.device.features() | TRANSPORT_FEATURES
    }

    fn write_status(&mut self, value: u8) {
        match self.negotiation.write_status(value, self.offered()) {
            Step::Stay => {}
            Step::Reset => self.reset_driver(),
            Step::Start => self.start_queues(),
        }
    }

    /// Starts whatever is enabled and does not run. A queue that cannot be started leaves the others running
    /// and the device in need of a reset, like a ring that breaks later.
    fn start_queues(&mut self) {
        if self.paused || !self.negotiation.is_driver_ok() {
            return;
        }
        for index in 0..self.queues.len() as u16 {
            if let Err(error) = self.start_queue(index) {
                debug!(device = %self.id, queue = index, %error, "queue not started");
                self.interrupts.signal_needs_reset();
                self.tell_machine(index, &error);
            }
        }
    }

    fn tell_machine(&self, queue: u16, error: &StartError) {
        let (what, source) = match error {
            // The guest's own mistake.
            StartError::Protocol(_) => return,
            StartError::Worker(source) => ("cannot be started", source),
            StartError::Backend(source) => ("has no way to what is behind it", source),
        };
        if let Some(machine) = &self.machine {
            let advice = host_sys::limits::advice(source);
            machine.host_failure(HostFailure {
                device: self.id.clone(),
                what: format!("queue {queue} {what}: {source}{advice}"),
                consequence: Consequence::Fatal,
            });
        }
    }

    fn start_queue(&mut self, index: u16) -> Result<(), StartError> {
        let features = self.negotiation.driver_features();
        let slot = &mut self.queues[usize::from(index)];
        if !slot.is_startable() {
            return Ok(());
        }
        let interrupt = self.interrupts.queue(index);
        let resources = slot.resources(features, self.memory.clone(), interrupt)?;
        self.device.start_queue(index, resources, features)?;
        slot.started();
        Ok(())
    }

    fn stop_queues(&mut self) {
        for (index, slot) in self.queues.iter_mut().enumerate().filter(|(_, slot)| slot.is_running()) {
            let state = self.device.stop_queue(index as u16);
            slot.stopped(state);
            if state.is_none() {
                debug!(device = %self.id, queue = index, "the queue's worker was lost");
                self.interrupts.signal_needs_reset();
            }
        }
    }

    /// The driver's reset (2.4): everything that the driver did through this transport is forgotten.
    fn reset_driver(&mut self) {
        self.stop_queues();
        self.device.reset();
        self.negotiation = Negotiation::default();
        self.queues.iter_mut().for_each(QueueSlot::reset);
        self.interrupts.reset();
    }
}

impl PciFunction for VirtioPci {
    fn bars(&self) -> Vec<BarRegion> {
        vec![REGION]
    }

    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        match self.config_window.access(offset, &self.config) {
            Some(access) => {
                let mut bytes = [0; 4];
                if access.len > 0 {
                    self.bar_read(BAR, access.offset, &mut bytes[..access.len]);
                }
                read_register(&bytes, access.first_byte, data);
            }
            None => self.config.read(offset, data),
        }
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        match self.config_window.access(offset, &self.config) {
            Some(access) if access.first_byte == 0 && (1..=data.len()).contains(&access.len) => {
                self.bar_write(BAR, access.offset, &data[..access.len]);
            }
            Some(_) => {}
            None => {
                self.config.write(offset, data);
                self.msix.follow_control(&self.config);
            }
        }
    }

    fn bar_address(&self, index: u8) -> Option<u64> {
        self.config.bar_address(index)
    }

    fn bar_moved(&mut self, index: u8, address: Option<u64>) {
        if index == BAR {
            let base = address.and_then(|address| address.checked_add(NOTIFY.start));
            self.doorbells.place(base, self.queues.iter().map(QueueSlot::kick), &self.id);
        }
    }

    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if index != BAR || self.msix.read(offset, data) {
            return;
        }
        if COMMON.contains(&offset) {
            self.read_common(offset - COMMON.start, data);
        } else if offset == ISR.start {
            write_register(data, 0, &[self.interrupts.take_isr()]);
        } else if DEVICE_CONFIG.contains(&offset) {
            self.device.read_config((offset - DEVICE_CONFIG.start) as usize, data);
        }
    }

    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8]) {
        if index != BAR || self.msix.write(offset, data) {
            return;
        }
        if NOTIFY.contains(&offset) {
            let queue = (offset - NOTIFY.start) / u64::from(spec::NOTIFY_MULTIPLIER);
            if let Some(slot) = self.queues.get(queue as usize) {
                // A full counter means that the worker is woken anyway.
                let _ = slot.kick().write(1);
            }
        } else if COMMON.contains(&offset) {
            self.write_common(offset - COMMON.start, data);
        } else if DEVICE_CONFIG.contains(&offset) {
            self.device.write_config((offset - DEVICE_CONFIG.start) as usize, data);
        }
    }
}

impl Device for VirtioPci {
    fn id(&self) -> &str {
        &self.id
    }

    fn reset(&mut self) {
        self.reset_driver();
        self.msix.reset();
        self.config.reset();
        self.bar_moved(BAR, None);
    }

    fn pause(&mut self) {
        self.paused = true;
        self.stop_queues();
    }

    /// What is paused stays as it is: then the driver is told when it goes on.
    fn follow_backend(&mut self) {
        if !self.paused {
            self.device.follow_backend();
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        self.device.follow_backend();
        self.start_queues();
    }

    fn figures(&self) -> Figures {
        self.device.figures()
    }
}

impl Drop for VirtioPci {
    fn drop(&mut self) {
        self.stop_queues();
        self.bar_moved(BAR, None);
    }
}
