//! Putting a disk or card into a running machine, and finding the one that is to be taken out.
//!
//! ```text
//! what is wanted ─► spec with it ─► backend prepared ─► active ─► blueprint with it ─► in its slot, the guest is told
//! ```
//!
//! A step that fails undoes those before it.

use std::sync::Arc;

use machine::{BackendError, BackendSpec, Backends, DeviceError};
use vcpu_model::Vm;
use vm_control::{AttachDevice, FailureClass};
use vm_spec::{BadValue, Blueprint, DeviceId, HostFacts, VmSpec, resolve};

use crate::control::Refusal;
use crate::cycle::PowerCycle;
use crate::resize::no_device;

/// Longest reason that an answer gives, in bytes: it repeats what was asked for.
const WHY_BYTES_MAX: usize = 500;

/// A machine with one device more.
pub(crate) struct Extended {
    pub(crate) id: DeviceId,
    pub(crate) spec: VmSpec,
    pub(crate) blueprint: Arc<Blueprint>,
}

/// Puts `device` into the machine of `spec` and `blueprint`.
///
/// # Errors
/// It does not go with the others, or the host does not give it; everything is as it was.
pub(crate) fn attach<V: Vm>(
    device: &AttachDevice,
    (spec, blueprint): (&VmSpec, &Blueprint),
    backends: &mut Backends,
    cycle: &mut PowerCycle<V>,
) -> Result<Extended, Refusal> {
    let (spec, id, behind) = with_device(spec, device).map_err(|error| invalid(&error))?;
    backends.prepare(id.clone(), behind).map_err(|error| refusal(&error))?;
    let attached = backends.activate(&id).map_err(|error| refusal(&error));
    let attached = attached.and_then(|()| put_in(&spec, &id, blueprint, backends, cycle));
    match attached {
        Ok(blueprint) => Ok(Extended { id, spec, blueprint }),
        Err(refusal) => {
            if let Err(error) = backends.remove(&id) {
                tracing::error!(%error, "what was opened for nothing is not released");
            }
            Err(refusal)
        }
    }
}

/// Decides where the device goes, and puts it there.
fn put_in<V: Vm>(
    spec: &VmSpec,
    id: &DeviceId,
    former: &Blueprint,
    backends: &Backends,
    cycle: &mut PowerCycle<V>,
) -> Result<Arc<Blueprint>, Refusal> {
    let facts =
        HostFacts { cpuid: former.cpuid.clone(), tsc_khz: former.tsc_khz, backends: backends.facts() };
    let resolved = resolve(spec, &facts, Some(former)).map_err(|error| invalid(&error))?;
    let missing = || Refusal { class: FailureClass::Host, why: format!("device {id} came to nothing") };
    let device = resolved.device(id).ok_or_else(missing)?;
    // Of the others nothing changes, whatever the host could give them today.
    let blueprint = Arc::new(former.with(device.clone()));
    cycle.attach(device, backends, &blueprint).map_err(|error| Refusal::host(&error))?;
    Ok(blueprint)
}

/// The description with one device more, that device's name, and what is to be behind it.
fn with_device(spec: &VmSpec, device: &AttachDevice) -> Result<(VmSpec, DeviceId, BackendSpec), BadValue> {
    let mut spec = spec.clone().named();
    let taken = ids(&spec);
    let given = match device {
        AttachDevice::Disk(text) => {
            spec.disks.push(text.parse()?);
            spec.disks.last().and_then(|disk| disk.id.clone())
        }
        AttachDevice::Net(text) => {
            spec.nets.push(text.parse()?);
            spec.nets.last().and_then(|net| net.id.clone())
        }
    };
    if let Some(id) = given.filter(|id| taken.contains(id)) {
        return Err(BadValue(format!("id={id}: a device of the machine is called so; take another")));
    }
    let spec = spec.named().validate()?;
    let added = match device {
        AttachDevice::Disk(_) => {
            spec.disks.last().and_then(|disk| Some((disk.id.clone()?, BackendSpec::Disk(disk.clone()))))
        }
        AttachDevice::Net(_) => {
            spec.nets.last().and_then(|net| Some((net.id.clone()?, BackendSpec::Nic(net.clone()))))
        }
    };
    let (id, behind) = added.ok_or_else(|| BadValue("there is no device in that".to_owned()))?;
    Ok((spec, id, behind))
}

/// The description without a disk or card.
pub(crate) fn without_device(spec: &VmSpec, id: &DeviceId) -> VmSpec {
    let mut spec = spec.clone().named();
    spec.disks.retain(|disk| disk.id.as_ref() != Some(id));
    spec.nets.retain(|net| net.id.as_ref() != Some(id));
    spec
}

/// The disk or card of this name.
pub(crate) fn find(spec: &VmSpec, name: &str) -> Result<DeviceId, Refusal> {
    let ids = ids(spec);
    if let Some(id) = ids.iter().find(|id| id.as_str() == name) {
        return Ok(id.clone());
    }
    let ids: Vec<&str> = ids.iter().map(DeviceId::as_str).collect();
    Err(Refusal { class: FailureClass::Invalid, why: no_device("disk or card", name, &ids) })
}

fn ids(spec: &VmSpec) -> Vec<DeviceId> {
    [spec.disk_ids(), spec.nic_ids()].concat()
}

fn invalid(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let why = messages::shortened(&messages::in_words(error), WHY_BYTES_MAX);
    Refusal { class: FailureClass::Invalid, why }
}

/// What the host does not give.
pub(crate) fn refusal(error: &BackendError) -> Refusal {
    let class = match error {
        BackendError::Device { source: DeviceError::Disk(source), .. } if source.is_in_use() => {
            FailureClass::Busy
        }
        BackendError::Device { source: DeviceError::Disk(_) | DeviceError::Tap(_), .. } => {
            FailureClass::Invalid
        }
        BackendError::Taken(_) => FailureClass::Busy,
        _ => FailureClass::Host,
    };
    let why = messages::shortened(&messages::in_words(error), WHY_BYTES_MAX);
    Refusal { class, why }
}
