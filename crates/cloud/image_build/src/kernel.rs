//! A kernel for disks that bring none.

use std::path::{Path, PathBuf};

use crate::recipe::parse_shipped;
use crate::{Archive, BuildError, Recipe, Stage, begin, bootstrap, io, require_programs};

const RECIPE: &str = include_str!("recipes/kernel.toml");

/// Debian's kernel, an initial RAM disk that finds a root on a virtio disk, and a static busybox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelKit {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// The program.
    pub busybox: PathBuf,
}

/// The names of a kit's files.
const FILES: [&str; 3] = ["kernel", "initrd", "busybox"];

impl KernelKit {
    /// The kit in this folder, if there is one.
    pub fn at(folder: &Path) -> Option<KernelKit> {
        let [kernel, initrd, busybox] = FILES.map(|name| folder.join(name));
        let whole = [&kernel, &initrd, &busybox].into_iter().all(|path| path.is_file());
        whole.then_some(KernelKit { kernel, initrd, busybox })
    }

    /// Moves what [`build_kernel`] made in `work` to `folder`, all at once.
    ///
    /// # Errors
    /// The host refuses.
    pub fn place(work: &Path, folder: &Path) -> std::io::Result<KernelKit> {
        std::fs::rename(work.join(KIT), folder)?;
        KernelKit::at(folder).ok_or_else(|| std::io::Error::other("a part of it is missing"))
    }
}

/// The kit's folder below the one where it is built.
const KIT: &str = "kit";

/// What the kit is made of.
pub fn kernel_recipe() -> Recipe {
    parse_shipped("kernel", RECIPE)
}

/// Builds the kit below `work`; [`KernelKit::place`] gives it its place.
///
/// # Errors
/// A program is missing or fails, or the host refuses.
pub fn build_kernel(
    recipe: &Recipe,
    archive: &Archive,
    work: &Path,
    stage: Stage<'_>,
) -> Result<(), BuildError> {
    require_programs()?;
    let tree = work.join("tree.tar");
    bootstrap(recipe, archive, work, &tree, stage)?;
    begin(stage, "taking the kernel out")?;
    let kit = work.join(KIT);
    std::fs::create_dir(&kit).map_err(io("make the folder", &kit))?;
    take_out(&tree, &kit).map_err(io("read", &tree))?;
    std::fs::remove_file(&tree).map_err(io("remove", &tree))
}

/// Finds the three files in a tar archive that mmdebstrap wrote.
fn take_out(tree: &Path, kit: &Path) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(std::fs::File::open(tree)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let name = match &*path {
            "bin/busybox" | "usr/bin/busybox" => FILES[2],
            _ if path.starts_with("boot/vmlinuz-") => FILES[0],
            _ if path.starts_with("boot/initrd.img-") => FILES[1],
            _ => continue,
        };
        if entry.header().entry_type().is_file() {
            std::io::copy(&mut entry, &mut std::fs::File::create(kit.join(name))?)?;
        }
    }
    Ok(())
}
