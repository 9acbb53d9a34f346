//! Ethernet addresses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The address of one card: not a group's, and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u8; 6]", into = "[u8; 6]")]
pub struct MacAddress([u8; 6]);

/// Not the address of one card: all zero, or the group bit (the lowest of the first byte) is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a card's MAC address is not zero, and its first byte is even")]
pub struct BadMac;

impl TryFrom<[u8; 6]> for MacAddress {
    type Error = BadMac;

    fn try_from(bytes: [u8; 6]) -> Result<MacAddress, BadMac> {
        if bytes[0] & 1 != 0 || bytes == [0; 6] { Err(BadMac) } else { Ok(MacAddress(bytes)) }
    }
}

impl From<MacAddress> for [u8; 6] {
    fn from(mac: MacAddress) -> [u8; 6] {
        mac.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_one_card_are_taken() {
        assert_eq!(
            MacAddress::try_from([0x52, 0x54, 0, 0xab, 0xcd, 0xf]).unwrap().to_string(),
            "52:54:00:ab:cd:0f"
        );
        assert_eq!(MacAddress::try_from([0; 6]), Err(BadMac));
        assert_eq!(MacAddress::try_from([0xff; 6]), Err(BadMac));
    }
}
