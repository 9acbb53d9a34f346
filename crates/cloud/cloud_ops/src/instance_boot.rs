//! What an instance boots with: its image's kernel, or the one that is on its disk now.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use ::image_import::{BootOutputs, DiskFile};
use arch_model::x86_64::layout;
use disk::{DiskFormat, SourceFormat};
use image_store::{Architecture, BootWay};
use oci_init::EXIT_PORT_PARAMETER;

use crate::{Images, Instance, OpError};

/// What to start.
#[derive(Debug)]
pub struct BootPlan {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// Whether the guest is there for a command of its image's, and tells the command's exit status.
    pub exit_status: bool,
    /// Files without a name that the paths lead to, as long as these are open.
    pub held: Vec<File>,
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
                // Kernels of ours are those of OCI images; what runs there takes its name from the kernel.
                cmdline: format!(
                    "{cmdline} hostname={} {EXIT_PORT_PARAMETER}{:#x}",
                    instance.name,
                    layout::EXIT_STATUS_PORT
                ),
                exit_status: true,
                held: Vec::new(),
            }),
            BootWay::FromDisk => self.read_plan(instance),
            BootWay::Firmware => Err(OpError::Refused(format!(
                "image {} starts by firmware only, which Yagura does not have yet; give a kernel with --kernel",
                self.store.name_of(&instance.image)
            ))),
        }
    }

    fn read_plan(&self, instance: &Instance) -> Result<BootPlan, OpError> {
        let folder = self.store.instance_folder(&instance.name);
        let (kernel_file, initrd_file) = (nameless_file(&folder)?, nameless_file(&folder)?);
        let outputs = BootOutputs { kernel: kernel_file.as_fd(), initrd: initrd_file.as_fd() };
        let open = |path: &Path| File::open(path).map_err(OpError::io("open", path));
        let own = open(&instance.disk)?;
        let blob = self.store.blob_path(&instance.image.metadata.disk);
        // An overlay of ours has the image's blob behind it.
        let behind = (instance.format == DiskFormat::Qcow2).then(|| open(&blob)).transpose()?;
        let mut disks =
            vec![DiskFile { file: own.as_fd(), format: instance.format.into(), name: &instance.disk }];
        disks.extend(behind.as_ref().map(|file| DiskFile {
            file: file.as_fd(),
            format: SourceFormat::Raw,
            name: &blob,
        }));
        let boot = self.importer.read_boot(&disks, Architecture::of_host(), outputs)?;
        let initrd = (boot.initrd_bytes > 0).then(|| path_of(&initrd_file));
        let kernel = path_of(&kernel_file);
        Ok(BootPlan {
            kernel,
            initrd,
            cmdline: boot.cmdline,
            exit_status: false,
            held: vec![kernel_file, initrd_file],
        })
    }
}

/// A file that takes room in this folder as long as it is open, and leaves nothing.
fn nameless_file(folder: &Path) -> Result<File, OpError> {
    host_sys::new_file::nameless(folder).map_err(OpError::io("make a file in", folder))
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
