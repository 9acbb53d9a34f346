//! Which life of a machine this is (Microsoft, "Virtual Machine Generation ID").

use std::fmt;
use std::io;

/// 16 bytes that stay the same while a guest lives one life, over resets too, and are others when it goes on from a snapshot,
/// from which it may have gone on before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GenerationId([u8; 16]);

impl GenerationId {
    /// One that no machine has had.
    ///
    /// # Errors
    /// The host gives no random bytes.
    pub fn fresh() -> io::Result<GenerationId> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(GenerationId(bytes))
    }

    /// As the guest finds it in its memory.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Nobody outside the guest is to know what its random numbers come from.
impl fmt::Debug for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GenerationId")
    }
}
