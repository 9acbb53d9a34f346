//! Names of devices that stay, from one start of a VM to the next.

use std::collections::BTreeSet;

use crate::{DeviceId, VmSpec};

impl VmSpec {
    /// The same VM, each of whose devices has a name that it keeps, whatever is added or taken away.
    pub fn named(mut self) -> VmSpec {
        let (disk_ids, nic_ids) = (self.disk_ids(), self.nic_ids());
        self.disks.iter_mut().zip(disk_ids).for_each(|(disk, id)| disk.id = Some(id));
        self.nets.iter_mut().zip(nic_ids).for_each(|(net, id)| net.id = Some(id));
        self
    }

    /// The same, for a VM that was started before as `former`. A device that nobody names now is the former one of the same
    /// file or interface, wherever it stands in the list; one of another file or interface is the former one at its place,
    /// if that is not there any more.
    pub fn named_like(mut self, former: &VmSpec) -> VmSpec {
        let mut taken: BTreeSet<DeviceId> = self.given_ids().cloned().collect();
        let mut keep = |own: &mut Option<DeviceId>, had: Option<&DeviceId>| {
            if let Some(id) = had
                && own.is_none()
                && taken.insert(id.clone())
            {
                *own = Some(id.clone());
            }
        };
        for disk in &mut self.disks {
            let same = former.disks.iter().find(|other| other.path == disk.path);
            keep(&mut disk.id, same.and_then(|same| same.id.as_ref()));
        }
        for net in &mut self.nets {
            let same = former.nets.iter().find(|other| net.tap.is_some() && other.tap == net.tap);
            keep(&mut net.id, same.and_then(|same| same.id.as_ref()));
        }
        self.named()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BootSpec, KernelSpec};

    fn spec(disks: &[&str], nets: &[&str]) -> VmSpec {
        VmSpec {
            disks: disks.iter().map(|text| text.parse().unwrap()).collect(),
            nets: nets.iter().map(|text| text.parse().unwrap()).collect(),
            ..VmSpec::new("web1".parse().unwrap(), BootSpec::Kernel(KernelSpec::new("k")))
        }
    }

    #[test]
    fn a_device_is_known_again_by_what_is_behind_it() {
        let former = spec(&["path=root", "path=a", "path=b"], &["tap=t0", "tap=t1"]).named();
        for (disks, nets, expected) in [
            (&["path=root", "path=b"][..], &["tap=t1"][..], "disk-root disk2 nic1"),
            (&["path=b", "path=a"], &["tap=t1", "tap=t0"], "disk2 disk1 nic1 nic0"),
            // Another file or interface at the place of one that is gone is taken for it.
            (&["path=root", "path=c", "path=b"], &["tap=t2"], "disk-root disk1 disk2 nic0"),
            // One behind those that are there is new.
            (&["path=root", "path=b", "path=c"], &["tap=t1", "tap=t2"], "disk-root disk2 disk3 nic1 nic2"),
            // What a person says wins, and takes the name from whatever had it.
            (&["path=a,id=disk2", "path=b"], &["tap=t0,id=wan"], "disk2 disk1 wan"),
        ] {
            let now = spec(disks, nets).named_like(&former);
            let ids = now.disk_ids().into_iter().chain(now.nic_ids()).map(String::from);
            assert_eq!(ids.collect::<Vec<_>>().join(" "), expected);
            assert!(now.clone().validate().is_ok());
        }
    }
}
