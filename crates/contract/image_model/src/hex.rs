//! Hexadecimal digits, and UUIDs written in them.

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A UUID as it is written (RFC 9562, section 4): bytes in the order in which they stand.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let digits = hex(uuid);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// The bytes of so many digits; nothing where they are none, or half a byte is left.
pub fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| Some((value(pair[0])? * 16 + value(pair[1])?) as u8);
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_their_order() {
        let bytes: [u8; 16] = std::array::from_fn(|index| index as u8 * 17);
        assert_eq!(hex(&bytes[..3]), "001122");
        assert_eq!(uuid_text(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(from_hex(&hex(&bytes)), Some(bytes.to_vec()));
        for bad in ["0", "0g", "\u{e9}"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
