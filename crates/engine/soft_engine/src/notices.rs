//! What vCPUs tell each other about code.

use std::sync::Mutex;

use device_model::lock;

/// What a vCPU tells the others about code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Bytes of the page at `gpa` are being decoded: from now on writes to it matter.
    Decoded {
        /// Page.
        gpa: u64,
    },
    /// Decoded bytes in the grains `grains` of the page at `gpa` were written.
    Written {
        /// Page.
        gpa: u64,
        /// A bit for each 64 bytes.
        grains: u64,
    },
    /// There was more to tell than is kept: anything may have been decoded or written.
    Anything,
}

/// Notices that wait for one vCPU, at most. One that does not run takes none in.
const NOTICES_MAX: usize = 4096;

/// Notices that wait for one vCPU.
#[derive(Default)]
pub struct Notices(Mutex<Vec<Notice>>);

impl Notices {
    /// Adds one; where there are too many, one that stands for all takes their place.
    pub fn add(&self, notice: Notice) {
        let mut notices = lock(&self.0);
        if notices.len() >= NOTICES_MAX {
            notices.clear();
            notices.push(Notice::Anything);
        }
        notices.push(notice);
    }

    /// Those that came since the last call.
    pub fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *lock(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_that_nobody_takes_in_are_bounded() {
        let notices = Notices::default();
        for page in 0..3 * NOTICES_MAX as u64 {
            notices.add(Notice::Decoded { gpa: page << 12 });
            assert!(lock(&notices.0).len() <= NOTICES_MAX);
        }
        assert!(notices.take().contains(&Notice::Anything), "what was lost is made good");
        assert!(notices.take().is_empty());
    }
}
