//! Counts and sizes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BadValue;

/// Number of vCPUs, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
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

impl From<CpuCount> for u64 {
    fn from(count: CpuCount) -> u64 {
        count.0.into()
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
    pub(crate) const MAX: u64 = 1 << 44;

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

    /// A number with `B`, `K`, `M`, `G`, `T` or `P` (powers of 1024, an `iB` or `B` after them is accepted).
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bytes = parse_bytes(text).map_err(|fault| match fault {
            SizeFault::NotASize => BadValue(format!("'{text}' is not a memory size; write 512M or 4G")),
            SizeFault::NoUnit(number) => {
                // As many gigabytes as a machine may have, or else megabytes.
                let meant = if number < 64 { "G" } else { "M" };
                BadValue(format!("'{text}' has no unit; did you mean {number}{meant}?"))
            }
            SizeFault::TooLarge => BadValue(format!("{text} of memory is more than any machine has")),
        })?;
        match bytes {
            bytes if bytes > Self::MAX => {
                Err(BadValue(format!("{text} of memory is more than any machine has")))
            }
            bytes if bytes == 0 || bytes % Self::STEP != 0 => {
                Err(BadValue(format!("{text} of memory: it takes whole MiB, at least 1M")))
            }
            bytes => Ok(MemorySize(bytes)),
        }
    }
}

/// Why a text is no number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizeFault {
    /// It is no number with a unit.
    NotASize,
    /// It is only a number, this one.
    NoUnit(u64),
    /// There are more than can be counted.
    TooLarge,
}

/// A number with its unit, in bytes.
fn parse_bytes(text: &str) -> Result<u64, SizeFault> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" => None,
        "B" => Some(0),
        "K" | "KB" | "KIB" => Some(10),
        "M" | "MB" | "MIB" => Some(20),
        "G" | "GB" | "GIB" => Some(30),
        "T" | "TB" | "TIB" => Some(40),
        "P" | "PB" | "PIB" => Some(50),
        _ => return Err(SizeFault::NotASize),
    };
    if number.is_empty() {
        return Err(SizeFault::NotASize);
    }
    let number: u64 = number.parse().map_err(|_| SizeFault::TooLarge)?;
    let shift = shift.ok_or(SizeFault::NoUnit(number))?;
    number.checked_mul(1 << shift).ok_or(SizeFault::TooLarge)
}

/// The cluster size of an image in bytes, as it is typed: a power of two from 512B to 2M.
///
/// # Errors
/// It is no such size.
pub fn cluster_bytes(text: &str) -> Result<u64, BadValue> {
    let bytes =
        parse_bytes(text).ok().filter(|bytes| bytes.is_power_of_two() && (512..=2 << 20).contains(bytes));
    bytes.ok_or_else(|| {
        BadValue(format!(
            "'{text}' is not a cluster size; write 64K, or another power of two from 512B to 2M"
        ))
    })
}

/// Length of a disk in bytes: whole sectors of 512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DiskSize(u64);

impl DiskSize {
    /// Larger than any disk; keeps file offsets far from their end.
    const MAX: u64 = 1 << 60;
    /// Smaller than what any file system takes. A disk can have less if that is said in bytes.
    const LEAST: u64 = 1 << 20;

    /// The size.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for DiskSize {
    type Err = BadValue;

    /// A number with `B` (bytes), `K`, `M`, `G`, `T` or `P` (powers of 1024, an `iB` or `B` after them is accepted).
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let too_large = || BadValue(format!("a disk of {text} is larger than any"));
        let bytes = parse_bytes(text).map_err(|fault| match fault {
            SizeFault::NotASize => BadValue(format!("'{text}' is not the size of a disk; write 512M or 10G")),
            // What a program counts in bytes, or else what a person leaves out.
            SizeFault::NoUnit(number) if number >= Self::LEAST => {
                BadValue(format!("'{text}' has no unit; did you mean {number}B, for bytes?"))
            }
            SizeFault::NoUnit(number) => BadValue(format!("'{text}' has no unit; did you mean {number}G?")),
            SizeFault::TooLarge => too_large(),
        })?;
        if bytes > Self::MAX {
            return Err(too_large());
        }
        if bytes == 0 || !bytes.is_multiple_of(512) {
            let why = "it takes whole sectors of 512 bytes, at least one";
            return Err(BadValue(format!("a disk of {text}: {why}{}", larger(text, bytes))));
        }
        if bytes < Self::LEAST && !is_in_bytes(text) {
            return Err(BadValue(format!(
                "a disk of {text} is smaller than any system takes{} ({bytes}B, if it is meant)",
                larger(text, bytes)
            )));
        }
        Ok(DiskSize(bytes))
    }
}

/// Whether a size is said in bytes.
fn is_in_bytes(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.trim().eq_ignore_ascii_case("B")
}

/// The same number of a unit that disks have, for one that is too small to be meant.
fn larger(text: &str, bytes: u64) -> String {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    match text[..digits].trim_start_matches('0') {
        "" => String::new(),
        _ if bytes >= DiskSize::LEAST => String::new(),
        number => format!("; did you mean {number}G?"),
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
        for (text, hint) in [("512", "did you mean 512M?"), ("4", "did you mean 4G?")] {
            assert_eq!(text.parse::<MemorySize>().unwrap_err().0, format!("'{text}' has no unit; {hint}"));
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
    fn clusters_are_powers_of_two() {
        assert_eq!((cluster_bytes("64K"), cluster_bytes("512B")), (Ok(64 << 10), Ok(512)));
        for bad in ["64", "1000B", "1536B", "4M", "256B", "", "K", "x"] {
            assert!(cluster_bytes(bad).unwrap_err().0.contains("64K"), "{bad}");
        }
    }

    #[test]
    fn disks_have_sizes_in_whole_sectors() {
        let bytes = |text: &str| text.parse::<DiskSize>().unwrap().bytes();
        assert_eq!((bytes("10G"), bytes("1024 kib"), bytes("512B")), (10 << 30, 1 << 20, 512));
        let wrong = |text: &str| text.parse::<DiskSize>().unwrap_err().0;
        assert!(wrong("0G").ends_with("at least one"));
        for (text, hint) in [
            ("10", "'10' has no unit; did you mean 10G?"),
            ("50", "'50' has no unit; did you mean 50G?"),
            ("10737418240", "'10737418240' has no unit; did you mean 10737418240B, for bytes?"),
            ("50B", "a disk of 50B: it takes whole sectors of 512 bytes, at least one; did you mean 50G?"),
            ("4K", "a disk of 4K is smaller than any system takes; did you mean 4G? (4096B, if it is meant)"),
        ] {
            assert_eq!(wrong(text), hint);
        }
        assert!(wrong("513B").contains("512 bytes") && wrong("9999999P").contains("larger than any"));
        assert!(wrong("G").contains("not the size") && wrong("1X").contains("not the size"));
        assert!(wrong("-1G").contains("not the size"));
    }
}
