//! What the control socket shows of a running VM.

use std::fs;

use machine::Backends;
use vcpu_model::Vm;
use vm_control::{CardStatus, Counters, DiskStatus, Figures};
use vm_spec::{Blueprint, VmSpec};

use crate::cycle::PowerCycle;

/// Counters: exits by kind, what is kept of guest code, device I/O, and the host's view of this process's memory.
pub(crate) fn counters<V: Vm>(cycle: &PowerCycle<V>) -> Counters {
    let devices = cycle.machine.figures().into_iter();
    Counters {
        exits: figures(cycle.exits()),
        code: figures(cycle.code()),
        devices: devices.map(|(id, counts)| (id, figures(counts))).collect(),
        memory: memory(),
    }
}

/// The machine's disks.
pub(crate) fn disks(spec: &VmSpec, backends: &Backends) -> Vec<DiskStatus> {
    let status = spec.disk_ids().into_iter().zip(&spec.disks).filter_map(|(id, disk)| {
        Some(DiskStatus {
            size_bytes: backends.disk(&id)?.size_bytes(),
            id: id.to_string(),
            path: disk.path.display().to_string(),
            format: disk.format.name().to_owned(),
            readonly: disk.readonly,
        })
    });
    status.collect()
}

/// The machine's network cards, with the addresses that its guest knows.
pub(crate) fn cards(spec: &VmSpec, blueprint: &Blueprint) -> Vec<CardStatus> {
    let status = spec.nic_ids().into_iter().zip(&spec.nets).filter_map(|(id, card)| {
        let (_, nic) = blueprint.nics().find(|(other, _)| **other == id)?;
        Some(CardStatus {
            id: id.to_string(),
            interface: card.interface().to_owned(),
            mac: nic.mac.to_string(),
        })
    });
    status.collect()
}

fn figures(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Figures {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Memory in bytes; a figure that this kernel does not have is left out.
fn memory() -> Figures {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let ksm = fs::read_to_string("/proc/self/ksm_stat").unwrap_or_default();
    // Kernels before 6.6 have the number of pages in a file of its own.
    let alone = || fs::read_to_string("/proc/self/ksm_merging_pages").ok()?.trim().parse().ok();
    let merged_pages = field(&ksm, "ksm_merging_pages").or_else(alone);
    let kib = |name| field(&rollup, name).map(|kib| kib * 1024);
    let page = rustix::param::page_size() as u64;
    let known = [
        ("resident_bytes", kib("Rss:")),
        ("proportional_bytes", kib("Pss:")),
        ("private_dirty_bytes", kib("Private_Dirty:")),
        ("merged_bytes", merged_pages.map(|pages| pages * page)),
        ("merge_profit_bytes", field(&ksm, "ksm_process_profit")),
    ];
    figures(known.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// The number after `name` at the start of a line. Negative numbers (a profit may be one) count as none.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_ascii_whitespace().next() == Some(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "Rss:      12 kB\nRss_Huge:  3 kB\nksm_process_profit -5\nksm_merging_pages 7\n";
        assert_eq!(field(text, "Rss:"), Some(12));
        assert_eq!(field(text, "ksm_merging_pages"), Some(7));
        assert_eq!(field(text, "ksm_process_profit"), None);
        assert_eq!(field(text, "ksm"), None);
    }

    #[test]
    fn this_process_has_resident_memory() {
        assert!(memory()["resident_bytes"] > 0);
    }
}
