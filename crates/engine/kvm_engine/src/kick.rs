//! Getting a vCPU thread out of `KVM_RUN` from anywhere (API 5, `immediate_exit`).
//!
//! A kick sets the pending flag, then `immediate_exit` in the shared run page, then interrupts the thread.
//! The vCPU clears `immediate_exit` first and looks at the flag second, so that no kick is lost: whatever
//! order the two sides run in, either the flag is seen or `KVM_RUN` returns at once. A stale
//! `immediate_exit` costs one empty `KVM_RUN`, after which it is cleared.

use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use device_model::lock;
use host_sys::signals::Thread;
use vcpu_model::Kick;

pub(crate) struct Kicker {
    pending: AtomicBool,
    target: Mutex<Target>,
}

struct Target {
    /// `immediate_exit` in the run page, until the vCPU is dropped.
    immediate_exit: Option<NonNull<AtomicU8>>,
    /// The thread inside [`vcpu_model::Vcpu::run`], if any.
    thread: Option<Thread>,
}

// SAFETY: the pointer leads into the vCPU's shared mapping, is only used for atomic byte accesses under the
// lock, and is taken away (`close`) before the mapping goes.
unsafe impl Send for Target {}

impl Kicker {
    /// `immediate_exit` must stay valid until [`close`](Kicker::close).
    pub(crate) fn new(immediate_exit: NonNull<AtomicU8>) -> Kicker {
        let target = Mutex::new(Target { immediate_exit: Some(immediate_exit), thread: None });
        Kicker { pending: AtomicBool::new(false), target }
    }

    /// The calling thread is about to run the vCPU.
    pub(crate) fn enter(&self) {
        lock(&self.target).thread = Some(Thread::current());
    }

    /// The thread has stopped running the vCPU.
    pub(crate) fn leave(&self) {
        lock(&self.target).thread = None;
    }

    /// The run page is about to go.
    pub(crate) fn close(&self) {
        lock(&self.target).immediate_exit = None;
    }

    /// Arms for the next `KVM_RUN` and says whether a kick came since the last call.
    pub(crate) fn take(&self) -> bool {
        if !self.pending.load(Ordering::SeqCst) {
            return false;
        }
        self.set_immediate_exit(0);
        self.pending.swap(false, Ordering::SeqCst)
    }

    /// Makes the next `KVM_RUN` finish the access in flight and return.
    pub(crate) fn set_immediate_exit(&self, value: u8) {
        if let Some(byte) = lock(&self.target).immediate_exit {
            // SAFETY: valid until `close` takes it away under the same lock.
            unsafe { byte.as_ref() }.store(value, Ordering::SeqCst);
        }
    }
}

impl Kick for Kicker {
    fn kick(&self) {
        self.pending.store(true, Ordering::SeqCst);
        self.set_immediate_exit(1);
        if let Some(thread) = lock(&self.target).thread {
            thread.interrupt();
        }
    }
}
