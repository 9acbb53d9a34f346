//! Guest memory at one moment, and what the engine knows of it.

use std::sync::Arc;

use guest_memory::Slots;

use super::code_map::CodeMap;
use super::write_log::WriteLog;

/// What a vCPU executes in from the moment it enters guest code, or was told of a change, to the next.
pub struct Space {
    /// What is mapped, and stays mapped for as long as this lives.
    pub slots: Arc<Slots>,
    /// Which bytes of it have been decoded.
    pub code: CodeMap,
    /// The dirty log.
    pub log: WriteLog,
}

impl Space {
    /// Nothing of it is code, and the log is off.
    pub fn new(slots: Arc<Slots>) -> Space {
        Space { code: CodeMap::new(&slots), log: WriteLog::new(&slots), slots }
    }

    /// The space after slots have come and gone. What is known of those that stayed is shared with this one.
    pub fn followed_by(&self, slots: Arc<Slots>) -> Space {
        Space { code: self.code.followed_by(&slots), log: self.log.followed_by(&slots), slots }
    }
}
