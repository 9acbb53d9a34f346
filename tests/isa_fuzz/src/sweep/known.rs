//! Encodings about which the engine and some processor are known to differ, with reasons.

use std::io;

use iced_x86::Instruction;
use regex_lite::Regex;

/// A line of the list: the mode, a regular expression for bytes and name, and why.
pub struct Known {
    bits: Option<u32>,
    pattern: Regex,
    text: String,
}

impl Known {
    /// The list that this crate comes with.
    pub fn list() -> io::Result<Vec<Known>> {
        Known::parse(include_str!("../../tests/sweep_differs.txt"))
    }

    /// Parses a list. Each line is the mode (64, 32 for compatibility mode, or `any`), a regular expression for 15 bytes
    /// in hexadecimal, the instruction first, and its name (iced's Code), all with spaces between them, and the reason, with
    /// semicolons between. `#` begins a comment.
    fn parse(list: &str) -> io::Result<Vec<Known>> {
        list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Known::line).collect()
    }

    fn line(text: &str) -> io::Result<Known> {
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidData, format!("not mode; pattern; reason: {text}"));
        let mut fields = text.splitn(3, ';').map(str::trim);
        let (Some(bits), Some(pattern), Some(reason)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(wrong());
        };
        let bits = if bits == "any" { None } else { Some(bits.parse().map_err(|_| wrong())?) };
        let pattern = Regex::new(pattern).map_err(|_| wrong())?;
        if reason.is_empty() {
            return Err(wrong());
        }
        Ok(Known { bits, pattern, text: text.to_owned() })
    }

    /// Whether an encoding belongs to this line.
    pub fn has(&self, bits: u32, bytes: &str, insn: &Instruction) -> bool {
        self.bits.is_none_or(|own| own == if bits == 64 { 64 } else { 32 })
            && self.pattern.is_match(&format!("{bytes} {:?}", insn.code()))
    }

    /// The line.
    pub fn text(&self) -> &str {
        &self.text
    }
}
