//! Answers a chain: its writable part is filled with random bytes.

use guest_memory::GuestMemory;
use tracing::debug;
use virtio_core::{AnswerChain, Chain};

/// Most bytes written for one chain; the driver asks again for more (5.4.6.1 lets the device write less).
pub(crate) const MAX_CHAIN_BYTES: u64 = 64 * 1024;

/// Bytes fetched at a time.
const FETCH_BYTES: usize = 4096;

/// The host kernel's random number generator.
pub(crate) struct Entropy;

impl AnswerChain for Entropy {
    /// Fills the chain's writable part as far as it goes.
    fn answer(&mut self, memory: &GuestMemory, chain: &Chain) -> u32 {
        let wanted = chain.writable_bytes().min(MAX_CHAIN_BYTES);
        let mut entropy = [0; FETCH_BYTES];
        let mut written = 0;
        while written < wanted {
            let piece = &mut entropy[..(wanted - written).min(FETCH_BYTES as u64) as usize];
            if let Err(error) = getrandom::fill(piece) {
                debug!(device = "virtio-rng", %error, "no entropy from the host");
                break;
            }
            if let Err(error) = chain.write(memory, written, piece) {
                debug!(device = "virtio-rng", %error, "request cut short");
                break;
            }
            written += piece.len() as u64;
        }
        written as u32
    }
}
