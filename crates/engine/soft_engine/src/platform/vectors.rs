//! Sets of interrupt vectors, in the layout of the local APIC's 256-bit registers (SDM vol. 3, 11.8.4).

use std::sync::atomic::{AtomicU32, Ordering};

/// Registers of 32 bits that make up one set.
pub(crate) const WORDS: usize = 8;

/// A set that one thread owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vectors(pub(crate) [u32; WORDS]);

impl Vectors {
    pub(crate) fn insert(&mut self, vector: u8) {
        self.0[word(vector)] |= bit(vector);
    }

    pub(crate) fn remove(&mut self, vector: u8) {
        self.0[word(vector)] &= !bit(vector);
    }

    /// The vector with the highest priority.
    pub(crate) fn highest(&self) -> Option<u8> {
        highest(|index| self.0[index])
    }
}

/// A set that any thread may change.
#[derive(Debug, Default)]
pub(crate) struct SharedVectors([AtomicU32; WORDS]);

impl SharedVectors {
    /// True if `vector` was not in the set before.
    pub(crate) fn insert(&self, vector: u8) -> bool {
        self.0[word(vector)].fetch_or(bit(vector), Ordering::SeqCst) & bit(vector) == 0
    }

    pub(crate) fn remove(&self, vector: u8) {
        self.0[word(vector)].fetch_and(!bit(vector), Ordering::SeqCst);
    }

    pub(crate) fn contains(&self, vector: u8) -> bool {
        self.0[word(vector)].load(Ordering::Acquire) & bit(vector) != 0
    }

    /// Puts `vector` in or takes it out; writes only where that changes something.
    pub(crate) fn set(&self, vector: u8, present: bool) {
        match (self.contains(vector), present) {
            (false, true) => {
                self.insert(vector);
            }
            (true, false) => self.remove(vector),
            _ => {}
        }
    }

    /// The vector with the highest priority.
    pub(crate) fn highest(&self) -> Option<u8> {
        highest(|index| self.word(index))
    }

    /// Vectors `32 * index` to `32 * index + 31`; none beyond the last register.
    pub(crate) fn word(&self, index: usize) -> u32 {
        self.0.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(crate) fn store(&self, vectors: Vectors) {
        for (word, value) in self.0.iter().zip(vectors.0) {
            word.store(value, Ordering::SeqCst);
        }
    }
}

fn word(vector: u8) -> usize {
    usize::from(vector / 32)
}

fn bit(vector: u8) -> u32 {
    1 << (vector % 32)
}

fn highest(word: impl Fn(usize) -> u32) -> Option<u8> {
    (0..WORDS).rev().find_map(|index| Some((index as u32 * 32 + word(index).checked_ilog2()?) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_vector_is_found_in_every_register() {
        let mut set = Vectors::default();
        let shared = SharedVectors::default();
        assert_eq!((set.highest(), shared.highest()), (None, None));
        for vector in [0, 31, 32, 100, 254, 255] {
            set.insert(vector);
            assert!(shared.insert(vector));
            assert!(!shared.insert(vector));
            assert_eq!((set.highest(), shared.highest()), (Some(vector), Some(vector)));
        }
        set.remove(255);
        shared.remove(255);
        assert_eq!((set.highest(), shared.highest()), (Some(254), Some(254)));
        assert_eq!((shared.word(3), shared.word(9)), (1 << 4, 0));
    }

    #[test]
    fn set_puts_in_and_takes_out() {
        let shared = SharedVectors::default();
        shared.set(40, true);
        shared.set(40, true);
        assert!(shared.contains(40));
        shared.set(40, false);
        assert!(!shared.contains(40));
    }
}
