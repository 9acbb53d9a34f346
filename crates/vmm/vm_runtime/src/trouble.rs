//! What a person is told of failures of the host's, once each, and of a machine that is paused because its guest failed.

use std::collections::BTreeSet;
use std::path::Path;

use device_model::{Consequence, HostFailure};
use vm_spec::{DeviceId, VmSpec};

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

/// Why a machine is paused whose guest panicked.
pub(crate) const PANICKED: &str = "the guest's kernel panicked";

/// One line: that the machine is paused after a panic, and how it goes on.
pub(crate) fn panic_in_words(control: Option<&Path>) -> String {
    let ways = match control {
        Some(path) => format!(
            "at {}, PUT /reset starts it anew, PUT /stop ends it, and PUT /resume leaves it to its own panic= rules",
            path.display()
        ),
        None => "a signal (SIGTERM) leaves it to its own panic= rules, and a second one ends it".to_owned(),
    };
    format!("{PANICKED}; the machine is paused as it was then: {ways}")
}

/// A device as a person knows it: a disk by its path, a card by its interface.
fn device_name(id: &str, spec: &VmSpec) -> String {
    let at = |ids: Vec<DeviceId>| ids.iter().position(|other| other.as_str() == id);
    let disk = at(spec.disk_ids()).and_then(|index| spec.disks.get(index));
    let card = at(spec.nic_ids()).and_then(|index| spec.nets.get(index));
    match (disk, card) {
        (Some(disk), _) => format!("disk {}", disk.path.display()),
        (_, Some(card)) => format!("network card on {}", card.tap),
        _ => format!("device {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_machine_s_line_says_what_goes_on_from_there() {
        let line = panic_in_words(Some(Path::new("/run/web1")));
        assert!(line.contains("paused") && line.contains("at /run/web1, PUT /reset"), "{line}");
        let line = panic_in_words(None);
        assert!(line.contains("SIGTERM") && !line.contains("PUT"), "{line}");
    }
}
