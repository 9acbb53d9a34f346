//! Doorbells of an engine that has them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use device_model::{Doorbells, EventFd, lock};

/// Remembers which event is attached where, and rings it.
#[derive(Default)]
pub struct RecordingDoorbells {
    attached: Mutex<BTreeMap<u64, EventFd>>,
}

impl RecordingDoorbells {
    /// Addresses with a doorbell, in ascending order.
    pub fn addresses(&self) -> Vec<u64> {
        lock(&self.attached).keys().copied().collect()
    }

    /// What a guest's write to `address` does: `false` when no doorbell is there.
    pub fn ring(&self, address: u64) -> bool {
        lock(&self.attached).get(&address).is_some_and(|event| event.write(1).is_ok())
    }
}

impl Doorbells for RecordingDoorbells {
    fn attach(&self, address: u64, event: &EventFd) -> io::Result<bool> {
        let mut attached = lock(&self.attached);
        if attached.contains_key(&address) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        attached.insert(address, event.try_clone()?);
        Ok(true)
    }

    fn detach(&self, address: u64, _event: &EventFd) -> io::Result<()> {
        lock(&self.attached).remove(&address).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
