//! The console as the transport sees it.

use std::io;
use std::sync::Arc;

use char_backend::{CharBackend, WindowSize};
use device_model::{Saved, Snapshot, SnapshotError, read_register};
use virtio_core::{ChainServer, DeviceType, QueueResources, QueueState, StartError, VirtioDevice, Worker};

use crate::receive::Receive;
use crate::spec::{F_SIZE, RECEIVE_QUEUE, TRANSMIT_QUEUE};
use crate::transmit::Transmit;

/// Descriptors of each ring.
const QUEUE_SIZE: u16 = 128;

/// A console with one port.
pub struct VirtioConsole {
    backend: Arc<dyn CharBackend>,
    receive: Option<Worker<Receive>>,
    transmit: Option<Worker<ChainServer<Transmit>>>,
}

impl VirtioConsole {
    /// A console on `backend`, as large as the terminal there at each look.
    pub fn new(backend: Arc<dyn CharBackend>) -> VirtioConsole {
        VirtioConsole { backend, receive: None, transmit: None }
    }
}

impl VirtioDevice for VirtioConsole {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 2]
    }

    fn features(&self) -> u64 {
        if self.backend.window_size().is_some() { F_SIZE } else { 0 }
    }

    /// `struct virtio_console_config` (5.3.4): columns, rows, number of ports, emergency write.
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        let WindowSize { columns, rows } =
            self.backend.window_size().unwrap_or(WindowSize { columns: 0, rows: 0 });
        let mut config = [0; 12];
        config[..2].copy_from_slice(&columns.to_le_bytes());
        config[2..4].copy_from_slice(&rows.to_le_bytes());
        config[4..8].copy_from_slice(&1u32.to_le_bytes());
        read_register(&config, offset, data);
    }

    /// Nothing is writable: emergency write is not offered.
    fn write_config(&mut self, _offset: usize, _data: &[u8]) {}

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        _features: u64,
    ) -> Result<(), StartError> {
        let backend = Arc::clone(&self.backend);
        let started: io::Result<()> = match index {
            RECEIVE_QUEUE => Receive::new(resources, backend)
                .and_then(|(kick, handler)| Worker::start("console-rx", kick, handler))
                .map(|worker| self.receive = Some(worker)),
            TRANSMIT_QUEUE => ChainServer::new(resources, Transmit { backend })
                .and_then(|(kick, handler)| Worker::start("console-tx", kick, handler))
                .map(|worker| self.transmit = Some(worker)),
            _ => return Err(StartError::Protocol("the console has two queues")),
        };
        started.map_err(StartError::Worker)
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let queue = match index {
            RECEIVE_QUEUE => self.receive.take()?.stop()?.queue,
            TRANSMIT_QUEUE => return Some(self.transmit.take()?.stop()?.queue().state()),
            _ => return None,
        };
        Some(queue.state())
    }

    fn reset(&mut self) {}
}

impl Snapshot for VirtioConsole {
    const VERSION: u32 = 1;
    type State = ();

    /// The driver changes nothing besides rings and negotiation.
    fn save(&self) -> Saved<()> {
        let Self { backend: _, receive: _, transmit: _ } = self;
        Saved::Stateless
    }

    fn restore(&mut self, _state: ()) -> Result<(), SnapshotError> {
        Ok(())
    }
}
