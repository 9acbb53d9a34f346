//! Doorbells: a guest's store to an address becomes an event, without a detour over the bus.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use device_model::{Doorbells, EventFd};

/// The addresses that are doorbells. Read by every store to a device, written when a guest sets up a device.
#[derive(Debug, Default)]
pub(crate) struct DoorbellMap {
    /// Number of entries of `bells`: without any, a store takes no lock.
    count: AtomicUsize,
    bells: RwLock<BTreeMap<u64, Bell>>,
}

#[derive(Debug)]
struct Bell {
    /// The descriptor that was attached, by which it is known at [`Doorbells::detach`].
    attached: RawFd,
    /// A descriptor of our own for the same event.
    event: EventFd,
}

impl DoorbellMap {
    /// Signals the event at `address`. False if there is none: then the store goes to the bus.
    pub(crate) fn ring(&self, address: u64) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let bells = self.bells.read().unwrap_or_else(PoisonError::into_inner);
        let Some(bell) = bells.get(&address) else { return false };
        // Fails only when the counter is at its end, and then the device has been told.
        let _ = bell.event.write(1);
        true
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<u64, Bell>) -> io::Result<T>) -> io::Result<T> {
        let mut bells = self.bells.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut bells);
        self.count.store(bells.len(), Ordering::Release);
        result
    }
}

impl Doorbells for DoorbellMap {
    /// One event an address: a second is `AlreadyExists`, as with KVM.
    fn attach(&self, address: u64, event: &EventFd) -> io::Result<bool> {
        let bell = Bell { attached: event.as_raw_fd(), event: event.try_clone()? };
        self.change(|bells| {
            if bells.contains_key(&address) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            bells.insert(address, bell);
            Ok(true)
        })
    }

    /// `NotFound` for an event that is not attached at `address`.
    fn detach(&self, address: u64, event: &EventFd) -> io::Result<()> {
        self.change(|bells| {
            bells
                .get(&address)
                .filter(|bell| bell.attached == event.as_raw_fd())
                .ok_or(io::ErrorKind::NotFound)?;
            bells.remove(&address);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONBLOCK: i32 = 0o4000;

    fn event() -> EventFd {
        EventFd::new(NONBLOCK).unwrap()
    }

    #[test]
    fn a_store_rings_only_at_its_address() {
        let (map, first, second) = (DoorbellMap::default(), event(), event());
        assert!(!map.ring(0x1000));
        assert!(map.attach(0x1000, &first).unwrap());
        assert!(map.attach(0x1004, &second).unwrap());
        assert!(map.ring(0x1000) && map.ring(0x1000) && !map.ring(0x1008));
        assert_eq!(first.read().unwrap(), 2);
        assert!(second.read().is_err());
    }

    #[test]
    fn detaching_needs_the_same_event() {
        let (map, first, second) = (DoorbellMap::default(), event(), event());
        map.attach(0x1000, &first).unwrap();
        assert_eq!(map.attach(0x1000, &second).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(map.detach(0x1000, &second).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(map.detach(0x2000, &first).unwrap_err().kind(), io::ErrorKind::NotFound);
        map.detach(0x1000, &first).unwrap();
        assert!(!map.ring(0x1000));
        map.attach(0x1000, &second).unwrap();
        assert!(map.ring(0x1000));
    }
}
