//! The standard library's hash table: SipHash and probing by groups.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::io;

use crate::measure::Work;
use crate::random::Random;

const KEYS: usize = 1024;
/// Insertions, twice as many look-ups, half as many removals.
const OPERATIONS: usize = KEYS + 2 * KEYS + KEYS / 2;

/// Inserts, finds, misses and removes.
pub fn hash_table() -> io::Result<Work> {
    let mut random = Random::new(10);
    let keys: Vec<u64> = (0..KEYS).map(|_| random.next()).collect();
    // The hasher's keys are fixed, so that every machine does the same.
    let mut table: HashMap<u64, u64, BuildHasherDefault<DefaultHasher>> = HashMap::default();
    Work::compute(OPERATIONS as u64, move || {
        table.clear();
        for key in black_box(&keys) {
            table.insert(*key, key.wrapping_mul(3));
        }
        let mut sum = 0u64;
        for key in &keys {
            sum = sum.rotate_left(1) ^ table.get(key).copied().unwrap_or(1);
            sum ^= table.get(&(key ^ 1)).copied().unwrap_or(2);
        }
        for key in keys.iter().step_by(2) {
            sum ^= table.remove(key).unwrap_or(3);
        }
        sum ^ table.len() as u64
    })
}
