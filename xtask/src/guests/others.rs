//! Kernels other than the guests' own, unpacked from Debian's packages and never installed.

use super::{initramfs, kernel};
use crate::cache::{Cache, Recipe};
use crate::packages;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Brings memtest86+ for both widths.
const MEMTEST: &str = "memtest86+";
/// Depends on the newest GNU Mach.
const MACH: &str = "gnumach-image-1-486";

/// Depends on the newest Xen.
const XEN: &str = "xen-system-amd64";

/// Its packages, apart from the files common to all versions.
const XEN_PREFIX: &str = "xen-hypervisor-4.";

/// Those kernels.
#[derive(Clone, Serialize, Deserialize)]
pub struct Others {
    /// memtest86+ in 64-bit mode; entered as Linux is.
    pub memtest64: PathBuf,
    /// memtest86+ in 32-bit protected mode; entered as Linux is.
    pub memtest32: PathBuf,
    /// GNU Mach for 32-bit CPUs, by Multiboot.
    pub mach: PathBuf,
    /// The Xen hypervisor, by Multiboot 2.
    pub xen: PathBuf,
    /// Debian's generic kernel as its package ships it.
    pub generic: PathBuf,
    /// The guests' archive, for that kernel.
    pub initrd: PathBuf,
}

/// Prepares them.
pub fn prepare(cache: &Cache) -> Result<Others> {
    packages::require(&[packages::GUESTS])?;
    let memtest = cache.entry(Recipe::new("memtest").with(packages::candidate(MEMTEST)?), |place| {
        let unpacked = tempfile::tempdir_in(place)?;
        packages::unpack(MEMTEST, unpacked.path())?;
        keep(&unpacked.path().join("boot/memtest86+x64.bin"), &place.join("x64.bin"))?;
        keep(&unpacked.path().join("boot/memtest86+ia32.bin"), &place.join("ia32.bin"))
    })?;
    let (package, version) = packages::dependency(MACH, "gnumach-image-")?;
    let mach = cache.entry(Recipe::new("mach").with(&package).with(version), |place| {
        let unpacked = tempfile::tempdir_in(place)?;
        packages::unpack(&package, unpacked.path())?;
        let release = package.trim_start_matches("gnumach-image-");
        keep(&unpacked.path().join(format!("boot/gnumach-{release}.gz")), &place.join("kernel.gz"))
    })?;
    let (package, version) = packages::dependency(XEN, XEN_PREFIX)?;
    let xen = cache.entry(Recipe::new("xen").with(&package).with(version), |place| {
        let unpacked = tempfile::tempdir_in(place)?;
        packages::unpack(&package, unpacked.path())?;
        let release = package.trim_start_matches("xen-hypervisor-");
        keep(&unpacked.path().join(format!("boot/xen-{release}.gz")), &place.join("xen.gz"))
    })?;
    Ok(Others {
        memtest64: memtest.join("x64.bin"),
        memtest32: memtest.join("ia32.bin"),
        mach: mach.join("kernel.gz"),
        xen: xen.join("xen.gz"),
        generic: kernel::generic(cache)?.bzimage(),
        initrd: initramfs::guest(cache, &kernel::cloud(cache)?)?,
    })
}

fn keep(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(drop).with_context(|| format!("the package holds no {}", from.display()))
}
