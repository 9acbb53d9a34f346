//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The Ethernet address of one card (IEEE 802, 8.1): not a group's, and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u8; 6]", into = "[u8; 6]")]
pub struct MacAddress([u8; 6]);

/// Not the address of one card: why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMac(pub String);

impl MacAddress {
    /// A locally administered address: 52, and what it is not alone in.
    pub const fn locally_administered([a, b, c, d, e]: [u8; 5]) -> MacAddress {
        MacAddress([0x52, a, b, c, d, e])
    }
}

impl TryFrom<[u8; 6]> for MacAddress {
    type Error = BadMac;

    fn try_from(bytes: [u8; 6]) -> Result<MacAddress, BadMac> {
        let mac = MacAddress(bytes);
        if bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(BadMac(format!(
                "MAC address {mac} is not that of one card (it is a group's, or zero)"
            )));
        }
        Ok(mac)
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

impl FromStr for MacAddress {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<MacAddress, BadMac> {
        let bad = || BadMac(format!("'{text}' is not a MAC address; write 52:54:00:12:34:56"));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let is_byte =
                |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            let part = parts.next().filter(is_byte).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        bytes.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_one_card_are_taken() {
        let card = MacAddress::try_from([0x52, 0x54, 0, 0xab, 0xcd, 0xf]).unwrap();
        assert_eq!(card.to_string(), "52:54:00:ab:cd:0f");
        assert_eq!("52:54:00:AB:cd:0f".parse(), Ok(card));
        assert_eq!(MacAddress::locally_administered([0x54, 0, 0xab, 0xcd, 0xf]), card);
        for group in [[0; 6], [0xff; 6], [1, 0, 0, 0, 0, 0]] {
            assert!(MacAddress::try_from(group).unwrap_err().0.contains("group"));
        }
        for bad in ["", "1:2:3", "+2:54:00:ab:cd:ef", "52:54:00:ab:cd:ef:00", "52-54-00-ab-cd-ef"] {
            assert!(bad.parse::<MacAddress>().unwrap_err().0.contains("not a MAC address"), "{bad}");
        }
    }
}
