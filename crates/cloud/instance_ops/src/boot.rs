//! What an instance boots with: its image's kernel, or the one that is on its disk now.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use arch_model::x86_64::layout;
use disk::{DiskFormat, SourceFormat};
use host_sys::named_file::read_named;
use image_import::{BootOutputs, DiskFile};
use image_model::Architecture;
use image_store::{BootWay, StoreError};
use oci_init::EXIT_PORT_PARAMETER;

use crate::{Instance, InstanceError, Instances};

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
    /// The entry of the guest's boot loader that is started this once.
    pub once: Option<String>,
    /// Files without a name that the paths lead to, as long as these are open.
    pub held: Vec<File>,
}

/// The file in an instance's folder that says which entry its boot loader was to start once, and did.
const ONCE_DONE: &str = "started-once";
/// Longest entry's name that is read.
const ONCE_BYTES_MAX: u64 = 4096;

impl Instances<'_> {
    /// Finds what `instance` boots with. A kernel that its guest has installed is taken at the next boot.
    ///
    /// # Errors
    /// There is no kernel on the disk, or it needs firmware.
    pub fn boot_plan(&self, instance: &Instance) -> Result<BootPlan, InstanceError> {
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
                once: None,
                held: Vec::new(),
            }),
            BootWay::FromDisk => self.read_plan(instance),
            BootWay::Firmware => Err(InstanceError::Refused(format!(
                "image {} starts by firmware only, which Yagura does not have yet; give a kernel with --kernel",
                self.store.name_of(&instance.image)
            ))),
        }
    }

    fn read_plan(&self, instance: &Instance) -> Result<BootPlan, InstanceError> {
        let folder = self.store.instance_folder(&instance.name);
        let (kernel_file, initrd_file) = (nameless_file(&folder)?, nameless_file(&folder)?);
        let outputs = BootOutputs { kernel: kernel_file.as_fd(), initrd: initrd_file.as_fd() };
        let open = |path: &Path| File::open(path).map_err(StoreError::io("open", path));
        let own = open(&instance.disk)?;
        let blob = self.store.blob_path(&instance.image.metadata.disk);
        // An overlay of ours has the image's blob behind it.
        let behind = (instance.format == DiskFormat::Qcow2).then(|| open(&blob)).transpose()?;
        let mut disks = vec![DiskFile::new(own.as_fd(), instance.format.into(), &instance.disk)];
        disks.extend(behind.as_ref().map(|file| DiskFile::new(file.as_fd(), SourceFormat::Raw, &blob)));
        let done_path = folder.join(ONCE_DONE);
        let done = once_done(&done_path)?;
        let boot = self.importer.read_boot(&disks, Architecture::of_host(), done.as_deref(), outputs)?;
        // A boot loader would take it off the disk, which is the guest's here: it is remembered as done.
        if boot.next_entry != done {
            remember(&done_path, boot.next_entry.as_deref())?;
        }
        let initrd = (boot.initrd_bytes > 0).then(|| path_of(&initrd_file));
        let kernel = path_of(&kernel_file);
        Ok(BootPlan {
            kernel,
            initrd,
            cmdline: boot.cmdline,
            exit_status: false,
            once: boot.next_entry.filter(|next| Some(next) != done.as_ref()),
            held: vec![kernel_file, initrd_file],
        })
    }
}

/// What was started once before.
fn once_done(path: &Path) -> Result<Option<String>, InstanceError> {
    match read_named(path, ONCE_BYTES_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => Ok(String::from_utf8(read.map_err(StoreError::io("read", path))?).ok()),
    }
}

/// Keeps what is started once now; with nothing, what was started before may be started once more.
fn remember(path: &Path, next: Option<&str>) -> Result<(), InstanceError> {
    match next {
        Some(next) => std::fs::write(path, next).map_err(StoreError::io("write", path))?,
        None => std::fs::remove_file(path).map_err(StoreError::io("remove", path))?,
    }
    Ok(())
}

/// A file that takes room in this folder as long as it is open, and leaves nothing.
fn nameless_file(folder: &Path) -> Result<File, InstanceError> {
    Ok(host_sys::new_file::nameless(folder).map_err(StoreError::io("make a file in", folder))?)
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
