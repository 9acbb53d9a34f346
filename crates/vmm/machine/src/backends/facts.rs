//! What the description of a machine has to know of what is behind its devices.

use net_backend::{NetBackend, Offloads};
use vm_spec::DeviceId;
use vm_spec::blueprint::{BackendFacts, DiskFacts, DiskFeatures, NicFacts, NicFeatures};

use super::backend::{Active, Prepared};
use super::{Backend, Backends};

impl Backends {
    /// What can be told of them now. Of a disk that is all, prepared or active: nothing of it changes when the disk does. An
    /// interface has to be active before the host says what it can do.
    pub fn facts(&self) -> BackendFacts {
        BackendFacts {
            command_line: self.boot.kernel.command_line().map(str::to_owned),
            disks: self
                .devices
                .iter()
                .filter_map(|(id, backend)| Some((id.clone(), disk(backend)?)))
                .collect(),
            nics: self.devices.iter().filter_map(|(id, backend)| Some((id.clone(), nic(backend)?))).collect(),
            console: self.devices.contains_key(&DeviceId::console()),
        }
    }
}

fn disk(backend: &Backend) -> Option<DiskFacts> {
    match backend {
        Backend::Prepared(Prepared::Disk(disk, _)) => Some(DiskFacts {
            block_size_bytes: disk.block_size_bytes(),
            readonly: disk.is_read_only(),
            features: DiskFeatures { discard: disk.can_discard(), write_zeroes: disk.can_write_zeroes() },
        }),
        Backend::Active(Active::Disk(backend)) => {
            let disk = backend.disk.disk();
            let virtio_block::Offer { discard, write_zeroes } = virtio_block::Offer::of(&*disk);
            Some(DiskFacts {
                block_size_bytes: disk.block_size_bytes(),
                readonly: disk.is_read_only(),
                features: DiskFeatures { discard, write_zeroes },
            })
        }
        _ => None,
    }
}

fn nic(backend: &Backend) -> Option<NicFacts> {
    let Backend::Active(Active::Nic(_, backend)) = backend else { return None };
    Some(nic_facts(&**backend))
}

fn nic_facts(backend: &dyn NetBackend) -> NicFacts {
    let virtio_net::Offer { offloads, mtu_bytes } = virtio_net::Offer::of(backend);
    let Offloads { checksum, tso4, tso6, tso_ecn } = offloads;
    NicFacts {
        queue_pairs: u16::try_from(backend.pairs().len()).unwrap_or(u16::MAX),
        features: NicFeatures { checksum, tso4, tso6, tso_ecn, mtu_bytes },
    }
}
