//! 64-bit code in the making, for guests of several vCPUs.

/// Bytes of code.
#[derive(Debug, Default)]
pub struct Code {
    bytes: Vec<u8>,
}

impl Code {
    /// All of it.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Where the next byte goes.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Code {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends four bytes.
    pub fn word(&mut self, word: u32) -> &mut Code {
        self.bytes(&word.to_le_bytes())
    }

    /// A jump by 32 bits to a place before.
    pub fn jump_back(&mut self, opcode: &[u8], to: usize) {
        self.bytes(opcode);
        let by = to as i64 - (self.here() as i64 + 4);
        self.word(by as u32);
    }

    /// Lets the jump by 8 bits that ends at `from` lead here.
    pub fn land(&mut self, from: usize) {
        self.bytes[from - 1] = (self.here() - from) as u8;
    }

    /// Waits until all `vcpus` are here. The double word at linear address `counter`, below 2 GiB, counts them, and R13D
    /// says when it opens; both begin with 0.
    pub fn barrier(&mut self, counter: u64, vcpus: usize) {
        // lock inc dword [counter]; add r13d, vcpus
        self.bytes(&[0xf0, 0xff, 0x04, 0x25]).word(counter as u32).bytes(&[0x41, 0x83, 0xc5, vcpus as u8]);
        let again = self.here();
        // pause; cmp [counter], r13d; jl again
        self.bytes(&[0xf3, 0x90, 0x44, 0x39, 0x2c, 0x25]).word(counter as u32);
        self.jump_back(&[0x0f, 0x8c], again);
    }
}
