//! How tables of decoded and translated code find a key: a guest-physical address, and what else code depends on.

use std::hash::{BuildHasher, Hasher};

/// Spreads guest-physical addresses, which come from no stranger: the standard hash costs more than a decoded block
/// saves.
#[derive(Clone, Copy, Default)]
pub struct KeyHasher(u64);

impl BuildHasher for KeyHasher {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(0)
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 << 8 | u64::from(*byte)));
    }

    fn write_u64(&mut self, key: u64) {
        // Fibonacci hashing, folded so that both ends of the word are spread.
        let product = u128::from(key) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}
