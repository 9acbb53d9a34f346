//! Names and words that nobody can guess.

use crate::InstanceError;

/// Letters that cannot be taken for one another, on any keyboard.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A UUID of version 4 (RFC 9562, section 5.4).
pub fn uuid() -> Result<String, InstanceError> {
    let mut bytes = random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(image_model::uuid_text(&bytes))
}

/// A password of 60 bits, such as `k3vd-93qm-xw7e`.
pub fn password() -> Result<String, InstanceError> {
    let letters = random::<12>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    Ok(letters.chunks(4).map(|chunk| chunk.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
}

fn random<const N: usize>() -> Result<[u8; N], InstanceError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| InstanceError::Refused(format!("the host gives no random bytes: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_their_form_and_differ() {
        let (one, two) = (uuid().unwrap(), uuid().unwrap());
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
        assert_ne!(one, two);
        let password = password().unwrap();
        assert_eq!(password.len(), 14);
        assert!(password.split('-').all(|part| part.len() == 4), "{password}");
    }
}
