//! Counts and sizes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BadValue;

/// Number of vCPUs, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuCount(u32);

impl CpuCount {
    /// Most vCPUs of a VM.
    pub const MAX: u32 = 64;

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for CpuCount {
    /// One.
    fn default() -> Self {
        CpuCount(1)
    }
}

impl TryFrom<u64> for CpuCount {
    type Error = BadValue;

    fn try_from(count: u64) -> Result<Self, BadValue> {
        match u32::try_from(count) {
            Ok(count @ 1..=Self::MAX) => Ok(CpuCount(count)),
            _ => Err(BadValue(format!("{count} CPUs: a VM has 1 to {}", Self::MAX))),
        }
    }
}

impl FromStr for CpuCount {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let count: u64 = text.parse().map_err(|_| BadValue(format!("'{text}' is not a number of CPUs")))?;
        count.try_into()
    }
}

/// RAM of a VM in bytes: a multiple of 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemorySize(u64);

impl MemorySize {
    const STEP: u64 = 1 << 20;
    /// Larger than any machine; keeps address arithmetic far from its end.
    const MAX: u64 = 1 << 44;

    /// The size.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for MemorySize {
    /// 512 MiB.
    fn default() -> Self {
        MemorySize(512 << 20)
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 30) == 0 => write!(f, "{}G", bytes >> 30),
            bytes => write!(f, "{}M", bytes >> 20),
        }
    }
}

impl FromStr for MemorySize {
    type Err = BadValue;

    /// A number with `K`, `M`, `G` or `T` (powers of 1024, an `iB` or `B` after them is accepted).
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let not_a_size = || BadValue(format!("'{text}' is not a memory size; write 512M or 4G"));
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| not_a_size())?;
        let shift =
            match text[digits..].trim().to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
                "K" => 10,
                "M" => 20,
                "G" => 30,
                "T" => 40,
                "" => return Err(BadValue(format!("'{text}' has no unit; write 512M or 4G"))),
                _ => return Err(not_a_size()),
            };
        let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= Self::MAX);
        let bytes =
            bytes.ok_or_else(|| BadValue(format!("{text} of memory is more than any machine has")))?;
        if bytes == 0 || bytes % Self::STEP != 0 {
            return Err(BadValue(format!("{text} of memory: it takes whole MiB, at least 1M")));
        }
        Ok(MemorySize(bytes))
    }
}

/// Length of a disk in bytes: whole sectors of 512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DiskSize(u64);

impl DiskSize {
    /// Larger than any disk; keeps file offsets far from their end.
    const MAX: u64 = 1 << 60;

    /// The size.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for DiskSize {
    type Err = BadValue;

    /// A number with `B` (bytes), `K`, `M`, `G`, `T` or `P` (powers of 1024, an `iB` or `B` after them is accepted).
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let not_a_size = || BadValue(format!("'{text}' is not the size of a disk; write 512M or 10G"));
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| not_a_size())?;
        let shift = match text[digits..].trim().to_ascii_uppercase().as_str() {
            "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            "P" | "PB" | "PIB" => 50,
            "" => return Err(BadValue(format!("'{text}' has no unit; write 512M or 10G, or B for bytes"))),
            _ => return Err(not_a_size()),
        };
        let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= Self::MAX);
        let bytes = bytes.ok_or_else(|| BadValue(format!("a disk of {text} is larger than any")))?;
        if bytes == 0 || !bytes.is_multiple_of(512) {
            return Err(BadValue(format!(
                "a disk of {text}: it takes whole sectors of 512 bytes, at least one"
            )));
        }
        Ok(DiskSize(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_whole_mebibytes() {
        let size = |text: &str| text.parse::<MemorySize>().map(MemorySize::bytes);
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("2048K"), Ok(2 << 20));
        for bad in ["", "M", "512", "0M", "100K", "-1G", "1.5G", "99999999T", "99999999999999999999G", "12X"]
        {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!("3072M".parse::<MemorySize>().unwrap().to_string(), "3G");
    }

    #[test]
    fn a_vm_has_one_to_64_cpus() {
        assert_eq!("4".parse::<CpuCount>().unwrap().get(), 4);
        for bad in ["0", "65", "-1", "two", ""] {
            assert!(bad.parse::<CpuCount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn disks_have_sizes_in_whole_sectors() {
        let bytes = |text: &str| text.parse::<DiskSize>().unwrap().bytes();
        assert_eq!((bytes("10G"), bytes("1 kib"), bytes("512B")), (10 << 30, 1024, 512));
        let wrong = |text: &str| text.parse::<DiskSize>().unwrap_err().0;
        assert!(wrong("10").contains("no unit") && wrong("0G").contains("at least one"));
        assert!(wrong("513B").contains("512 bytes") && wrong("9999999P").contains("larger than any"));
        assert!(wrong("G").contains("not the size") && wrong("1X").contains("not the size"));
        assert!(wrong("-1G").contains("not the size"));
    }
}
