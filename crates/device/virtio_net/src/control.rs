//! Commands of the driver (5.1.6.5).

use std::sync::{Arc, Mutex};

use device_model::lock;
use guest_memory::GuestMemory;
use net_backend::NetBackend;
use tracing::debug;
use virtio_core::{AnswerChain, Chain, ChainError};

use crate::spec::{
    CTRL_GUEST_OFFLOADS, CTRL_GUEST_OFFLOADS_SET, CTRL_MAC, CTRL_MAC_ADDR_SET, CTRL_MAC_TABLE_SET, CTRL_MQ,
    CTRL_MQ_VQ_PAIRS_SET, CTRL_RX, CTRL_RX_ALLMULTI, CTRL_RX_PROMISC, ERR, F_CTRL_GUEST_OFFLOADS,
    F_CTRL_MAC_ADDR, F_CTRL_RX, F_MQ, GUEST_OFFLOADS, OK,
};
use crate::{MacAddress, NetState};

/// Carries commands out. It knows no queue, so that it can be tested without.
pub struct Executor {
    pub settings: Arc<Mutex<NetState>>,
    pub backend: Arc<dyn NetBackend>,
    pub pairs: u16,
    pub features: u64,
}

impl AnswerChain for Executor {
    /// Answers one command with one byte.
    fn answer(&mut self, memory: &GuestMemory, chain: &Chain) -> u32 {
        let read = |offset: u64, data: &mut [u8]| chain.read(memory, offset, data);
        let ack = match self.execute(chain.readable_bytes(), &read) {
            Ok(()) => OK,
            Err(reason) => {
                debug!(?reason, "command of the driver refused");
                ERR
            }
        };
        chain.write(memory, 0, &[ack]).map_or(0, |()| 1)
    }
}

/// Why a command was refused.
#[derive(Debug)]
pub enum Refusal {
    /// Unknown, or not negotiated.
    Unknown,
    /// Its data are too short, or make no sense.
    Data,
    /// Its data lie outside RAM.
    Chain,
    /// The backend could not do it.
    Backend,
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Refusal {
        match error {
            ChainError::TooShort => Refusal::Data,
            ChainError::Memory(_) => Refusal::Chain,
        }
    }
}

/// Fills a buffer from the command at an offset in bytes.
type Read<'a> = dyn Fn(u64, &mut [u8]) -> Result<(), ChainError> + 'a;

impl Executor {
    /// Carries out a command of `len_bytes`: class, command, and data.
    pub fn execute(&self, len_bytes: u64, read: &Read<'_>) -> Result<(), Refusal> {
        let mut head = [0; 2];
        read(0, &mut head)?;
        let needs = |feature: u64| if self.features & feature != 0 { Ok(()) } else { Err(Refusal::Unknown) };
        match (head[0], head[1]) {
            (CTRL_RX, mode @ (CTRL_RX_PROMISC | CTRL_RX_ALLMULTI)) => {
                needs(F_CTRL_RX)?;
                self.set_receive_mode(mode, bytes::<1>(read, 2)?[0])
            }
            (CTRL_MAC, CTRL_MAC_TABLE_SET) => {
                needs(F_CTRL_RX)?;
                check_tables(len_bytes, read)
            }
            (CTRL_MAC, CTRL_MAC_ADDR_SET) => {
                needs(F_CTRL_MAC_ADDR)?;
                let mac = MacAddress::try_from(bytes::<6>(read, 2)?).map_err(|_| Refusal::Data)?;
                lock(&self.settings).mac = mac;
                Ok(())
            }
            (CTRL_MQ, CTRL_MQ_VQ_PAIRS_SET) => {
                needs(F_MQ)?;
                self.set_active_pairs(u16::from_le_bytes(bytes::<2>(read, 2)?))
            }
            (CTRL_GUEST_OFFLOADS, CTRL_GUEST_OFFLOADS_SET) => {
                needs(F_CTRL_GUEST_OFFLOADS)?;
                self.set_offloads(u64::from_le_bytes(bytes::<8>(read, 2)?))
            }
            _ => Err(Refusal::Unknown),
        }
    }

    fn set_receive_mode(&self, mode: u8, value: u8) -> Result<(), Refusal> {
        let is_on = match value {
            0 => false,
            1 => true,
            _ => return Err(Refusal::Data),
        };
        let mut settings = lock(&self.settings);
        match mode {
            CTRL_RX_PROMISC => settings.is_promiscuous = is_on,
            _ => settings.takes_all_multicast = is_on,
        }
        Ok(())
    }

    fn set_active_pairs(&self, count: u16) -> Result<(), Refusal> {
        if !(1..=self.pairs).contains(&count) {
            return Err(Refusal::Data);
        }
        let mut settings = lock(&self.settings);
        self.backend.set_active_pairs(count).map_err(|_| Refusal::Backend)?;
        settings.active_pairs = count;
        Ok(())
    }

    fn set_offloads(&self, bits: u64) -> Result<(), Refusal> {
        if bits & !(self.features & GUEST_OFFLOADS) != 0 {
            return Err(Refusal::Data);
        }
        let mut settings = lock(&self.settings);
        let wanted = NetState { offloads: Some(bits), ..settings.clone() };
        self.backend.set_offloads(wanted.accepted_offloads(self.features)).map_err(|_| Refusal::Backend)?;
        *settings = wanted;
        Ok(())
    }
}

/// The unicast and the multicast table, each a count and as many addresses. They are not kept: the card does
/// not filter.
fn check_tables(len_bytes: u64, read: &Read<'_>) -> Result<(), Refusal> {
    let mut at = 2;
    for _ in 0..2 {
        let entries = u32::from_le_bytes(bytes::<4>(read, at)?);
        at += 4 + 6 * u64::from(entries);
    }
    if at <= len_bytes { Ok(()) } else { Err(Refusal::Data) }
}

fn bytes<const N: usize>(read: &Read<'_>, offset: u64) -> Result<[u8; N], Refusal> {
    let mut data = [0; N];
    read(offset, &mut data)?;
    Ok(data)
}
