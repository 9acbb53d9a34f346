//! What the machine of an instance has where nobody says otherwise.

use std::path::Path;

use disk::DiskFormat;
use vm_spec::{BadValue, BlockSize, CpuCount, DiskSpec, MemorySize};

use crate::Instance;

impl Instance {
    /// Its disks: the root, and the one that tells it who it is. Their formats are known, so that no guest can lock itself
    /// out by what it writes.
    ///
    /// # Errors
    /// None: all of it is written as it has to be.
    pub fn disks(&self) -> Result<Vec<DiskSpec>, BadValue> {
        let own = |id: &str, path: &Path, format| -> Result<DiskSpec, BadValue> {
            let id = Some(id.parse()?);
            Ok(DiskSpec { id, force_raw: format == DiskFormat::Raw, ..DiskSpec::new(path, format) })
        };
        let machine = &self.image.metadata.description.machine;
        let block_size = machine.block_bytes.and_then(BlockSize::of_bytes);
        let mut disks = vec![DiskSpec { block_size, ..own("disk-root", &self.disk, self.format)? }];
        if let Some(path) = &self.seed {
            let serial = Some(first_boot::SEED_SERIAL.parse()?);
            disks.push(DiskSpec { readonly: true, serial, ..own("disk-seed", path, DiskFormat::Raw)? });
        }
        Ok(disks)
    }

    /// Its memory: what the image's machine had, and no less than its system needs.
    ///
    /// # Errors
    /// The image says what no machine can have.
    pub fn memory(&self) -> Result<MemorySize, BadValue> {
        let about = &self.image.metadata.description;
        let usual = about.machine.memory_bytes.unwrap_or(MemorySize::default().bytes());
        format!("{}M", usual.max(about.min_memory_bytes).div_ceil(1 << 20)).parse()
    }

    /// Its vCPUs, where the image's machine had some.
    ///
    /// # Errors
    /// The image says what no machine can have.
    pub fn cpus(&self) -> Result<Option<CpuCount>, BadValue> {
        let machine = &self.image.metadata.description.machine;
        machine.cpus.map(|cpus| CpuCount::try_from(u64::from(cpus))).transpose()
    }
}
