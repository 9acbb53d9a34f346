//! Wakes vCPUs that run generated code, which looks at no clock: a thread that posts a request when a timer is due.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use device_model::lock;

use super::{Platform, Request};

/// Shortest sleep: while the clock is held, no deadline comes nearer.
const SLEEP_MIN_NS: u64 = 20_000;
/// Sleep with no deadline; a new one ends it.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The alarm clock of one VM. Its thread starts with the first deadline.
pub(crate) struct Alarm {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    platform: Arc<Platform>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By vCPU, on the VM's clock.
    deadlines_ns: Vec<Option<u64>>,
    /// When the thread wakes up by itself.
    wakes_ns: u64,
    ends: bool,
    /// Why there is no thread, where one was wanted.
    failure: Option<std::io::Error>,
}

impl Alarm {
    /// For the vCPUs of `platform`, `vcpus` in number.
    pub(crate) fn new(platform: Arc<Platform>, vcpus: usize) -> Alarm {
        let state = Mutex::new(State { deadlines_ns: vec![None; vcpus], ..State::default() });
        Alarm {
            inner: Arc::new(Inner { platform, state, changed: Condvar::new() }),
            thread: Mutex::default(),
        }
    }

    /// vCPU `index` is to be woken at `deadline_ns`, or not at all.
    pub(crate) fn set(&self, index: usize, deadline_ns: Option<u64>) {
        let mut state = lock(&self.inner.state);
        state.deadlines_ns[index] = deadline_ns;
        let is_nearer = deadline_ns.is_some_and(|deadline_ns| deadline_ns < state.wakes_ns);
        drop(state);
        if deadline_ns.is_some() {
            self.start(index);
        }
        if is_nearer {
            self.inner.changed.notify_one();
        }
    }

    fn start(&self, index: usize) {
        let mut thread = lock(&self.thread);
        if thread.is_some() {
            return;
        }
        let inner = Arc::clone(&self.inner);
        match host_sys::threads::spawn("alarm", move || inner.run()) {
            Ok(started) => *thread = Some(started),
            Err(error) => {
                // Timers would come late or never: whoever asked stops, and says so.
                lock(&self.inner.state).failure.get_or_insert(error);
                self.inner.platform.mailbox(index).post(Request::KICK);
            }
        }
    }

    /// Why there is no thread, where one was wanted.
    pub(crate) fn take_failure(&self) -> Option<std::io::Error> {
        lock(&self.inner.state).failure.take()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        lock(&self.inner.state).ends = true;
        self.inner.changed.notify_one();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for timers panicked");
        }
    }
}

impl Inner {
    fn run(&self) {
        let mut state = lock(&self.state);
        while !state.ends {
            let now_ns = self.platform.clock().now_ns();
            for (index, deadline) in state.deadlines_ns.iter_mut().enumerate() {
                if deadline.is_some_and(|deadline_ns| deadline_ns <= now_ns) {
                    *deadline = None;
                    self.platform.mailbox(index).post(Request::INTERRUPT);
                }
            }
            let next_ns = state.deadlines_ns.iter().flatten().min();
            let left_ns = next_ns.map(|next_ns| (next_ns - now_ns).max(SLEEP_MIN_NS));
            state.wakes_ns = left_ns.map_or(u64::MAX, |left_ns| now_ns.saturating_add(left_ns));
            let sleep = left_ns.map_or(SLEEP_MAX, Duration::from_nanos);
            state = self.changed.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use device_model::HostClock;

    use super::*;

    #[test]
    fn a_deadline_becomes_a_request() {
        let platform = Arc::new(Platform::new(2, Arc::new(HostClock::default())));
        let alarm = Alarm::new(Arc::clone(&platform), 2);
        alarm.set(1, Some(platform.clock().now_ns() + 1_000_000));
        platform.mailbox(1).sleep_until(None, platform.clock());
        assert!(platform.mailbox(1).take(Request::ALL).has(Request::INTERRUPT));
        assert_eq!(platform.mailbox(0).pending(), 0);
    }
}
