//! What an instance boots with: its image's kernel, or the one that is on its disk now.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ::image_import::{BootOutputs, DiskFile};
use disk::{DiskFormat, SourceFormat};
use image_store::BootWay;

use crate::image_import::new_file;
use crate::image_publish::source_format;
use crate::{Images, Instance, OpError};

/// Files of an instance's folder that are written at each boot.
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
}

impl Images {
    /// Finds what `instance` boots with. A kernel that its guest has installed is taken at the next boot.
    ///
    /// # Errors
    /// There is no kernel on the disk, or it needs firmware.
    pub fn boot_plan(&self, instance: &Instance) -> Result<BootPlan, OpError> {
        match &instance.image.metadata.boot {
            BootWay::Kernel { kernel, initrd, cmdline } => Ok(BootPlan {
                kernel: self.store.blob_path(kernel),
                initrd: initrd.as_ref().map(|digest| self.store.blob_path(digest)),
                cmdline: cmdline.clone(),
            }),
            BootWay::FromDisk => self.read_plan(instance),
            BootWay::Firmware => Err(OpError::Refused(format!(
                "image {} starts by firmware only, which Yagura does not have yet; give a kernel with --kernel",
                instance.image.id.short()
            ))),
        }
    }

    fn read_plan(&self, instance: &Instance) -> Result<BootPlan, OpError> {
        let folder = self.store.instance_folder(&instance.name);
        let (kernel, initrd) = (folder.join(KERNEL), folder.join(INITRD));
        let (kernel_file, initrd_file) = (new_file(&kernel)?, new_file(&initrd)?);
        let outputs = BootOutputs { kernel: kernel_file.as_fd(), initrd: initrd_file.as_fd() };
        let open = |path: &Path| File::open(path).map_err(OpError::io("open", path));
        let own = open(&instance.disk)?;
        let blob = self.store.blob_path(&instance.image.metadata.disk);
        // An overlay of ours has the image's blob behind it.
        let behind = (instance.format == DiskFormat::Qcow2).then(|| open(&blob)).transpose()?;
        let mut disks = vec![DiskFile {
            file: own.as_fd(),
            format: source_format(instance.format),
            name: &instance.disk,
        }];
        disks.extend(behind.as_ref().map(|file| DiskFile {
            file: file.as_fd(),
            format: SourceFormat::Raw,
            name: &blob,
        }));
        let boot = self.importer.read_boot(&disks, crate::guest_architecture(), outputs)?;
        Ok(BootPlan { kernel, initrd: (boot.initrd_bytes > 0).then_some(initrd), cmdline: boot.cmdline })
    }
}
