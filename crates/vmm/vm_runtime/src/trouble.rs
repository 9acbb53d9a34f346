//! What a person is told of failures of the host's, once each.

use std::collections::BTreeSet;

use device_model::{Consequence, HostFailure};
use vm_spec::VmSpec;

/// Most different failures of a run that are told. Devices tell few kinds; this bounds a mistake of ours.
const TOLD_MAX: usize = 256;

/// What was told in this run, over all power cycles.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeSet<(String, String)>);

impl Told {
    /// Whether this failure is new.
    pub(crate) fn is_new(&mut self, failure: &HostFailure) -> bool {
        self.0.len() < TOLD_MAX && self.0.insert((failure.device.clone(), failure.what.clone()))
    }
}

/// One line: which device, what is wrong, and what follows.
pub(crate) fn in_words(failure: &HostFailure, spec: &VmSpec, control: Option<&str>) -> String {
    let HostFailure { device, what, consequence } = failure;
    let name = device_name(device, spec);
    match (consequence, control) {
        (Consequence::Told, _) => format!("{name}: {what}"),
        (Consequence::Held, Some(path)) => format!(
            "{name}: {what}; the machine is paused, and goes on without a loss after PUT /resume at {path}"
        ),
        (Consequence::Held, None) => format!("{name}: {what}; the machine is paused"),
        (Consequence::Fatal, _) => format!("{name}: {what}; the machine cannot go on"),
    }
}

/// A device as a person knows it: a disk by its path, a card by its interface.
fn device_name(id: &str, spec: &VmSpec) -> String {
    let index = |kind: &str| id.strip_prefix(kind)?.parse::<usize>().ok();
    let disk = index("block").and_then(|index| spec.disks.get(index));
    let card = index("net").and_then(|index| spec.nets.get(index));
    match (disk, card) {
        (Some(disk), _) => format!("disk {}", disk.path.display()),
        (_, Some(card)) => format!("network card on {}", card.tap),
        _ => format!("device {id}"),
    }
}
