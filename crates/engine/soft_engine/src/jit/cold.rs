//! How often code was executed that is not translated yet. Most of a guest's code runs once or twice, and a guest may have
//! as many such places as it has bytes of RAM: so many are remembered at most, and those that ran once are forgotten first.

use std::collections::HashMap;

use crate::decode::keys::KeyHasher;

/// Places that are remembered at most: 4.5 MiB of the host's memory.
pub const PLACES_MAX: usize = 224 << 10;

/// Places by their keys, and how often each was asked for.
#[derive(Default)]
pub struct Places {
    asked: HashMap<u64, u16, KeyHasher>,
}

impl Places {
    /// Notes that `key` was asked for. True if that was not more than `runs` times; else it is forgotten.
    pub fn is_below(&mut self, key: u64, runs: u16) -> bool {
        if self.asked.len() >= PLACES_MAX && !self.asked.contains_key(&key) {
            self.make_room();
        }
        let asked = self.asked.entry(key).or_default();
        let is_below = *asked < runs;
        if is_below {
            *asked += 1;
        } else {
            self.asked.remove(&key);
        }
        is_below
    }

    /// Number of places.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.asked.clear();
    }

    fn make_room(&mut self) {
        self.asked.retain(|_, asked| *asked > 1);
        if self.asked.len() > PLACES_MAX / 2 {
            self.asked.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: u16 = 4;

    #[test]
    fn a_place_is_cold_so_many_times() {
        for runs in [0, 1, RUNS] {
            let mut places = Places::default();
            let below: Vec<bool> = (0..=runs).map(|_| places.is_below(0x1000, runs)).collect();
            assert_eq!(below.iter().filter(|below| **below).count(), usize::from(runs));
            assert!(!below[usize::from(runs)] && places.len() == 0, "it is forgotten, being translated now");
        }
    }

    #[test]
    fn however_many_places_there_are_few_are_remembered() {
        let mut places = Places::default();
        for key in 0..4 * PLACES_MAX as u64 {
            assert!(places.is_below(key, RUNS));
            assert!(places.len() <= PLACES_MAX);
        }
        // Of places that all ran twice, none is preferred.
        for key in 0..4 * PLACES_MAX as u64 {
            places.is_below(key, RUNS);
            places.is_below(key, RUNS);
            assert!(places.len() <= PLACES_MAX);
        }
    }

    #[test]
    fn what_runs_again_is_remembered_among_what_does_not() {
        let (mut places, hot) = (Places::default(), u64::MAX);
        let mut asked = 0;
        for key in 0..8 * PLACES_MAX as u64 {
            places.is_below(key, RUNS);
            if key.is_multiple_of(PLACES_MAX as u64 / 4) {
                asked += 1;
                if !places.is_below(hot, RUNS) {
                    break;
                }
            }
        }
        assert_eq!(asked, RUNS + 1);
    }
}
