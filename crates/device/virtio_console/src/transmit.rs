//! What the guest says.

use std::sync::Arc;

use char_backend::CharBackend;
use guest_memory::GuestMemory;
use virtio_core::{AnswerChain, Chain};

/// Bytes copied out of the guest at once.
const CHUNK_BYTES: u64 = 4096;
/// Most bytes of one chain that are written; the rest is dropped. Drivers send a page at a time.
const CHAIN_MAX_BYTES: u64 = 1 << 20;

/// Hands what chains hold to the backend.
pub struct Transmit {
    pub backend: Arc<dyn CharBackend>,
}

impl AnswerChain for Transmit {
    fn answer(&mut self, memory: &GuestMemory, chain: &Chain) -> u32 {
        let len = chain.readable_bytes().min(CHAIN_MAX_BYTES);
        let mut data = [0; CHUNK_BYTES as usize];
        let mut done = 0;
        while done < len {
            let piece = &mut data[..(len - done).min(CHUNK_BYTES) as usize];
            // A buffer outside RAM ends what can be said of the chain.
            if chain.read(memory, done, piece).is_err() {
                break;
            }
            self.backend.write(piece);
            done += piece.len() as u64;
        }
        0
    }
}
