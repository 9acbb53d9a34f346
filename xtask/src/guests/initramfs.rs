//! The two initramfs archives: the lab's machine's and the guests'.

use super::{Archive, Kernel, busybox};
use crate::cache::{Cache, Recipe};
use anyhow::Result;
use std::path::PathBuf;

const LAB_INIT: &str = include_str!("lab_init.sh");
const GUEST_INIT: &str = include_str!("guest_init.sh");

/// Folders that both scripts want to find.
const FOLDERS: &[&str] = &["bin", "dev", "etc", "mnt", "modules", "proc", "root", "run", "sys", "tmp"];

/// The lab's machine's archive.
pub fn lab(cache: &Cache, kernel: &Kernel) -> Result<PathBuf> {
    build(cache, "initramfs-lab", kernel, LAB_INIT)
}

/// The guests' archive.
pub fn guest(cache: &Cache, kernel: &Kernel) -> Result<PathBuf> {
    build(cache, "initramfs-guest", kernel, GUEST_INIT)
}

fn build(cache: &Cache, label: &str, kernel: &Kernel, init: &str) -> Result<PathBuf> {
    let busybox = busybox(cache)?;
    let recipe =
        Recipe::new(label).with(kernel.identity()).with(busybox.to_string_lossy().as_bytes()).with(init);
    let place = cache.entry(recipe, |place| {
        let mut archive = Archive::default();
        archive.folders(FOLDERS);
        archive.character_device("dev/console", 5, 1).character_device("dev/null", 1, 3);
        archive.copy("bin/busybox", 0o755, &busybox)?.link("bin/sh", "busybox");
        for module in kernel.modules()? {
            let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
            archive.copy(&format!("modules/{name}"), 0o644, &module)?;
        }
        archive.file("init", 0o755, init.as_bytes());
        Ok(std::fs::write(place.join("initrd"), archive.finish())?)
    })?;
    Ok(place.join("initrd"))
}
