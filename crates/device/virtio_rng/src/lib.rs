//! Entropy device (VIRTIO 1.2, 5.4): fills the guest's buffers from the host kernel's random number generator.
//!
//! One queue, no features, no configuration space, and no state that the driver could change.

mod entropy;

use device_model::{Saved, Snapshot, SnapshotError};
use virtio_core::{ChainServer, DeviceType, QueueResources, QueueState, StartError, VirtioDevice, Worker};

use entropy::Entropy;

/// Descriptors of the queue. Linux keeps one buffer in flight; others a few.
const QUEUE_SIZE: u16 = 64;

/// The entropy device.
#[derive(Default)]
pub struct VirtioRng {
    worker: Option<Worker<ChainServer<Entropy>>>,
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
        let (kick, server) = ChainServer::new(resources, Entropy).map_err(StartError::Worker)?;
        self.worker = Some(Worker::start("virtio-rng", kick, server).map_err(StartError::Worker)?);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let worker = if index == 0 { self.worker.take() } else { None };
        worker?.stop().map(|server| server.queue().state())
    }

    fn reset(&mut self) {}
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
