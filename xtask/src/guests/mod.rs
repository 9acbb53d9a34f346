//! Guest material: kernels, initramfs archives and a Debian root file system, all kept in the cache.

mod bzimage;
mod cpio;
mod debian;
mod initramfs;
mod kernel;
mod modules;
mod others;

pub use cpio::Archive;
pub use kernel::Kernel;
pub use others::{Others, prepare as prepare_others};

use crate::{cache::Cache, packages};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The console's line that says that the small guest has come up.
pub const READY: &str = "GUEST READY";

/// The files that guests boot from.
#[derive(Clone, Serialize, Deserialize)]
pub struct Guests {
    /// Debian's cloud kernel as its package ships it.
    pub bzimage: PathBuf,
    /// The same kernel's ELF file.
    pub vmlinux: PathBuf,
    /// Loads the virtio drivers, then mounts `root=` and starts its init, or runs a script from busybox.
    pub initrd: PathBuf,
    /// A Debian root file system, ext4.
    pub debian: PathBuf,
}

/// What the lab's own machine boots from.
pub struct Lab {
    /// Debian's generic kernel's ELF file.
    pub vmlinux: PathBuf,
    /// Mounts the host's file system and starts the lab's agent.
    pub initrd: PathBuf,
}

/// Prepares what guests boot from and prints where it is.
pub fn run() -> Result<()> {
    let guests = prepare(&Cache::open()?)?;
    for (what, path) in [
        ("bzImage", &guests.bzimage),
        ("vmlinux", &guests.vmlinux),
        ("initrd", &guests.initrd),
        ("debian", &guests.debian),
    ] {
        println!("{what:<8} {}", path.display());
    }
    Ok(())
}

/// Prepares the disk image with compilers and the like.
pub fn tools_disk(cache: &Cache) -> Result<PathBuf> {
    let step = crate::progress::step("preparing debian with tools");
    let image = debian::tools_image(cache)?;
    step.done();
    Ok(image)
}

/// Prepares what guests boot from.
pub fn prepare(cache: &Cache) -> Result<Guests> {
    let without_root: &[_] =
        if rustix::process::geteuid().is_root() { &[] } else { packages::GUESTS_WITHOUT_ROOT };
    packages::require(&[packages::GUESTS, without_root])?;
    let kernel = kernel::cloud(cache)?;
    let initrd = initramfs::guest(cache, &kernel)?;
    Ok(Guests { bzimage: kernel.bzimage(), vmlinux: kernel.vmlinux(), initrd, debian: debian::image(cache)? })
}

/// Prepares the guests' kernel alone.
pub fn cloud_kernel(cache: &Cache) -> Result<Kernel> {
    kernel::cloud(cache)
}

/// Prepares what the lab's machine boots from.
pub fn prepare_lab(cache: &Cache) -> Result<Lab> {
    packages::require(&[packages::GUESTS, packages::LAB, packages::JOBS])?;
    let kernel = kernel::generic(cache)?;
    Ok(Lab { vmlinux: kernel.vmlinux(), initrd: initramfs::lab(cache, &kernel)? })
}

/// The static busybox, from its package.
pub fn busybox(cache: &Cache) -> Result<PathBuf> {
    let recipe = crate::cache::Recipe::new("busybox").with(packages::candidate("busybox-static")?);
    let place = cache.entry(recipe, |folder: &Path| packages::unpack("busybox-static", folder))?;
    let file = ["bin/busybox", "usr/bin/busybox"]
        .map(|path| place.join(path))
        .into_iter()
        .find(|path| path.is_file());
    file.ok_or_else(|| anyhow::anyhow!("the busybox-static package holds no busybox"))
}
