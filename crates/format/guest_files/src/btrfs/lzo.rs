//! LZO1X, unpacked, after Linux's description of the stream (Documentation/staging/lzo.rst).
//!
//! A stream is instructions. Each copies from what was unpacked before, at some distance, and then some bytes as
//! they stand. What an instruction below 16 means depends on how many bytes stood behind the one before.

use crate::FsError;

const BROKEN: FsError = FsError::Damaged("an LZO stream cannot be unpacked");

struct Stream<'a> {
    packed: &'a [u8],
    at: usize,
}

impl Stream<'_> {
    fn byte(&mut self) -> Result<usize, FsError> {
        let byte = *self.packed.get(self.at).ok_or(BROKEN)?;
        self.at += 1;
        Ok(usize::from(byte))
    }

    fn le16(&mut self) -> Result<usize, FsError> {
        Ok(self.byte()? | self.byte()? << 8)
    }

    /// A length in the low `bits` of an instruction, or, where these are zero, in the bytes that follow: each zero
    /// byte is worth 255.
    fn len(&mut self, instruction: usize, bits: u32) -> Result<usize, FsError> {
        let mask = (1 << bits) - 1;
        if instruction & mask != 0 {
            return Ok(instruction & mask);
        }
        let mut len = mask;
        loop {
            match self.byte()? {
                0 => len += 255,
                last => return Ok(len + last),
            }
        }
    }
}

/// Unpacks a segment behind what is in `raw`, `room` bytes at most. Copies reach back to the segment's start only.
pub(super) fn unpack(packed: &[u8], room: usize, raw: &mut Vec<u8>) -> Result<(), FsError> {
    let start = raw.len();
    let mut target = Target { raw, start, end: start + room };
    let mut stream = Stream { packed, at: 0 };
    // How many bytes stood behind the instruction before; 4 stands for a long run of them.
    let mut literals = 0;
    if let Some(&first) = packed.first().filter(|&&first| first > 17) {
        stream.at = 1;
        let len = usize::from(first) - 17;
        target.literals(&mut stream, len)?;
        literals = len.min(4);
    }
    loop {
        let instruction = stream.byte()?;
        let (distance, len, next) = match instruction {
            0..16 if literals == 0 => {
                let len = stream.len(instruction, 4)? + 3;
                target.literals(&mut stream, len)?;
                literals = 4;
                continue;
            }
            0..16 => {
                let distance = (stream.byte()? << 2) + (instruction >> 2);
                if literals == 4 {
                    (distance + 2049, 3, instruction & 3)
                } else {
                    (distance + 1, 2, instruction & 3)
                }
            }
            16..32 => {
                let len = stream.len(instruction, 3)? + 2;
                let low = stream.le16()?;
                let distance = ((instruction & 8) << 11) + (low >> 2);
                if distance == 0 {
                    // The end of the stream.
                    return if len == 3 { Ok(()) } else { Err(BROKEN) };
                }
                (distance + 16384, len, low & 3)
            }
            32..64 => {
                let len = stream.len(instruction, 5)? + 2;
                let low = stream.le16()?;
                ((low >> 2) + 1, len, low & 3)
            }
            64..128 => {
                let distance = (stream.byte()? << 3) + (instruction >> 2 & 7) + 1;
                (distance, 3 + (instruction >> 5 & 1), instruction & 3)
            }
            _ => {
                let distance = (stream.byte()? << 3) + (instruction >> 2 & 7) + 1;
                (distance, 5 + (instruction >> 5 & 3), instruction & 3)
            }
        };
        target.copy(distance, len)?;
        target.literals(&mut stream, next)?;
        literals = next;
    }
}

struct Target<'a> {
    raw: &'a mut Vec<u8>,
    start: usize,
    end: usize,
}

impl Target<'_> {
    fn literals(&mut self, stream: &mut Stream<'_>, len: usize) -> Result<(), FsError> {
        let bytes = stream.packed[stream.at..].get(..len).filter(|_| self.raw.len() + len <= self.end);
        self.raw.extend_from_slice(bytes.ok_or(BROKEN)?);
        stream.at += len;
        Ok(())
    }

    /// What is copied may be what is just being written.
    fn copy(&mut self, distance: usize, len: usize) -> Result<(), FsError> {
        let from = self.raw.len().checked_sub(distance).filter(|&from| from >= self.start);
        let from = from.filter(|_| self.raw.len() + len <= self.end).ok_or(BROKEN)?;
        for at in from..from + len {
            self.raw.push(self.raw[at]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8], room: usize) -> Option<Vec<u8>> {
        let mut raw = b"before".to_vec();
        unpack(packed, room, &mut raw).ok()?;
        Some(raw[6..].to_vec())
    }

    const END: [u8; 3] = [0x11, 0, 0];

    #[test]
    fn instructions_of_each_kind() {
        // 5 bytes as they stand, then 4 from 2 back.
        let packed = [&[17 + 5][..], b"abcde", &[64 | 1 << 2 | 1 << 5, 0], &END].concat();
        assert_eq!(unpacked(&packed, 100).unwrap(), b"abcdedede");
        // A run of 18 + 255 + 2 as they stand: two bytes of length.
        let text: Vec<u8> = (0..=255).cycle().take(15 + 255 + 2 + 3).collect();
        let packed = [&[0, 0, 2][..], &text, &END].concat();
        assert_eq!(unpacked(&packed, 1000).unwrap(), text);
        assert_eq!(unpacked(&packed, text.len() - 1), None);
        // A copy of 2 + 6 from 1 back, then a byte as it stands.
        let packed = [&[17 + 4][..], b"wxyz", &[32 | 6, 1, 0], b"!", &END].concat();
        assert_eq!(unpacked(&packed, 100).unwrap(), b"wxyzzzzzzzzz!");
    }

    #[test]
    fn streams_that_lie() {
        for packed in [
            &[][..],
            &[17 + 5, b'a'],
            // From before the segment.
            &[17 + 4, 1, 2, 3, 4, 64, 255, 0x11, 0, 0],
            // Without an end.
            &[17 + 4, 1, 2, 3, 4],
            &[0; 100],
            &[0x11, 4, 0],
        ] {
            assert_eq!(unpacked(packed, 1000), None);
        }
    }
}
