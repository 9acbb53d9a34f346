//! What of a file was written since somebody looked last: for copies that are made while the file is used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a bit stands for, in bytes.
pub const GRANULE_BYTES: u64 = 64 << 10;
/// Bits of a word.
const WORD_BITS: u64 = 64;

/// A bit for each [`GRANULE_BYTES`] of a file, set behind each write while it is on. Off, it costs a load for each.
///
/// A copy is right in the end if the bitmap is switched on before it begins, what has bits is copied again, and the bits are
/// taken for the last time when no write is in progress: whoever copies what is being written sets eyes on it again.
#[derive(Debug, Default)]
pub struct DirtyBitmap {
    is_on: AtomicBool,
    /// Words with a bit at least, by number. As long as what was written, not as the file.
    words: Mutex<BTreeMap<u64, u64>>,
}

impl DirtyBitmap {
    /// Begins with no bit set.
    pub fn start(&self) {
        self.lock().clear();
        self.is_on.store(true, Ordering::SeqCst);
    }

    /// Forgets all.
    pub fn stop(&self) {
        self.is_on.store(false, Ordering::SeqCst);
        self.lock().clear();
    }

    /// Something was written there, or may have been. To be called behind the write, before anybody is told that it is done.
    pub(crate) fn mark(&self, offset_bytes: u64, length_bytes: u64) {
        if !self.is_on.load(Ordering::SeqCst) || length_bytes == 0 {
            return;
        }
        let first = offset_bytes / GRANULE_BYTES;
        let last = offset_bytes.saturating_add(length_bytes - 1) / GRANULE_BYTES;
        let mut words = self.lock();
        for word in first / WORD_BITS..=last / WORD_BITS {
            let start = first.max(word * WORD_BITS) % WORD_BITS;
            let end = last.min(word * WORD_BITS + WORD_BITS - 1) % WORD_BITS;
            *words.entry(word).or_default() |= u64::MAX >> (WORD_BITS - 1 - end) & u64::MAX << start;
        }
    }

    /// What was written since the start or the last call: ranges of bytes, ascending, none beside another.
    pub fn take(&self) -> Vec<Range<u64>> {
        let words = std::mem::take(&mut *self.lock());
        let bits = words.into_iter().flat_map(|(word, bits)| {
            (0..WORD_BITS).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * WORD_BITS + bit)
        });
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for granule in bits {
            let start = granule * GRANULE_BYTES;
            let end = start.saturating_add(GRANULE_BYTES);
            match ranges.last_mut() {
                Some(range) if range.end == start => range.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: u64 = GRANULE_BYTES;

    #[test]
    fn ranges_are_whole_granules_and_told_once() {
        let bitmap = DirtyBitmap::default();
        bitmap.mark(0, 1);
        assert_eq!(bitmap.take(), []);
        bitmap.start();
        assert_eq!(bitmap.take(), []);
        bitmap.mark(G - 1, 2);
        bitmap.mark(5 * G, 0);
        bitmap.mark(63 * G, 2 * G);
        bitmap.mark(1000 * G + 7, 1);
        assert_eq!(bitmap.take(), [0..2 * G, 63 * G..65 * G, 1000 * G..1001 * G]);
        assert_eq!(bitmap.take(), []);
        bitmap.mark(0, 200 * G);
        assert_eq!(bitmap.take().iter().map(|range| range.end - range.start).sum::<u64>(), 200 * G);
        bitmap.mark(u64::MAX - 1, 2);
        assert_eq!(bitmap.take().len(), 1);
        bitmap.mark(0, 1);
        bitmap.stop();
        assert_eq!(bitmap.take(), []);
    }
}
