//! How much an import may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// What an import may use and make. An image that wants more is refused in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the child, in bytes.
    pub memory_bytes: u64,
    /// Processor time of the child.
    pub cpu: Duration,
    /// Time by the clock on the wall, from the start of the child to its end.
    pub time: Duration,
    /// Length that a disk may claim, in bytes.
    pub disk_bytes: u64,
    /// Data that comes out of one import, in bytes, holes not counted.
    pub data_bytes: u64,
    /// How many bytes of data may come out of each byte that goes in; the first GiB is free.
    pub expansion: u64,
    /// Entries of all layers together, those that later ones replace among them.
    pub entries: u64,
    /// Names, link targets and attributes of all entries, in bytes.
    pub names_bytes: u64,
    /// A kernel, in bytes.
    pub kernel_bytes: u64,
    /// An initial RAM disk, in bytes.
    pub initrd_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: GIB,
            cpu: Duration::from_secs(2 * 3600),
            time: Duration::from_secs(4 * 3600),
            disk_bytes: 16 * TIB,
            data_bytes: 2 * TIB,
            expansion: 200,
            entries: 1_000_000,
            names_bytes: 256 * MIB,
            kernel_bytes: 256 * MIB,
            initrd_bytes: GIB,
        }
    }
}

impl Limits {
    /// Bytes of data that an input of `source_bytes` may become.
    pub(crate) fn data_bytes_for(&self, source_bytes: u64) -> u64 {
        self.data_bytes.min(GIB.saturating_add(source_bytes.saturating_mul(self.expansion)))
    }
}

/// A number of bytes as a person reads it.
pub(crate) fn human(bytes: u64) -> String {
    for (unit, name) in [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= unit {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return if tenths.is_multiple_of(10) {
                format!("{} {name}", tenths / 10)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_are_bounded_by_what_goes_in_and_by_what_comes_out() {
        let limits = Limits { data_bytes: 10 * GIB, expansion: 100, ..Limits::default() };
        assert_eq!(limits.data_bytes_for(0), GIB);
        assert_eq!(limits.data_bytes_for(MIB), GIB + 100 * MIB);
        assert_eq!(limits.data_bytes_for(u64::MAX), 10 * GIB);
    }

    #[test]
    fn lengths_are_words() {
        assert_eq!(human(1 << 60), "1048576 TiB");
        assert_eq!(human(1536 * MIB), "1.5 GiB");
        assert_eq!(human(17), "17 bytes");
    }
}
