//! Which pages code was fetched from: what tells an INVLPG that may change code from one that cannot.

use guest_memory::PAGE_SIZE;

/// Bits of the set. A power of two.
const BITS: usize = 1 << 15;
/// Most pages of a set that is still worth asking.
const PAGES_MAX: usize = BITS / 8;

/// A set of linear pages. It may hold more than was put in, never less.
pub(super) struct CodePages {
    words: Box<[u64]>,
    /// Bits that are set.
    count: usize,
}

impl Default for CodePages {
    fn default() -> CodePages {
        CodePages { words: vec![0; BITS / 64].into(), count: 0 }
    }
}

impl CodePages {
    /// Puts in the page of `address`.
    pub(super) fn note(&mut self, address: u64) {
        let (word, bit) = place(address);
        self.count += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    /// False only if the page of `address` was not put in since the set was cleared.
    pub(super) fn may_hold(&self, address: u64) -> bool {
        let (word, bit) = place(address);
        self.words[word] & bit != 0 || self.count > PAGES_MAX
    }

    /// Takes everything out.
    pub(super) fn clear(&mut self) {
        if self.count > 0 {
            self.words.fill(0);
            self.count = 0;
        }
    }
}

fn place(address: u64) -> (usize, u64) {
    let page = address / PAGE_SIZE;
    let hash = page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let bit = hash as usize & (BITS - 1);
    (bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_cleared() {
        let mut pages = CodePages::default();
        pages.note(0xffff_ffff_8100_0123);
        assert!(pages.may_hold(0xffff_ffff_8100_0fff) && !pages.may_hold(0xffff_ffff_8100_1000));
        pages.clear();
        assert!(!pages.may_hold(0xffff_ffff_8100_0123));
    }

    #[test]
    fn a_set_that_is_full_holds_everything() {
        let mut pages = CodePages::default();
        (0..BITS as u64).for_each(|page| pages.note(page * PAGE_SIZE));
        assert!((0..4 * BITS as u64).all(|page| pages.may_hold(page * PAGE_SIZE)));
    }
}
