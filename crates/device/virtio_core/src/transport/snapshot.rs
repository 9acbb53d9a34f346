//! Saving and restoring a virtio device with its transport.

use device_model::{Saved, Snapshot, SnapshotError};
use pci::{ConfigSpaceState, MsixState};
use serde::{Deserialize, Serialize};

use super::negotiation::Negotiation;
use super::queue_slot::{QueueSetup, QueueSlot};
use super::{Interrupts, VirtioPci};

/// Saved transport and device.
#[derive(Debug, Serialize, Deserialize)]
pub struct VirtioPciState {
    config: ConfigSpaceState,
    msix: MsixState,
    negotiation: Negotiation,
    interrupts: InterruptState,
    queues: Vec<QueueSetup>,
    device: Option<Vec<u8>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct InterruptState {
    config_vector: u16,
    queue_vectors: Vec<u16>,
    isr: u8,
    generation: u8,
    needs_reset: bool,
}

impl InterruptState {
    fn save(interrupts: &Interrupts, queues: usize) -> InterruptState {
        InterruptState {
            config_vector: interrupts.config_vector(),
            queue_vectors: (0..queues).map(|index| interrupts.queue_vector(index)).collect(),
            isr: interrupts.isr(),
            generation: interrupts.generation(),
            needs_reset: interrupts.status() != 0,
        }
    }

    fn restore(&self, interrupts: &Interrupts) {
        let InterruptState { config_vector, queue_vectors, isr, generation, needs_reset } = self;
        interrupts.set_config_vector(*config_vector);
        for (index, vector) in queue_vectors.iter().enumerate() {
            interrupts.set_queue_vector(index, *vector);
        }
        interrupts.restore(*isr, *generation, *needs_reset);
    }
}

impl Snapshot for VirtioPci {
    const VERSION: u32 = 1;
    type State = VirtioPciState;

    fn save(&self) -> Saved<VirtioPciState> {
        let Self {
            id: _,
            device,
            memory: _,
            config,
            config_window: _,
            msix,
            interrupts,
            doorbells: _,
            negotiation,
            queues,
            paused,
            machine: _,
        } = self;
        if !paused {
            return Saved::Refused("a virtio device is saved while paused only");
        }
        let device = match device.save_bytes() {
            Ok(bytes) => bytes,
            Err(SnapshotError::Refused(reason)) => return Saved::Refused(reason),
            Err(_) => return Saved::Refused("the device's state cannot be encoded"),
        };
        Saved::State(VirtioPciState {
            config: config.save(),
            msix: msix.save(),
            negotiation: negotiation.clone(),
            interrupts: InterruptState::save(interrupts, queues.len()),
            queues: queues.iter().map(|slot| slot.setup().clone()).collect(),
            device,
        })
    }

    /// Leaves the device paused: queues start with `resume`, doorbells once the root has mapped the region.
    fn restore(&mut self, state: VirtioPciState) -> Result<(), SnapshotError> {
        let VirtioPciState { config, msix, negotiation, interrupts, queues, device } = state;
        if !negotiation.is_reachable(self.offered()) {
            return Err(SnapshotError::Invalid("no driver can have negotiated this"));
        }
        if queues.len() != self.queues.len() || interrupts.queue_vectors.len() != self.queues.len() {
            return Err(SnapshotError::Invalid("wrong number of virtqueues"));
        }
        if self.queues.iter().zip(&queues).any(|(slot, setup)| !slot.accepts(setup)) {
            return Err(SnapshotError::Invalid("virtqueue with an impossible size"));
        }
        self.paused = true;
        self.reset_driver();
        self.config.restore(&config)?;
        self.msix.restore(&msix, &self.config)?;
        self.device.restore_saved(device.as_deref())?;
        self.negotiation = negotiation;
        interrupts.restore(&self.interrupts);
        self.queues.iter_mut().zip(queues).for_each(|(slot, setup): (&mut QueueSlot, _)| slot.restore(setup));
        Ok(())
    }
}
