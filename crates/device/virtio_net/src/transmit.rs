//! Packets out of the guest.

use std::sync::Arc;

use guest_memory::GuestMemory;
use net_backend::{HEADER_BYTES, NetPair};
use tracing::debug;
use virtio_core::{AnswerChain, Chain};

use crate::NetCounters;
use crate::spec::{
    F_CSUM, F_HOST_ECN, F_HOST_TSO4, F_HOST_TSO6, HDR_F_NEEDS_CSUM, HDR_GSO_ECN, HDR_GSO_NONE, HDR_GSO_TCPV4,
    HDR_GSO_TCPV6, PACKET_MAX_BYTES, PACKET_MIN_BYTES,
};

/// Sends what chains hold.
pub struct Transmit {
    pub pair: Arc<dyn NetPair>,
    pub counters: Arc<NetCounters>,
    pub features: u64,
}

/// Why a packet was not sent. All are counted, and end in a completed chain.
#[derive(Debug)]
enum Unsent {
    Size,
    Header,
    Memory,
    Backend,
}

impl Transmit {
    fn send(&self, memory: &GuestMemory, chain: &Chain) -> Result<u64, Unsent> {
        let len = chain.readable_bytes();
        if !(PACKET_MIN_BYTES as u64..=PACKET_MAX_BYTES as u64).contains(&len) {
            return Err(Unsent::Size);
        }
        let mut header = [0; HEADER_BYTES];
        chain.read(memory, 0, &mut header).map_err(|_| Unsent::Memory)?;
        if !is_sensible(&header, self.features) {
            return Err(Unsent::Header);
        }
        // The kernel reads the header a second time and checks it against the packet: a driver that changes
        // it meanwhile loses the packet.
        let packet = chain.readable_buffers(memory, 0, len).map_err(|_| Unsent::Memory)?;
        self.pair.send(&packet).map_err(|_| Unsent::Backend)?;
        Ok(len - HEADER_BYTES as u64)
    }
}

/// Whether the header asks for nothing but what was negotiated (5.1.6.2).
fn is_sensible(header: &[u8; HEADER_BYTES], features: u64) -> bool {
    let [flags, gso_type, ..] = *header;
    let has = |feature: u64| features & feature != 0;
    let segmentation = match gso_type & !HDR_GSO_ECN {
        HDR_GSO_NONE => gso_type & HDR_GSO_ECN == 0,
        HDR_GSO_TCPV4 => has(F_HOST_TSO4),
        HDR_GSO_TCPV6 => has(F_HOST_TSO6),
        _ => false,
    };
    segmentation
        && (gso_type & HDR_GSO_ECN == 0 || has(F_HOST_ECN))
        && (flags & HDR_F_NEEDS_CSUM == 0 || has(F_CSUM))
}

impl AnswerChain for Transmit {
    fn answer(&mut self, memory: &GuestMemory, chain: &Chain) -> u32 {
        match self.send(memory, chain) {
            Ok(bytes) => self.counters.sent.passed(bytes),
            Err(reason) => {
                debug!(?reason, "packet of the guest dropped");
                self.counters.sent.dropped();
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_may_ask_for_what_was_negotiated() {
        let header = |flags, gso_type| {
            let mut header = [0; HEADER_BYTES];
            header[..2].copy_from_slice(&[flags, gso_type]);
            header
        };
        let all = F_CSUM | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN;
        for (flags, gso_type, needs) in [
            (0, HDR_GSO_NONE, 0),
            (1, HDR_GSO_NONE, F_CSUM),
            (1, HDR_GSO_TCPV4, F_CSUM | F_HOST_TSO4),
            (1, HDR_GSO_TCPV6, F_CSUM | F_HOST_TSO6),
            (1, HDR_GSO_TCPV4 | HDR_GSO_ECN, all),
        ] {
            assert!(is_sensible(&header(flags, gso_type), needs));
            assert!(is_sensible(&header(flags, gso_type), all));
            assert!(needs == 0 || !is_sensible(&header(flags, gso_type), 0));
        }
        for gso_type in [2, 3, 5, HDR_GSO_ECN, 0x7f, 0xff] {
            assert!(!is_sensible(&header(0, gso_type), all));
        }
    }
}
