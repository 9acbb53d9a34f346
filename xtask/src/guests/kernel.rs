//! Debian's kernels, unpacked from their packages and never installed.

use super::bzimage;
use super::modules::Modules;
use crate::cache::{Cache, Recipe};
use crate::packages;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Modules that the lab's machine loads, as FACTS found them to be needed.
const LAB_MODULES: &[&str] = &[
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
    "9pnet",
    "netfs",
    "fscache",
    "9p",
    "9pnet_virtio",
    "overlay",
    "irqbypass",
    "kvm",
    "ccp",
    "kvm-amd",
    "tun",
    "vhost_iotlb",
    "vhost",
    "tap",
    "vhost_net",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vhost_vsock",
];

/// Modules that a guest loads; ext4 and the serial console are built in. evdev and button are for the power button;
/// cpuid tells what the processor answers, whatever the kernel makes of it.
const GUEST_MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng", "evdev", "button", "cpuid"];

/// A kernel and the modules that were asked for, in the cache.
pub struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// The kernel as its package ships it.
    pub fn bzimage(&self) -> PathBuf {
        self.folder.join("bzImage")
    }

    /// The ELF file inside it.
    pub fn vmlinux(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The modules, in the order to load them.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.folder.join("modules"))?;
        let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        modules.sort();
        Ok(modules)
    }

    /// Text that is another one when the kernel is another one.
    pub fn identity(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The kernel of the lab's machine; the cloud kernel has no 9p.
pub fn generic(cache: &Cache) -> Result<Kernel> {
    kernel(cache, "kernel-generic", "linux-image-amd64", LAB_MODULES)
}

/// The kernel of guests.
pub fn cloud(cache: &Cache) -> Result<Kernel> {
    kernel(cache, "kernel-cloud", "linux-image-cloud-amd64", GUEST_MODULES)
}

fn kernel(cache: &Cache, label: &str, meta_package: &str, wanted: &[&str]) -> Result<Kernel> {
    let (package, version) = packages::dependency(meta_package, "linux-image-")?;
    let recipe = Recipe::new(label).with(&package).with(version).with(wanted.join(" "));
    let folder = cache.entry(recipe, |place| fill(place, &package, wanted))?;
    Ok(Kernel { folder })
}

fn fill(place: &Path, package: &str, wanted: &[&str]) -> Result<()> {
    let unpacked = tempfile::tempdir_in(place)?;
    packages::unpack(package, unpacked.path())?;
    let release = package.trim_start_matches("linux-image-").trim_end_matches("-unsigned");
    let image = unpacked.path().join(format!("boot/vmlinuz-{release}"));
    std::fs::copy(&image, place.join("bzImage"))
        .with_context(|| format!("{package} holds no {}", image.display()))?;
    bzimage::unpack(&image, &place.join("vmlinux"))?;
    let folders = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.path().join(path));
    let folder = folders
        .into_iter()
        .find(|path| path.is_dir())
        .with_context(|| format!("{package} holds no modules"))?;
    std::fs::create_dir(place.join("modules"))?;
    for (index, (name, content)) in Modules::find(&folder)?.in_load_order(wanted)?.into_iter().enumerate() {
        std::fs::write(place.join(format!("modules/{index:02}-{name}.ko")), content)?;
    }
    Ok(())
}
