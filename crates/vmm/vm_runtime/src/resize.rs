//! Making a disk longer while the machine uses it, as somebody asks at the control socket.

use disk::{ActiveDisk, ResizeError};
use machine::Backends;
use messages::{Bytes, did_you_mean};
use vm_control::{FailureClass, ResizeDisk};
use vm_spec::{DeviceId, VmSpec};

use crate::control::Refusal;

/// Makes the disk longer that is `wanted` to be; which it is, and its length if that is new. May wait for the host's
/// storage.
///
/// # Errors
/// There is no such disk, or it cannot be so long; it is as it was.
pub(crate) fn grow(
    spec: &VmSpec,
    backends: &Backends,
    wanted: &ResizeDisk,
) -> Result<(DeviceId, Option<u64>), Refusal> {
    let ResizeDisk { disk: name, size_bytes, from_bytes } = wanted;
    let (id, disk) = find(spec, backends, name)?;
    let there_bytes = disk.size_bytes();
    if from_bytes.is_some_and(|from_bytes| from_bytes != there_bytes) {
        let why = format!("disk {id} has become {} long meanwhile; ask again", Bytes(there_bytes));
        return Err(Refusal { class: FailureClass::Busy, why });
    }
    disk.resize(*size_bytes).map_err(|error| refusal(&error))?;
    Ok((id, (disk.size_bytes() != there_bytes).then_some(*size_bytes)))
}

/// The disk of this name.
fn find<'b>(
    spec: &VmSpec,
    backends: &'b Backends,
    name: &str,
) -> Result<(DeviceId, &'b ActiveDisk), Refusal> {
    let disks = spec.disk_ids().into_iter().filter_map(|id| Some((backends.disk(&id)?, id)));
    let mut disks: Vec<(DeviceId, &ActiveDisk)> = disks.map(|(disk, id)| (id, disk)).collect();
    match disks.iter().position(|(id, _)| id.as_str() == name) {
        Some(index) => Ok(disks.swap_remove(index)),
        None => {
            let ids: Vec<&str> = disks.iter().map(|(id, _)| id.as_str()).collect();
            Err(Refusal { class: FailureClass::Invalid, why: no_device("disk", name, &ids) })
        }
    }
}

/// That there is no device of this kind and name, and which there are.
pub(crate) fn no_device(kind: &str, name: &str, ids: &[&str]) -> String {
    let name = messages::shortened(name, NAME_BYTES_MAX);
    let hint = did_you_mean(&name, ids.iter().copied());
    match ids {
        [] => format!("it has no {kind} '{name}', nor any other"),
        ids => format!("it has no {kind} '{name}' (there are {}){hint}", ids.join(", ")),
    }
}

/// Longest name that an answer repeats, in bytes.
const NAME_BYTES_MAX: usize = 64;

fn refusal(error: &ResizeError) -> Refusal {
    match error {
        ResizeError::Host { .. } => Refusal::host(error),
        _ => Refusal { class: FailureClass::Invalid, why: messages::in_words(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_no_disk_is_told_which_there_are() {
        assert_eq!(no_device("disk", "a", &[]), "it has no disk 'a', nor any other");
        let ids = ["disk-root", "disk1"];
        assert_eq!(
            no_device("disk", "disk2", &ids),
            "it has no disk 'disk2' (there are disk-root, disk1); did you mean 'disk1'?"
        );
        let long = no_device("disk", &"x\n".repeat(1000), &ids);
        assert!(long.len() < 300 && !long.contains('\n'), "{long}");
    }
}
