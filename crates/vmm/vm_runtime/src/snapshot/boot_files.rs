//! Kernel, initial RAM disks and modules in a snapshot: what they are called outside may be gone when it is restored.

use std::fs::File;
use std::path::Path;

use host_sys::file_copy::copy_file;
use snapshot_files::{FileName, KeptBoot, KeptFile, KeptModule};
use vm_spec::{BootSpec, VmSpec};

use super::SnapshotFailure;
use super::record::sum_and_sync;
use super::take::file_name;

/// What the machine starts with, and the files.
pub(super) struct BootCopies {
    pub(super) boot: KeptBoot,
    pub(super) files: Vec<KeptFile>,
}

/// Copies what `spec` names.
pub(super) fn copy(spec: &VmSpec, folder: &Path) -> Result<BootCopies, SnapshotFailure> {
    let BootSpec::Kernel(kernel) = &spec.boot;
    let mut files = Vec::new();
    let mut keep = |path: &Path, name: String| {
        let name = file_name(&name)?;
        files.push(copy_one(path, folder, &name)?);
        Ok::<FileName, SnapshotFailure>(name)
    };
    let boot = KeptBoot {
        kernel: keep(&kernel.path, "kernel".to_owned())?,
        initrds: (kernel.initrds.iter().enumerate())
            .map(|(index, path)| keep(path, format!("initrd-{index}")))
            .collect::<Result<_, _>>()?,
        modules: (kernel.modules.iter().enumerate())
            .map(|(index, module)| {
                let file = keep(&module.path, format!("module-{index}"))?;
                Ok(KeptModule { file, cmdline: module.cmdline.clone() })
            })
            .collect::<Result<_, SnapshotFailure>>()?,
    };
    Ok(BootCopies { boot, files })
}

fn copy_one(path: &Path, folder: &Path, name: &FileName) -> Result<KeptFile, SnapshotFailure> {
    let target = folder.join(name.as_str());
    let from = File::open(path).map_err(SnapshotFailure::io("open", path))?;
    let to = File::options().read(true).write(true).create_new(true).open(&target);
    let to = to.map_err(SnapshotFailure::io("make", &target))?;
    copy_file(&from, &to).map_err(SnapshotFailure::io("copy to", &target))?;
    sum_and_sync(&to, &target, name.clone())
}
