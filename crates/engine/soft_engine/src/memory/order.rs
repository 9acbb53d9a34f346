//! In which order other vCPUs and devices see the accesses of one.
//!
//! Where a host is an x86-64, each load and store of the guest is one of the host, made by the vCPU's thread in the
//! guest's order: what the guest's processors may reorder (a store with a later load of another place, SDM vol. 3, 9.2.3.4)
//! the host's does, and nothing else. What this module adds is the end of that: the guest's ways to wait until its
//! stores are seen.
//!
//! | the guest's | what drains the stores | where |
//! |---|---|---|
//! | XCHG with memory, instructions with LOCK | the host's locked instruction | `access.rs`, `jit/translate/data.rs` |
//! | MFENCE, SFENCE | the host's | `exec/hints.rs`, `jit/translate/system.rs` |
//! | serializing instructions (9.3) | [`drain_stores`] | the `serializing!` handlers of `exec/` |
//! | exceptions and interrupts, IN and OUT, devices' registers (12.10) | [`drain_stores`] | `cpu/event.rs`, `cpu/devices.rs` |
//!
//! LFENCE needs nothing: loads are in order. Writes of the TSC deadline and of x2APIC registers are not serializing.
//! On hosts whose order is weaker, one vCPU executes at a time (`platform/turn.rs`).

use std::sync::atomic::{Ordering, fence};

/// Returns when everything that this thread has stored, non-temporal stores included, is seen by all others.
#[inline]
pub fn drain_stores() {
    fence(Ordering::SeqCst);
}
