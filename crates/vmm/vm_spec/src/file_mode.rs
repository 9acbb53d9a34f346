//! Permissions of files that are made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BadValue;

/// Who may read and write a file, as chmod(1) has it in octal digits. Its owner may do both; nobody may execute it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMode(u32);

impl FileMode {
    /// The permission bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Default for FileMode {
    /// The owner alone: a guest's disk or log may hold keys.
    fn default() -> FileMode {
        FileMode(0o600)
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for FileMode {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<FileMode, BadValue> {
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
        match bits {
            Some(bits) if bits & 0o600 == 0o600 && bits & !0o666 == 0 => Ok(FileMode(bits)),
            Some(_) => Err(BadValue(format!(
                "mode {text}: the owner reads and writes the file, others may, and nobody executes it; write 0600, 0640 or 0644"
            ))),
            None => Err(BadValue(format!(
                "'{text}' is not a file's mode; write it in octal digits, such as 0640"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_leave_the_owner_in() {
        for (text, bits) in [("0600", 0o600), ("640", 0o640), ("0644", 0o644), ("666", 0o666)] {
            let mode: FileMode = text.parse().unwrap();
            assert_eq!(mode.bits(), bits);
            assert_eq!(mode.to_string(), format!("{bits:04o}"));
        }
        for bad in
            ["", "6", "0x600", "rw", "+600", "0888", "00600", "0400", "0000", "0755", "4600", "7777", "u=rw"]
        {
            assert!(bad.parse::<FileMode>().is_err(), "{bad}");
        }
    }
}
