//! Entropy device (VIRTIO 1.2, 5.4): fills the guest's buffers from the host kernel's random number generator.
//!
//! One queue, no features, no configuration space, and no state that the driver could change.

mod handler;

use device_model::{EventFd, Saved, Snapshot, SnapshotError};
use virtio_core::{DeviceType, QueueResources, QueueState, StartError, VirtioDevice, Worker};

use handler::EntropyHandler;

/// Descriptors of the queue. Linux keeps one buffer in flight; others a few.
const QUEUE_SIZE: u16 = 64;

/// The entropy device.
#[derive(Default)]
pub struct VirtioRng {
    worker: Option<Worker<EntropyHandler>>,
}

impl VirtioRng {
    /// A device without a driver.
    pub fn new() -> VirtioRng {
        VirtioRng::default()
    }
}

impl VirtioDevice for VirtioRng {
    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, _offset: usize, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: usize, _data: &[u8]) {}

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        _features: u64,
    ) -> Result<(), StartError> {
        if index != 0 || self.worker.is_some() {
            return Err(StartError::Protocol("the entropy device has one queue, started once"));
        }
        let QueueResources { queue, kick } = resources;
        let again = kick.try_clone().map_err(StartError::Worker)?;
        let handler = EntropyHandler::new(queue, again);
        self.worker = Some(start_worker(kick, handler)?);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let worker = if index == 0 { self.worker.take() } else { None };
        worker?.stop().map(|handler| handler.state())
    }

    fn reset(&mut self) {}
}

fn start_worker(kick: EventFd, handler: EntropyHandler) -> Result<Worker<EntropyHandler>, StartError> {
    Worker::start("virtio-rng", kick, handler).map_err(StartError::Worker)
}

impl Snapshot for VirtioRng {
    const VERSION: u32 = 1;
    type State = ();

    fn save(&self) -> Saved<()> {
        let Self { worker: _ } = self;
        Saved::Stateless
    }

    fn restore(&mut self, (): ()) -> Result<(), SnapshotError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
