//! The simplest way to serve a queue: each chain is answered at once, one after the other.

use std::io;
use std::os::fd::BorrowedFd;

use device_model::EventFd;
use guest_memory::GuestMemory;

use crate::{Chain, Queue, QueueHandler, QueueResources};

/// Chains answered before the worker looks whether it is to stop.
const BURST: usize = 64;

/// Answers chains that need no waiting.
pub trait AnswerChain: Send + 'static {
    /// Carries one request out and returns how many bytes were written to its writable part.
    fn answer(&mut self, memory: &GuestMemory, chain: &Chain) -> u32;
}

/// Serves a queue by answering chain after chain, in bursts, with one interrupt for each burst.
pub struct ChainServer<A> {
    queue: Queue,
    /// The worker's own bell, rung when a burst leaves work behind.
    again: EventFd,
    answer: A,
}

impl<A: AnswerChain> ChainServer<A> {
    /// Serves the queue of `resources`, whose kick is returned for the worker to wait on.
    pub fn new(resources: QueueResources, answer: A) -> io::Result<(EventFd, ChainServer<A>)> {
        let QueueResources { queue, kick } = resources;
        Ok((kick.try_clone()?, ChainServer { queue, again: kick, answer }))
    }

    /// The queue, for whoever has stopped the worker.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Answers at most one burst; `true` when the ring is empty and the driver will kick.
    fn serve_burst(&mut self) -> bool {
        self.queue.disable_kicks();
        for _ in 0..BURST {
            match self.queue.pop() {
                Some(chain) => {
                    let written_bytes = self.answer.answer(self.queue.memory(), &chain);
                    self.queue.complete(chain.head, written_bytes);
                }
                None if self.queue.enable_kicks() => {}
                None => return true,
            }
        }
        false
    }
}

impl<A: AnswerChain> QueueHandler for ChainServer<A> {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn memory(&self) -> &GuestMemory {
        self.queue.memory()
    }

    fn on_kick(&mut self) {
        if !self.serve_burst() {
            // A full counter means that the worker is woken anyway.
            let _ = self.again.write(1);
        }
        self.queue.signal();
    }

    fn on_source(&mut self, _index: usize) {}

    fn drain(&mut self) {}
}
