//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of one card: not a group's, and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u8; 6]", into = "[u8; 6]")]
pub struct MacAddress([u8; 6]);

/// Not the address of one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMac {
    /// Not six two-digit hexadecimal numbers.
    #[error("a MAC address is written as 52:54:00:12:34:56")]
    Form,
    /// All zero, or the group bit (the lowest of the first byte) is set.
    #[error("a card's MAC address is not zero, and its first byte is even")]
    NotUnicast,
}

impl TryFrom<[u8; 6]> for MacAddress {
    type Error = BadMac;

    fn try_from(bytes: [u8; 6]) -> Result<MacAddress, BadMac> {
        if bytes[0] & 1 != 0 || bytes == [0; 6] { Err(BadMac::NotUnicast) } else { Ok(MacAddress(bytes)) }
    }
}

impl From<MacAddress> for [u8; 6] {
    fn from(mac: MacAddress) -> [u8; 6] {
        mac.0
    }
}

impl FromStr for MacAddress {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<MacAddress, BadMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let digits = parts.next().filter(|part| part.len() == 2 && part.is_ascii());
            let digits = digits.filter(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = digits.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or(BadMac::Form)?;
        }
        if parts.next().is_some() { Err(BadMac::Form) } else { bytes.try_into() }
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
    fn addresses_are_read_and_written_alike() {
        let mac: MacAddress = "52:54:00:AB:cd:0f".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:0f");
        for form in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0f:1", "5:54:00:ab:cd:0f", "+1:54:00:ab:cd:0f"] {
            assert_eq!(form.parse::<MacAddress>(), Err(BadMac::Form), "{form}");
        }
        for group in ["01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"] {
            assert_eq!(group.parse::<MacAddress>(), Err(BadMac::NotUnicast), "{group}");
        }
    }
}
