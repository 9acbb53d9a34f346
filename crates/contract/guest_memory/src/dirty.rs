//! Which guest pages were written by the VMM's own devices since the last look.
//!
//! An engine tracks what vCPUs write; every write through [`GuestMemory`](crate::GuestMemory) marks the
//! bitmap kept here. A full dirty set is the union of both.

use crate::{PAGE_SIZE, Slots};

/// A set of guest page frames, a bit a page, in ascending order of guest-physical address per region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirtyPages {
    regions: Vec<RegionBits>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RegionBits {
    first_gpa: u64,
    words: Vec<u64>,
}

/// The bits that are set in a word, ascending.
pub fn bits(mut word: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| u64::from(word.trailing_zeros()))?;
        word &= word - 1;
        Some(bit)
    })
}

impl DirtyPages {
    /// Adds the bitmap of one region that starts at `first_gpa`; bit 0 of word 0 is its first page.
    pub fn push_region(&mut self, first_gpa: u64, words: Vec<u64>) {
        self.regions.push(RegionBits { first_gpa, words });
    }

    /// Joins another set with the same regions into this one.
    pub fn merge(&mut self, other: &DirtyPages) {
        for theirs in &other.regions {
            match self.regions.iter_mut().find(|ours| ours.first_gpa == theirs.first_gpa) {
                Some(ours) => {
                    if ours.words.len() < theirs.words.len() {
                        ours.words.resize(theirs.words.len(), 0);
                    }
                    ours.words.iter_mut().zip(&theirs.words).for_each(|(to, from)| *to |= from);
                }
                None => self.regions.push(theirs.clone()),
            }
        }
    }

    /// Guest-physical addresses of the pages in the set.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.regions.iter().flat_map(|region| {
            region.words.iter().enumerate().flat_map(move |(index, word)| {
                bits(*word).map(move |bit| region.first_gpa + (index as u64 * 64 + bit) * PAGE_SIZE)
            })
        })
    }

    /// How many pages are in the set.
    pub fn count(&self) -> u64 {
        self.regions.iter().flat_map(|region| &region.words).map(|word| u64::from(word.count_ones())).sum()
    }
}

impl Slots {
    /// Pages that devices wrote since the last call; the bitmap is then empty.
    pub fn take_device_dirty(&self) -> DirtyPages {
        let mut dirty = DirtyPages::default();
        for slot in self.slots() {
            let words = slot.region.get_mmap().bitmap().take_dirty();
            dirty.push_region(slot.range().start.0, words);
        }
        dirty
    }
}
