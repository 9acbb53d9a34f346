//! Interrupts from another thread, at any moment of a block.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use device_model::{MsiMessage, MsiVector};
use guest_memory::{Bytes, GuestAddress, GuestMemory};

use super::image::{INTERRUPTS, LOG_COUNT};
use crate::random::Random;

/// Where writes are interrupts to the local APIC with number 0 (SDM vol. 3, 11.11.1).
const WINDOW: u64 = 0xfee0_0000;
/// Longest pause between an interrupt's handler and the next interrupt, in turns of a loop.
const PAUSE: u64 = 3000;

/// A thread that sends one interrupt after the other while a block runs.
pub struct Storm {
    blows: Arc<AtomicBool>,
    /// The thread may send.
    busy: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    /// A calm one, which will send by `vector` and see by `memory` that the last interrupt was handled: before that the
    /// next would come before the block has gone on.
    pub fn new(vector: Arc<dyn MsiVector>, memory: GuestMemory) -> io::Result<Storm> {
        let [blows, busy, ends] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
        let (go, at_work, end) = (Arc::clone(&blows), Arc::clone(&busy), Arc::clone(&ends));
        let thread = std::thread::Builder::new().name("storm".to_owned()).spawn(move || {
            let mut random = Random::new(0x5707);
            while !end.load(Ordering::Relaxed) {
                at_work.store(true, Ordering::SeqCst);
                blow(&*vector, &memory, &go, &mut random);
                at_work.store(false, Ordering::SeqCst);
                if !go.load(Ordering::SeqCst) {
                    std::thread::park();
                }
            }
        })?;
        Ok(Storm { blows, busy, ends, thread: Some(thread) })
    }

    /// Begins.
    pub fn rise(&self) {
        self.blows.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Ends; no interrupt is sent any more.
    pub fn calm(&self) {
        self.blows.store(false, Ordering::SeqCst);
        while self.busy.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.blows.store(false, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the thread that sends interrupts ended badly");
        }
    }
}

fn blow(vector: &dyn MsiVector, memory: &GuestMemory, go: &AtomicBool, random: &mut Random) {
    let mut seen = None;
    while go.load(Ordering::SeqCst) {
        let count: Option<u8> = memory.slots().read_obj(GuestAddress(LOG_COUNT)).ok();
        if count == seen {
            std::hint::spin_loop();
            continue;
        }
        seen = count;
        for _ in 0..random.below(PAUSE) {
            std::hint::spin_loop();
        }
        let number = u32::from(INTERRUPTS) | random.below(16) as u32;
        let message = MsiMessage { address: WINDOW, data: number };
        if vector.route(Some(message)).is_ok() {
            vector.signal();
        }
    }
}
