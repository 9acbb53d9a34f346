//! `delete`: an instance with all that is its own.

use vm_spec::VmName;

use crate::{InstanceError, Instances};

impl Instances<'_> {
    /// Removes an instance that does not run, and all that is in its folder.
    ///
    /// # Errors
    /// There is no such instance, it runs, or the host refuses.
    pub fn delete(&self, name: &VmName) -> Result<(), InstanceError> {
        let disk = self.store.instance_disk(name)?;
        // Whoever runs it has its disk locked; and nobody starts it while it goes.
        let _claim = disk::claim(&disk.path).map_err(image_store::StoreError::from)?;
        Ok(self.store.remove_instance(name)?)
    }
}
