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
    #[error("its state has version {found}, and this program reads up to version {expected}")]
    Version {
        /// Version in the saved bytes.
        found: u32,
        /// Version that this build writes and reads.
        expected: u32,
    },
    /// A state is missing, or there is one of a device that has none.
    #[error("{0}")]
    Absent(&'static str),
    /// The bytes are not a state of this device.
    #[error("its state cannot be read")]
    Codec,
    /// The state is well-formed but no device could be in it.
    #[error("no device can be in its state: {0}")]
    Invalid(&'static str),
}

/// A device whose state can be carried to another process.
///
/// `save` destructures `self` exhaustively, so that a new field does not compile until it is saved or
/// named as not part of the state.
pub trait Snapshot {
    /// Version of [`State`](Snapshot::State); raised when its meaning changes.
    const VERSION: u32;

    /// The state as written under [`VERSION`](Snapshot::VERSION); apart from the device's runtime type. Once a program that
    /// writes it is in other hands, it does not change any more: a changed state is another type, and another version.
    type State: Serialize + DeserializeOwned;

    /// The state of a paused device.
    fn save(&self) -> Saved<Self::State>;

    /// Brings a freshly built, paused device into `state`, which may come from a hostile file.
    fn restore(&mut self, state: Self::State) -> Result<(), SnapshotError>;

    /// Reads a state that was written under an older version, each by a type of its own, as one of today; `None` for a
    /// version that this build does not read.
    fn read_older(_version: u32, _bytes: &[u8]) -> Option<Result<Self::State, SnapshotError>> {
        None
    }
}

/// Decodes a state that takes up all of `bytes`.
pub fn decode_state<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, SnapshotError> {
    match postcard::take_from_bytes(bytes)? {
        (state, []) => Ok(state),
        _ => Err(SnapshotError::Invalid("there are bytes behind its end")),
    }
}

/// [`Snapshot`] with the state as bytes, for keeping devices of several kinds in one list.
/// Implemented for every [`Snapshot`].
pub trait AnySnapshot {
    /// Version and state, encoded. `None` for a stateless device.
    fn save_bytes(&self) -> Result<Option<Vec<u8>>, SnapshotError>;

    /// Undoes [`save_bytes`](AnySnapshot::save_bytes) that yielded a state.
    fn restore_bytes(&mut self, bytes: &[u8]) -> Result<(), SnapshotError>;

    /// Undoes [`save_bytes`](AnySnapshot::save_bytes), whatever it yielded: a device that has state takes no less, and one
    /// that has none no more.
    fn restore_saved(&mut self, saved: Option<&[u8]>) -> Result<(), SnapshotError>;
}

impl From<postcard::Error> for SnapshotError {
    /// Where in the bytes it got stuck says nothing to anybody.
    fn from(_: postcard::Error) -> SnapshotError {
        SnapshotError::Codec
    }
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
        if found == T::VERSION {
            return self.restore(decode_state(rest)?);
        }
        let older = if found < T::VERSION { T::read_older(found, rest) } else { None };
        self.restore(older.ok_or(SnapshotError::Version { found, expected: T::VERSION })??)
    }

    fn restore_saved(&mut self, saved: Option<&[u8]>) -> Result<(), SnapshotError> {
        match (saved, self.save()) {
            (None, Saved::Stateless) => Ok(()),
            (None, _) => Err(SnapshotError::Absent("its state is missing")),
            (Some(_), Saved::Stateless) => {
                Err(SnapshotError::Absent("there is a state of it, and it has none"))
            }
            (Some(bytes), _) => self.restore_bytes(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Empty;

    impl Snapshot for Empty {
        const VERSION: u32 = 1;
        type State = ();

        fn save(&self) -> Saved<()> {
            Saved::Stateless
        }

        fn restore(&mut self, (): ()) -> Result<(), SnapshotError> {
            Ok(())
        }
    }

    #[test]
    fn what_has_state_takes_no_less_and_what_has_none_no_more() {
        let mut counter = Counter(7);
        assert!(matches!(counter.restore_saved(None), Err(SnapshotError::Absent("its state is missing"))));
        counter.restore_saved(Some(&[3, 5])).unwrap();
        assert_eq!(counter.0, 5);
        Empty.restore_saved(None).unwrap();
        assert!(matches!(Empty.restore_saved(Some(&[1])), Err(SnapshotError::Absent(_))));
        assert_eq!(Empty.save_bytes().unwrap(), None);
    }

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

        /// Version 2 counted in dozens.
        fn read_older(version: u32, bytes: &[u8]) -> Option<Result<u32, SnapshotError>> {
            let dozens = || decode_state::<u8>(bytes).map(|dozens| u32::from(dozens) * 12);
            (version == 2).then(dozens)
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
        assert!(matches!(other.restore_bytes(&[3]), Err(SnapshotError::Codec)));
        other.restore_bytes(&[2, 3]).unwrap();
        assert_eq!(other.0, 36);
        assert!(matches!(other.restore_bytes(&[2, 3, 0]), Err(SnapshotError::Invalid(_))));
        assert!(matches!(
            other.restore_bytes(&[1, 3]),
            Err(SnapshotError::Version { found: 1, expected: 3 })
        ));
        assert!(matches!(other.restore_bytes(&[3, 3, 0]), Err(SnapshotError::Invalid(_))));
        assert_eq!(other.0, 36, "what is refused changes nothing");
        assert!(matches!(Counter(99).save_bytes(), Err(SnapshotError::Refused("busy"))));
    }
}
