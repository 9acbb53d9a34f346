//! Whether what is behind a machine's devices can be what its guest was told.

use std::collections::BTreeMap;

use super::{BackendFacts, Blueprint, DeviceKind, DiskDevice, DiskFacts, NicDevice, NicFacts};
use crate::DeviceId;

/// A device of a machine that cannot be what its guest knows it as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The machine has it, and nothing is behind it.
    #[error("the machine has device {0}, and nothing is given that would be behind it")]
    Missing(DeviceId),
    /// Something is given for it, and the machine does not have it.
    #[error("{0} is given, and the machine has no such device")]
    Foreign(DeviceId),
    /// What is behind it cannot do what the guest was told.
    #[error("device {id}: {what}")]
    Lacking {
        /// The device.
        id: DeviceId,
        /// What is wrong.
        what: String,
    },
}

impl Blueprint {
    /// Checks that `backends` are those of this machine, and can do all that its guest was told. What they can do
    /// besides does not matter: the guest is not told of it.
    ///
    /// # Errors
    /// One does not fit, is missing, or is one too many.
    pub fn check_fit(&self, backends: &BackendFacts) -> Result<(), Misfit> {
        pairs(self.disks(), &backends.disks, disk_lacks)?;
        pairs(self.nics(), &backends.nics, nic_lacks)?;
        let has_console = self.devices.iter().any(|device| device.kind == DeviceKind::Console);
        match (has_console, backends.console) {
            (true, false) => Err(Misfit::Missing(DeviceId::console())),
            (false, true) => Err(Misfit::Foreign(DeviceId::console())),
            _ => Ok(()),
        }
    }
}

/// Each device with what is behind it.
fn pairs<'b, D: 'b, F>(
    devices: impl Iterator<Item = (&'b DeviceId, &'b D)>,
    facts: &BTreeMap<DeviceId, F>,
    lacks: impl Fn(&D, &F) -> Option<String>,
) -> Result<(), Misfit> {
    let mut foreign: Vec<&DeviceId> = facts.keys().collect();
    for (id, device) in devices {
        let behind = facts.get(id).ok_or_else(|| Misfit::Missing(id.clone()))?;
        foreign.retain(|other| *other != id);
        if let Some(what) = lacks(device, behind) {
            return Err(Misfit::Lacking { id: id.clone(), what });
        }
    }
    foreign.first().map_or(Ok(()), |id| Err(Misfit::Foreign((*id).clone())))
}

fn disk_lacks(disk: &DiskDevice, facts: &DiskFacts) -> Option<String> {
    let told = disk.block_size_bytes;
    if told != facts.block_size_bytes {
        let found = facts.block_size_bytes;
        return Some(format!(
            "its blocks are of {told} bytes, and those of the disk that is given of {found}"
        ));
    }
    if disk.readonly != facts.readonly {
        let (told, found) = if disk.readonly { ("read only", "written") } else { ("written", "read only") };
        return Some(format!(
            "the guest knows it as a disk that can be {told}, and the one that is given can be {found}"
        ));
    }
    let lacking = [
        ("discard blocks", disk.features.discard && !facts.features.discard),
        ("write zeroes", disk.features.write_zeroes && !facts.features.write_zeroes),
    ];
    let (what, _) = lacking.into_iter().find(|(_, lacks)| *lacks)?;
    Some(format!("the guest was told that it can {what}, which the disk that is given cannot"))
}

fn nic_lacks(nic: &NicDevice, facts: &NicFacts) -> Option<String> {
    let (told, found) = (nic.queue_pairs, facts.queue_pairs);
    if told > found {
        return Some(format!("it has {told} queue pairs, and the interface that is given has {found}"));
    }
    let (told, found) = (&nic.features, &facts.features);
    if let (Some(told), Some(found)) = (told.mtu_bytes, found.mtu_bytes)
        && told > found
    {
        return Some(format!("it takes packets of {told} bytes, and the interface that is given of {found}"));
    }
    let lacking = [
        ("checksums", told.checksum && !found.checksum),
        ("segmentation of TCP over IPv4", told.tso4 && !found.tso4),
        ("segmentation of TCP over IPv6", told.tso6 && !found.tso6),
        ("segmentation with congestion notification", told.tso_ecn && !found.tso_ecn),
    ];
    let (what, _) = lacking.into_iter().find(|(_, lacks)| *lacks)?;
    Some(format!("the guest was told that it does {what}, which the interface that is given does not"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BootProtocol;
    use crate::blueprint::{Boot, DiskFeatures, MemoryMap, NicFeatures, PciDevice};

    fn blueprint() -> Blueprint {
        let disk = DiskDevice {
            queues: 1,
            block_size_bytes: 512,
            readonly: false,
            serial: None,
            features: DiskFeatures { discard: true, write_zeroes: false },
        };
        let features =
            NicFeatures { checksum: true, tso4: true, mtu_bytes: Some(1500), ..NicFeatures::default() };
        let nic = NicDevice { mac: [2, 0, 0, 0, 0, 1].try_into().unwrap(), queue_pairs: 2, features };
        let device = |id: &str, slot, kind| PciDevice { id: id.parse().unwrap(), slot, kind };
        Blueprint {
            boot: Boot::Kernel { protocol: BootProtocol::Auto, command_line: String::new() },
            cpus: Default::default(),
            cpuid: vec![],
            tsc_khz: None,
            memory: MemoryMap::of(Default::default()),
            chips: vec![],
            devices: vec![device("a", 1, DeviceKind::Disk(disk)), device("n", 2, DeviceKind::Nic(nic))],
            generation_id: None,
        }
    }

    fn facts() -> (DiskFacts, NicFacts) {
        let features = DiskFeatures { discard: true, write_zeroes: true };
        let disk = DiskFacts { block_size_bytes: 512, readonly: false, features };
        let features =
            NicFeatures { checksum: true, tso4: true, tso6: true, tso_ecn: true, mtu_bytes: Some(9000) };
        (disk, NicFacts { queue_pairs: 4, features })
    }

    fn verdict(disks: &[(&str, DiskFacts)], nics: &[(&str, NicFacts)]) -> Result<(), String> {
        let backends = BackendFacts {
            command_line: None,
            disks: disks.iter().map(|(id, facts)| (id.parse().unwrap(), *facts)).collect(),
            nics: nics.iter().map(|(id, facts)| (id.parse().unwrap(), *facts)).collect(),
            console: false,
        };
        blueprint().check_fit(&backends).map_err(|misfit| misfit.to_string())
    }

    #[test]
    fn more_is_no_fault_and_less_is_named() {
        let (disk, nic) = facts();
        assert_eq!(verdict(&[("a", disk)], &[("n", nic)]), Ok(()));
        let features = NicFeatures { mtu_bytes: None, ..nic.features };
        assert_eq!(verdict(&[("a", disk)], &[("n", NicFacts { features, ..nic })]), Ok(()));
        for (disk, why) in [
            (DiskFacts { block_size_bytes: 4096, ..disk }, "blocks are of 512 bytes"),
            (DiskFacts { readonly: true, ..disk }, "given can be read only"),
            (DiskFacts { features: DiskFeatures::default(), ..disk }, "can discard blocks"),
        ] {
            let error = verdict(&[("a", disk)], &[("n", nic)]).unwrap_err();
            assert!(error.starts_with("device a: ") && error.contains(why), "{error}");
        }
        let with = |features| NicFacts { features, ..nic };
        for (nic, why) in [
            (NicFacts { queue_pairs: 1, ..nic }, "2 queue pairs"),
            (with(NicFeatures { mtu_bytes: Some(1400), ..nic.features }), "packets of 1500 bytes"),
            (with(NicFeatures { checksum: false, ..nic.features }), "does checksums"),
            (with(NicFeatures { tso4: false, ..nic.features }), "TCP over IPv4"),
        ] {
            let error = verdict(&[("a", disk)], &[("n", nic)]).unwrap_err();
            assert!(error.starts_with("device n: ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn each_device_has_one_backend_and_each_backend_one_device() {
        let (disk, nic) = facts();
        assert!(verdict(&[], &[("n", nic)]).unwrap_err().contains("device a, and nothing"));
        assert!(verdict(&[("b", disk)], &[("n", nic)]).unwrap_err().contains("device a, and nothing"));
        let error = verdict(&[("a", disk), ("b", disk)], &[("n", nic)]).unwrap_err();
        assert_eq!(error, "b is given, and the machine has no such device");
        assert!(verdict(&[("a", disk)], &[]).unwrap_err().contains("device n, and nothing"));
    }

    #[test]
    fn a_console_has_a_backend_and_a_backend_a_console() {
        let console = PciDevice { id: DeviceId::console(), slot: 3, kind: DeviceKind::Console };
        let (without, with) = (vec![], vec![console]);
        for (devices, console, why) in [
            (&without, false, None),
            (&with, true, None),
            (&with, false, Some("device console0, and nothing")),
            (&without, true, Some("console0 is given")),
        ] {
            let blueprint = Blueprint { devices: devices.clone(), ..blueprint() };
            let error = blueprint.check_fit(&BackendFacts { console, ..BackendFacts::default() }).err();
            let error = error.map(|misfit| misfit.to_string());
            assert_eq!(error.is_some(), why.is_some(), "{error:?}");
            assert!(error.unwrap_or_default().contains(why.unwrap_or_default()));
        }
    }
}
