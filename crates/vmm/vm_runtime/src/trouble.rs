//! What a person is told of failures of the host's, once each, and of a machine that is paused because its guest failed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use device_model::{Consequence, HostFailure};
use vm_spec::{DeviceId, VmName, VmSpec};

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

/// How a person reaches the VM while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// By its name: `yagura resume web1`.
    ByName,
    /// At a control socket that he chose.
    At(PathBuf),
    /// By signals alone.
    #[default]
    Signals,
}

/// One line: which device, what is wrong, and what follows.
pub(crate) fn in_words(failure: &HostFailure, spec: &VmSpec, reach: &Reach) -> String {
    let HostFailure { device, what, consequence } = failure;
    let device = device_name(device, spec);
    let resumed = match reach {
        Reach::ByName => format!(", and goes on without a loss after 'yagura resume {}'", spec.name),
        Reach::At(path) => format!(", and goes on without a loss after PUT /resume at {}", path.display()),
        Reach::Signals => String::new(),
    };
    match consequence {
        Consequence::Told => format!("{device}: {what}"),
        Consequence::Held => format!("{device}: {what}; the machine is paused{resumed}"),
        Consequence::Fatal => format!("{device}: {what}; the machine cannot go on"),
    }
}

/// Why a machine is paused whose guest panicked.
pub(crate) const PANICKED: &str = "the guest's kernel panicked";

/// One line: that the machine is paused after a panic, and how it goes on.
pub(crate) fn panic_in_words(name: &VmName, reach: &Reach) -> String {
    let ways = match reach {
        Reach::ByName => format!(
            "'yagura reset {name}' starts it anew, 'yagura stop --force {name}' ends it, and 'yagura resume {name}' leaves it to its \
             own panic= rules"
        ),
        Reach::At(path) => format!(
            "at {}, PUT /reset starts it anew, PUT /stop ends it, and PUT /resume leaves it to its own panic= rules",
            path.display()
        ),
        Reach::Signals => {
            "a signal (SIGTERM) leaves it to its own panic= rules, and a second one ends it".to_owned()
        }
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
        (_, Some(card)) => format!("network card on {}", card.interface()),
        _ => format!("device {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_machine_s_line_says_what_goes_on_from_there() {
        let line = |reach| panic_in_words(&"web1".parse().unwrap(), &reach);
        let [named, at, signals] = [Reach::ByName, Reach::At("/run/web1".into()), Reach::Signals].map(line);
        assert!(named.contains("paused") && named.contains("'yagura reset web1'"), "{named}");
        assert!(at.contains("paused") && at.contains("at /run/web1, PUT /reset"), "{at}");
        assert!(signals.contains("SIGTERM") && !signals.contains("PUT"), "{signals}");
    }
}
