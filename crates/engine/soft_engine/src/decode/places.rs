//! Where in guest RAM the code is that something was made of: what a write to it makes void.

use std::collections::HashMap;

use super::keys::KeyHasher;
use crate::memory::code_map;

/// A run of code bytes inside one page, and the key of what was made of it.
pub struct Place {
    pub key: u64,
    /// Offset of the first byte in the page, and number of bytes.
    pub start: u16,
    pub len: u16,
}

/// Places by page.
#[derive(Default)]
pub struct Places(HashMap<u64, Vec<Place>, KeyHasher>);

impl Places {
    /// Notes a place in the page at `gpa`.
    pub fn add(&mut self, gpa: u64, place: Place) {
        self.0.entry(gpa).or_default().push(place);
    }

    /// Takes out the places in the page at `gpa` that have bytes in the grains `bits`.
    pub fn take(&mut self, gpa: u64, bits: u64) -> Vec<Place> {
        let Some(places) = self.0.get_mut(&gpa) else { return Vec::new() };
        let is_hit =
            |place: &mut Place| code_map::grains_of(place.start.into(), place.len.into()) & bits != 0;
        let hit = places.extract_if(.., is_hit).collect();
        if places.is_empty() {
            self.0.remove(&gpa);
        }
        hit
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_takes_what_it_hits() {
        let mut places = Places::default();
        for (key, start, len) in [(1, 0, 64), (2, 60, 8), (3, 128, 1)] {
            places.add(0x1000, Place { key, start, len });
        }
        let taken =
            |places: &mut Places, bits| places.take(0x1000, bits).iter().map(|p| p.key).collect::<Vec<_>>();
        assert_eq!(taken(&mut places, 0b10), [2]);
        assert!(taken(&mut places, 0b1000).is_empty());
        assert_eq!(taken(&mut places, u64::MAX), [1, 3]);
        assert!(places.0.is_empty() && places.take(0x2000, u64::MAX).is_empty());
    }
}
