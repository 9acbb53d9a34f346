//! Loads and stores: in order, out of order, and both at once.

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::measure::Work;
use crate::pages::Pages;
use crate::random::Random;

const SEQUENTIAL_WORDS: usize = 32 << 10;
const LINE_WORDS: usize = 8;
const UPDATES: usize = 16 << 10;
const COUNTERS: usize = 256;
const LOCKED: u64 = 4096;

/// Loads of 256 KiB in order.
pub fn read_sequential() -> io::Result<Work> {
    let mut random = Random::new(3);
    let words: Vec<u64> = (0..SEQUENTIAL_WORDS).map(|_| random.next()).collect();
    Work::compute(SEQUENTIAL_WORDS as u64, move || {
        // Each step needs the one before: no vector instruction does it.
        black_box(&words).iter().fold(0, |sum, word| (sum ^ word).wrapping_mul(5))
    })
}

/// Stores to 256 KiB in order.
pub fn write_sequential() -> io::Result<Work> {
    let mut words = vec![0u64; SEQUENTIAL_WORDS];
    Work::compute(SEQUENTIAL_WORDS as u64, move || {
        let mut value = black_box(1u64);
        for word in &mut *black_box(&mut words) {
            value = value.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            *word = value;
        }
        words[SEQUENTIAL_WORDS / 3] ^ words[SEQUENTIAL_WORDS - 1]
    })
}

/// A pointer chase through 32 KiB.
pub fn chase_32k() -> io::Result<Work> {
    chase(32 << 10, 8)
}

/// A pointer chase through 2 MiB.
pub fn chase_2m() -> io::Result<Work> {
    chase(2 << 20, 1)
}

/// A pointer chase through 32 MiB.
pub fn chase_32m() -> io::Result<Work> {
    chase(32 << 20, 1)
}

/// Each line of 64 bytes leads to another one, in one circle that nobody can foresee; so many times around.
fn chase(bytes: usize, laps: usize) -> io::Result<Work> {
    let lines = bytes / 8 / LINE_WORDS;
    let mut pages = Pages::new(bytes)?;
    let words = pages.words();
    for line in 0..lines {
        words[line * LINE_WORDS] = (line * LINE_WORDS) as u64;
    }
    // Sattolo: exchanging with an earlier one only makes a single circle.
    let mut random = Random::new(4);
    for line in (1..lines).rev() {
        words.swap(line * LINE_WORDS, random.below(line) * LINE_WORDS);
    }
    let steps = lines * laps;
    Work::compute(steps as u64, move || {
        let words = &*black_box(pages.words());
        // The last step comes back to the first line: its neighbours on the way count, too.
        let (mut at, mut sum) = (0u64, 0u64);
        for _ in 0..steps {
            at = words[at as usize];
            sum = sum.rotate_left(1).wrapping_add(at);
        }
        sum
    })
}

/// A histogram: counters of bytes, each loaded, raised and stored.
pub fn read_modify_write() -> io::Result<Work> {
    let bytes = Random::new(5).bytes(UPDATES);
    let mut counters = [0u32; COUNTERS];
    Work::compute(UPDATES as u64, move || {
        let before = counters;
        for byte in black_box(&bytes) {
            counters[usize::from(*byte)] = counters[usize::from(*byte)].wrapping_add(1);
        }
        let grown = counters.iter().zip(before).map(|(now, before)| now.wrapping_sub(before));
        crate::random::digest(grown.map(u64::from))
    })
}

/// Locked additions.
pub fn atomic_add() -> io::Result<Work> {
    let counter = AtomicU64::new(0);
    Work::compute(LOCKED, move || {
        let first = counter.load(Ordering::Relaxed);
        let mut sum = 0u64;
        for step in 0..LOCKED {
            let seen = black_box(&counter).fetch_add(step, Ordering::SeqCst);
            sum = sum.rotate_left(1) ^ seen.wrapping_sub(first);
        }
        sum
    })
}
