//! What the driver can change on a card, and what is saved of it.

use device_model::SnapshotError;
use net_backend::Offloads;
use serde::{Deserialize, Serialize};

use crate::MacAddress;
use crate::spec::{F_GUEST_CSUM, F_GUEST_ECN, F_GUEST_TSO4, F_GUEST_TSO6, GUEST_OFFLOADS};

/// Saved state of a card: what the driver has set on its control queue. Also the runtime form, since it is
/// nothing but that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    pub(crate) mac: MacAddress,
    pub(crate) active_pairs: u16,
    pub(crate) is_promiscuous: bool,
    pub(crate) takes_all_multicast: bool,
    /// Feature bits of the offloads that the driver chose; `None` while it takes all that it negotiated.
    pub(crate) offloads: Option<u64>,
}

impl NetState {
    /// Before the driver has said anything.
    pub fn initial(mac: MacAddress) -> NetState {
        NetState { mac, active_pairs: 1, is_promiscuous: false, takes_all_multicast: false, offloads: None }
    }

    /// Whether a card with `pairs` queue pairs could be in this state.
    pub fn check(&self, pairs: u16) -> Result<(), SnapshotError> {
        if !(1..=pairs).contains(&self.active_pairs) {
            return Err(SnapshotError::Invalid("more queue pairs in use than the card has, or none"));
        }
        if self.offloads.is_some_and(|bits| bits & !GUEST_OFFLOADS != 0) {
            return Err(SnapshotError::Invalid("offloads that do not exist"));
        }
        Ok(())
    }

    /// What the driver takes unfinished, given the features it negotiated.
    pub fn accepted_offloads(&self, features: u64) -> Offloads {
        let bits = features & self.offloads.unwrap_or(GUEST_OFFLOADS);
        Offloads {
            checksum: bits & F_GUEST_CSUM != 0,
            tso4: bits & F_GUEST_TSO4 != 0,
            tso6: bits & F_GUEST_TSO6 != 0,
            tso_ecn: bits & F_GUEST_ECN != 0,
        }
    }
}
