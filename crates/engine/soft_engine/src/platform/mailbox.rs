//! What other threads may do to a vCPU, without locks.
//!
//! A sender first changes what it has to tell (IRR, the start-up vector), then posts a request. The owner
//! looks at [`Mailbox::pending`] at every block edge, takes the requests, and then reads what was told. Only
//! a sleeping owner costs its sender a lock and a system call.

use std::ops::{BitOr, Not};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use device_model::lock;

use super::clock::GuestClock;
use super::halt_poll::HaltPoll;
use super::message::{DeliveryMode, Message};
use super::target::Target;
use super::tsc::Tsc;
use super::vectors::SharedVectors;

/// A set of things that a vCPU is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request(pub(crate) u32);

impl Request {
    /// Leave the guest.
    pub(crate) const KICK: Request = Request(1 << 0);
    /// Look at the local APIC: IRR or the errors have changed.
    pub(crate) const INTERRUPT: Request = Request(1 << 1);
    /// Take a non-maskable interrupt.
    pub(crate) const NMI: Request = Request(1 << 2);
    /// Reset. To be looked at before [`SIPI`](Request::SIPI), which may come with it.
    pub(crate) const INIT: Request = Request(1 << 3);
    /// Start up at [`Mailbox::sipi_vector`], if waiting for that.
    pub(crate) const SIPI: Request = Request(1 << 4);
    /// Forget all translations.
    pub(crate) const FLUSH_TLB: Request = Request(1 << 5);
    /// Forget decoded code.
    pub(crate) const INVALIDATE_CODE: Request = Request(1 << 6);
    /// Wake up from HLT (KVM_HC_KICK_CPU).
    pub(crate) const UNHALT: Request = Request(1 << 7);
    /// Look closely at the next write to each page: the dirty log was taken.
    pub(crate) const PROTECT: Request = Request(1 << 8);
    /// Stand still: another vCPU has to execute an instruction alone.
    pub(crate) const STAND_STILL: Request = Request(1 << 9);
    /// Leave guest memory and enter it again: slots have come or gone.
    pub(crate) const CHANGE_MEMORY: Request = Request(1 << 10);
    /// Everything that may be asked.
    pub(crate) const ALL: Request = Request(u32::MAX);

    /// Whether any of `other` is among these.
    pub(crate) fn has(self, other: Request) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Request {
    type Output = Request;

    fn bitor(self, other: Request) -> Request {
        Request(self.0 | other.0)
    }
}

impl Not for Request {
    type Output = Request;

    fn not(self) -> Request {
        Request(!self.0)
    }
}

/// The shared half of a vCPU.
#[derive(Debug)]
pub(crate) struct Mailbox {
    requests: AtomicU32,
    /// Interrupts requested of the local APIC.
    pub(crate) irr: SharedVectors,
    /// Which of those in IRR or in service are level-triggered.
    pub(crate) tmr: SharedVectors,
    /// Bits that senders want set in the error status register.
    errors: AtomicU32,
    sipi_vector: AtomicU8,
    /// [`Target`], packed.
    target: AtomicU64,
    /// The vCPU's TSC.
    tsc: Mutex<Tsc>,
    /// The owner sleeps or is about to, and whoever posts has to wake it.
    asleep: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
    halt_poll: HaltPoll,
}

/// Looks for requests in a row at most, and pauses between two of them.
const LOOKS_MAX: u32 = 4096;
const PAUSES: u32 = 8;

/// Lowest vector that may be delivered (SDM vol. 3, 11.5.2).
pub(crate) const FIRST_VECTOR: u8 = 16;
/// Error status: a message came with a vector below 16 (SDM vol. 3, 11.5.3).
const RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;

impl Mailbox {
    /// Of a vCPU whose local APIC is as `target` says.
    pub(crate) fn new(target: Target) -> Mailbox {
        Mailbox {
            requests: AtomicU32::new(0),
            irr: SharedVectors::default(),
            tmr: SharedVectors::default(),
            errors: AtomicU32::new(0),
            sipi_vector: AtomicU8::new(0),
            target: AtomicU64::new(target.pack()),
            tsc: Mutex::default(),
            asleep: AtomicBool::new(false),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            halt_poll: HaltPoll::new(),
        }
    }

    /// Adds requests and wakes the owner if it sleeps.
    pub(crate) fn post(&self, requests: Request) {
        self.requests.fetch_or(requests.0, Ordering::SeqCst);
        self.wake_if_asleep();
    }

    /// Where generated code looks for requests.
    pub(crate) fn pending_address(&self) -> u64 {
        self.requests.as_ptr() as u64
    }

    /// The requests that wait; zero is none.
    #[inline(always)]
    pub(crate) fn pending(&self) -> u32 {
        self.requests.load(Ordering::Acquire)
    }

    /// Takes those of `which` that are pending. Owner only.
    pub(crate) fn take(&self, which: Request) -> Request {
        Request(self.requests.fetch_and(!which.0, Ordering::SeqCst) & which.0)
    }

    /// Returns when a request is pending or the clock has reached `deadline_ns`. Owner only.
    ///
    /// The owner says that it is asleep before it looks at the requests, a sender posts before it looks
    /// whether the owner is asleep, both in one total order: one of the two sees the other.
    pub(crate) fn sleep_until(&self, deadline_ns: Option<u64>, clock: &GuestClock) {
        let since_ns = clock.now_ns();
        let look_ns = since_ns.saturating_add(self.halt_poll.look_ns());
        let found =
            self.look_until(deadline_ns.map_or(look_ns, |deadline_ns| look_ns.min(deadline_ns)), clock);
        if !found {
            self.block_until(deadline_ns, clock);
        }
        self.halt_poll.learn(clock.now_ns().saturating_sub(since_ns), found);
    }

    /// Looks for requests without sleeping. True if there are some.
    fn look_until(&self, deadline_ns: u64, clock: &GuestClock) -> bool {
        // While the clock is held, it reaches no deadline.
        for _ in 0..LOOKS_MAX {
            if self.pending() != 0 || clock.now_ns() >= deadline_ns {
                break;
            }
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
        }
        self.pending() != 0
    }

    fn block_until(&self, deadline_ns: Option<u64>, clock: &GuestClock) {
        let mut guard = lock(&self.sleep);
        self.asleep.store(true, Ordering::SeqCst);
        while self.requests.load(Ordering::SeqCst) == 0 {
            guard = match deadline_ns {
                None => self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(deadline_ns) => {
                    let left_ns = deadline_ns.saturating_sub(clock.now_ns());
                    if left_ns == 0 {
                        break;
                    }
                    let left = Duration::from_nanos(left_ns);
                    self.wake.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn wake_if_asleep(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            // With the lock, the owner is either in its wait or has yet to look at the requests.
            drop(lock(&self.sleep));
            self.wake.notify_one();
        }
    }

    /// Takes in a message that is for this vCPU. False if it is dropped.
    pub(crate) fn accept(&self, message: &Message) -> bool {
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                return self.target().accepts_fixed && self.interrupt(message.vector, message.level);
            }
            DeliveryMode::Nmi => self.post(Request::NMI),
            DeliveryMode::Init => self.post_init(),
            DeliveryMode::StartUp => self.post_start_up(message.vector),
        }
        true
    }

    /// Requests `vector` of the local APIC. False for a vector that cannot be.
    pub(crate) fn interrupt(&self, vector: u8, level: bool) -> bool {
        if vector < FIRST_VECTOR {
            self.errors.fetch_or(RECEIVED_ILLEGAL_VECTOR, Ordering::SeqCst);
            self.post(Request::INTERRUPT);
            return false;
        }
        self.tmr.set(vector, level);
        // Whoever found the vector absent has posted or is about to.
        if self.irr.insert(vector) {
            self.post(Request::INTERRUPT);
        }
        true
    }

    /// INIT overtakes a start-up message that has not been taken (SDM vol. 3, 9.4.3).
    fn post_init(&self) {
        let merge = |requests: u32| Some((requests & !Request::SIPI.0) | Request::INIT.0);
        let _ = self.requests.fetch_update(Ordering::SeqCst, Ordering::SeqCst, merge);
        self.wake_if_asleep();
    }

    fn post_start_up(&self, vector: u8) {
        self.sipi_vector.store(vector, Ordering::SeqCst);
        self.post(Request::SIPI);
    }

    /// Page number of the code that [`Request::SIPI`] starts at.
    pub(crate) fn sipi_vector(&self) -> u8 {
        self.sipi_vector.load(Ordering::SeqCst)
    }

    /// Takes the error bits that senders have left.
    pub(crate) fn take_errors(&self) -> u32 {
        if self.errors.load(Ordering::Relaxed) == 0 { 0 } else { self.errors.swap(0, Ordering::SeqCst) }
    }

    pub(crate) fn target(&self) -> Target {
        Target::unpack(self.target.load(Ordering::SeqCst))
    }

    pub(crate) fn publish_target(&self, target: Target) {
        self.target.store(target.pack(), Ordering::SeqCst);
    }

    pub(crate) fn tsc(&self) -> Tsc {
        *lock(&self.tsc)
    }

    pub(crate) fn publish_tsc(&self, tsc: Tsc) {
        *lock(&self.tsc) = tsc;
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
