//! Whether a state is whole.

use std::collections::BTreeSet;

use vm_spec::Blueprint;

use crate::{DeviceState, StateError, VmState};

impl VmState {
    /// Checks that each device has its state, and that vCPUs and platform can be in theirs.
    ///
    /// # Errors
    /// What is missing, is there twice, or makes no sense.
    pub fn check(&self) -> Result<(), StateError> {
        let VmState { blueprint, devices, platform, vcpus } = self;
        check_devices(blueprint, devices)?;
        platform.check().map_err(StateError::Platform)?;
        let (found, expected) = (vcpus.len(), blueprint.cpus.get() as usize);
        if found != expected {
            return Err(StateError::Vcpus { found, expected });
        }
        for (index, vcpu) in vcpus.iter().enumerate() {
            vcpu.check(&blueprint.cpuid).map_err(|source| StateError::Vcpu { index, source })?;
        }
        Ok(())
    }
}

fn check_devices(blueprint: &Blueprint, devices: &[DeviceState]) -> Result<(), StateError> {
    let mut wanted: BTreeSet<&str> = blueprint.ids().collect();
    let mut seen = BTreeSet::new();
    for DeviceState { id, bytes: _ } in devices {
        if !seen.insert(id.as_str()) {
            return Err(StateError::Twice(id.clone()));
        }
        if !wanted.remove(id.as_str()) {
            return Err(StateError::Foreign(id.clone()));
        }
    }
    wanted.first().map_or(Ok(()), |id| Err(StateError::Missing((*id).to_owned())))
}
