//! Saving and restoring devices.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What saving a device yields. There is no default: each device says one of these in so many words.
#[derive(Debug, PartialEq, Eq)]
pub enum Saved<S> {
    /// The state, to be given back to `restore`.
    State(S),
    /// There is nothing to save: power-on state is the only state.
    Stateless,
    /// The device cannot be saved now; the reason is shown to the user.
    Refused(&'static str),
}

/// Why state was not saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The device said [`Saved::Refused`].
    #[error("{0}")]
    Refused(&'static str),
    /// The state was written by another version of the device.
    #[error("state has version {found}, this build reads version {expected}")]
    Version {
        /// Version in the saved bytes.
        found: u32,
        /// Version that this build writes and reads.
        expected: u32,
    },
    /// The bytes are not a state of this device.
    #[error("state cannot be decoded")]
    Codec(#[from] postcard::Error),
    /// The state is well-formed but no device could be in it.
    #[error("state is invalid: {0}")]
    Invalid(&'static str),
}

/// A device whose state can be carried to another process.
///
/// `save` destructures `self` exhaustively, so that a new field does not compile until it is saved or
/// named as not part of the state.
pub trait Snapshot {
    /// Version of [`State`](Snapshot::State); raised when its meaning changes.
    const VERSION: u32;

    /// The state as written; apart from the device's runtime type.
    type State: Serialize + DeserializeOwned;

    /// The state of a paused device.
    fn save(&self) -> Saved<Self::State>;

    /// Brings a freshly built, paused device into `state`, which may come from a hostile file.
    fn restore(&mut self, state: Self::State) -> Result<(), SnapshotError>;
}

/// [`Snapshot`] with the state as bytes, for keeping devices of several kinds in one list.
/// Implemented for every [`Snapshot`].
pub trait AnySnapshot {
    /// Version and state, encoded. `None` for a stateless device.
    fn save_bytes(&self) -> Result<Option<Vec<u8>>, SnapshotError>;

    /// Undoes [`save_bytes`](AnySnapshot::save_bytes).
    fn restore_bytes(&mut self, bytes: &[u8]) -> Result<(), SnapshotError>;
}

impl<T: Snapshot> AnySnapshot for T {
    fn save_bytes(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        match self.save() {
            Saved::State(state) => Ok(Some(postcard::to_allocvec(&(T::VERSION, state))?)),
            Saved::Stateless => Ok(None),
            Saved::Refused(reason) => Err(SnapshotError::Refused(reason)),
        }
    }

    fn restore_bytes(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let (found, rest) = postcard::take_from_bytes::<u32>(bytes)?;
        if found != T::VERSION {
            return Err(SnapshotError::Version { found, expected: T::VERSION });
        }
        self.restore(postcard::from_bytes(rest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(u32);

    impl Snapshot for Counter {
        const VERSION: u32 = 3;
        type State = u32;

        fn save(&self) -> Saved<u32> {
            let Counter(count) = self;
            if *count == 99 { Saved::Refused("busy") } else { Saved::State(*count) }
        }

        fn restore(&mut self, state: u32) -> Result<(), SnapshotError> {
            self.0 = state;
            Ok(())
        }
    }

    #[test]
    fn state_round_trips_and_foreign_bytes_are_refused() {
        let bytes = Counter(7).save_bytes().unwrap().unwrap();
        let mut other = Counter(0);
        other.restore_bytes(&bytes).unwrap();
        assert_eq!(other.0, 7);
        let foreign = postcard::to_allocvec(&(4u32, 1u32)).unwrap();
        assert!(matches!(
            other.restore_bytes(&foreign),
            Err(SnapshotError::Version { found: 4, expected: 3 })
        ));
        assert!(matches!(other.restore_bytes(&[3]), Err(SnapshotError::Codec(_))));
        assert!(matches!(Counter(99).save_bytes(), Err(SnapshotError::Refused("busy"))));
    }
}
