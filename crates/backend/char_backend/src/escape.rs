//! Keys that are for us and not for the guest: Ctrl-] and then `q` quits, Ctrl-] twice sends one.

/// Ctrl-] as it arrives from a terminal.
pub const ESCAPE: u8 = 0x1d;

/// Remembers whether the last key was Ctrl-].
#[derive(Debug, Default)]
pub struct EscapeFilter {
    is_escaped: bool,
}

/// What is left of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// Bytes for the guest, at the start of the buffer.
    pub len: usize,
    /// Quitting was asked for.
    pub quits: bool,
}

impl EscapeFilter {
    /// Takes our keys out of `input`. Any other key after Ctrl-] is taken out with it.
    pub fn filter(&mut self, input: &mut [u8]) -> Filtered {
        let mut filtered = Filtered { len: 0, quits: false };
        for index in 0..input.len() {
            let key = input[index];
            let was_escaped = std::mem::take(&mut self.is_escaped);
            match (was_escaped, key) {
                (false, ESCAPE) => self.is_escaped = true,
                (true, b'q' | b'Q') => filtered.quits = true,
                (false, _) | (true, ESCAPE) => {
                    input[filtered.len] = key;
                    filtered.len += 1;
                }
                (true, _) => {}
            }
        }
        filtered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(filter: &mut EscapeFilter, input: &[u8]) -> (Vec<u8>, bool) {
        let mut input = input.to_vec();
        let Filtered { len, quits } = filter.filter(&mut input);
        input.truncate(len);
        (input, quits)
    }

    #[test]
    fn our_keys_are_taken_out() {
        let mut filter = EscapeFilter::default();
        assert_eq!(run(&mut filter, b"q\x1b]q"), (b"q\x1b]q".to_vec(), false));
        assert_eq!(run(&mut filter, b"a\x1d\x1db"), (b"a\x1db".to_vec(), false));
        assert_eq!(run(&mut filter, b"a\x1dxb"), (b"ab".to_vec(), false));
        assert_eq!(run(&mut filter, b"a\x1d"), (b"a".to_vec(), false));
        assert_eq!(run(&mut filter, b"qb"), (b"b".to_vec(), true));
        assert_eq!(run(&mut filter, b"q"), (b"q".to_vec(), false));
    }
}
