//! The host's memory, from `/proc/meminfo` (proc_meminfo(5)).

use serde::Serialize;

/// Where Linux shows it.
pub const PATH: &str = "/proc/meminfo";

/// RAM of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryFacts {
    /// All that the kernel manages.
    pub total_bytes: u64,
    /// What new processes can have without swapping, by the kernel's estimate.
    pub available_bytes: u64,
}

/// Huge pages that the administrator has set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HugePageFacts {
    /// Set aside.
    pub total: u64,
    /// Not yet used by anybody.
    pub free: u64,
    /// Size of one; 0 where the kernel has none.
    pub size_bytes: u64,
}

impl MemoryFacts {
    /// `None` when the text is not what Linux shows.
    pub fn parse(meminfo: &str) -> Option<MemoryFacts> {
        let total_bytes = kibibytes(meminfo, "MemTotal:")?;
        // Kernels before 3.14 make no estimate.
        let available_bytes = kibibytes(meminfo, "MemAvailable:").unwrap_or(total_bytes);
        Some(MemoryFacts { total_bytes, available_bytes })
    }
}

impl HugePageFacts {
    /// All zero for a kernel without huge pages.
    pub fn parse(meminfo: &str) -> HugePageFacts {
        HugePageFacts {
            total: number(meminfo, "HugePages_Total:").unwrap_or(0),
            free: number(meminfo, "HugePages_Free:").unwrap_or(0),
            size_bytes: kibibytes(meminfo, "Hugepagesize:").unwrap_or(0),
        }
    }
}

fn number(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kibibytes(meminfo: &str, key: &str) -> Option<u64> {
    number(meminfo, key)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "MemTotal:       24684084 kB\nMemFree:        21466664 kB\nMemAvailable:   24208808 kB\n\
                        HugePages_Total:       4\nHugePages_Free:        3\nHugepagesize:       2048 kB\n";

    #[test]
    fn sizes_come_from_the_kernel_s_table() {
        let facts = MemoryFacts::parse(TEXT).unwrap();
        assert_eq!(facts.total_bytes, 24_684_084 * 1024);
        assert_eq!(facts.available_bytes, 24_208_808 * 1024);
        assert_eq!(HugePageFacts::parse(TEXT), HugePageFacts { total: 4, free: 3, size_bytes: 2 << 20 });
    }

    #[test]
    fn other_texts_are_no_facts() {
        for text in ["", "MemTotal:", "MemTotal: many kB", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(MemoryFacts::parse(text), None, "{text}");
        }
        assert_eq!(HugePageFacts::parse(""), HugePageFacts::default());
    }
}
