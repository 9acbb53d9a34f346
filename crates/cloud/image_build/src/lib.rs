//! Images built from Debian's packages, with whatever mirror this host's apt uses.
//!
//! ```text
//! Recipe (TOML) ─► archive (apt's sources) ─► mmdebstrap ─► tar ─► ext4 ─► a raw disk without partitions
//! ```
//!
//! Nothing runs with root rights that the user does not have: without them mmdebstrap uses a user namespace,
//! and owners are kept by fakeroot. The same recipe and the same packages give the same bytes.
//!
//! Used by: `yagura image build`, and by the project's own commands for the guests of tests. Knows no store.

mod archive;
mod ext4;
mod kernel;
mod program;
mod recipe;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use host_sys::named_file::folder_of;
use messages::Cancelled;

pub use archive::{Archive, host_archive};
pub use ext4::{FileSystem, from_tar};
pub use kernel::{KernelKit, build_kernel, kernel_recipe};
pub use program::find as find_program;
pub use recipe::{Recipe, RecipeError, shipped, shipped_names};

/// Time of everything in an image, in seconds since 1970: bytes depend on packages, not on the day.
const EPOCH_SECONDS: &str = "1735689600";

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Programs are missing.
    #[error("{0} cannot be found; install with: apt-get install {1}")]
    Missing(String, String),
    /// apt knows no mirror.
    #[error("this host's apt reads no Debian archive; run 'apt-get update', or see /etc/apt/sources.list")]
    NoArchive,
    /// A program failed; its last words.
    #[error("{program} failed: {words}")]
    Failed {
        /// Its name.
        program: String,
        /// The end of what it wrote.
        words: String,
    },
    /// Nobody wants it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The host refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Programs that building takes, and Debian's packages that bring them.
const PROGRAMS: &[(&str, &str)] = &[("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"), ("tar", "tar")];
/// What it takes besides, without root rights.
const PROGRAMS_WITHOUT_ROOT: &[(&str, &str)] = &[("fakeroot", "fakeroot"), ("newuidmap", "uidmap")];

/// Told what is being done; says whether it is still wanted.
pub type Stage<'a> = &'a mut dyn FnMut(&str) -> ControlFlow<()>;

/// Begins a stage, unless nobody wants it any more.
fn begin(stage: Stage<'_>, what: &str) -> Result<(), BuildError> {
    if stage(what).is_break() { Err(Cancelled.into()) } else { Ok(()) }
}

/// Builds the image of `recipe` as a raw disk in a new file at `disk`. `stage` is told what is being done.
///
/// # Errors
/// A program is missing or fails, or the host refuses; then there is no such file.
pub fn build(recipe: &Recipe, archive: &Archive, disk: &Path, stage: Stage<'_>) -> Result<(), BuildError> {
    require_programs()?;
    let folder = folder_of(disk);
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(folder);
    let work = work.map_err(io("make a folder in", folder))?;
    let tree = work.path().join("tree.tar");
    bootstrap(recipe, archive, work.path(), &tree, stage)?;
    begin(stage, "making the disk")?;
    let file_system =
        FileSystem { size_bytes: recipe.size.bytes(), label: "root", identity: recipe.digest() };
    let staged = work.path().join("disk");
    from_tar(&tree, work.path(), &staged, &file_system)?;
    std::fs::rename(&staged, disk).map_err(io("put in place", disk))
}

fn require_programs() -> Result<(), BuildError> {
    program::require(PROGRAMS)?;
    if rustix::process::geteuid().is_root() { Ok(()) } else { program::require(PROGRAMS_WITHOUT_ROOT) }
}

/// The system's files as a tar archive.
fn bootstrap(
    recipe: &Recipe,
    archive: &Archive,
    work: &Path,
    tree: &Path,
    stage: Stage<'_>,
) -> Result<(), BuildError> {
    let sources = work.join("sources.list");
    let lines = archive.lines(&recipe.codename).join("\n") + "\n";
    std::fs::write(&sources, lines).map_err(io("write", &sources))?;
    let mut command = Command::new("mmdebstrap");
    command.env("SOURCE_DATE_EPOCH", EPOCH_SECONDS);
    if memory_is_plenty() {
        command.env("TMPDIR", MEMORY_FOLDER);
    }
    command.args(["--variant=minbase", "--aptopt=Acquire::Languages \"none\""]);
    command.arg(format!("--include={}", recipe.packages.join(",")));
    for path in ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"] {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    let added = work.join("added.tar");
    std::fs::write(&added, recipe.added_files().map_err(io("write", &added))?)
        .map_err(io("write", &added))?;
    // Hooks that run before any package is configured: initramfs-tools reads its settings when the kernel is.
    let quoted = |path: &Path| first_boot::shell_quote(&path.display().to_string());
    command.arg(format!("--essential-hook=tar-in {} /", quoted(&added)));
    for (name, script) in recipe.scripts() {
        // In a file, so that a failure does not repeat all of it.
        let path = work.join(name);
        std::fs::write(&path, script).map_err(io("write", &path))?;
        command.arg(format!("--customize-hook=sh -e {} \"$1\"", quoted(&path)));
    }
    command.arg(&recipe.codename).arg(tree).arg(&sources);
    program::watch(&mut command, |line| match line.strip_prefix("I: ") {
        Some(what) => stage(what.trim_end_matches('.')),
        None => ControlFlow::Continue(()),
    })
}

/// Where the new system lies while it is made: twenty thousand small files are nothing for a disk to keep.
const MEMORY_FOLDER: &str = "/dev/shm";
/// What such a system takes at most, twice.
const MEMORY_BYTES: u64 = 4 << 30;

fn memory_is_plenty() -> bool {
    let room =
        rustix::fs::statvfs(MEMORY_FOLDER).is_ok_and(|room| room.f_bavail * room.f_frsize >= MEMORY_BYTES);
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    room && kib.is_some_and(|kib| kib << 10 >= MEMORY_BYTES)
}

fn io<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> BuildError + 'a {
    move |source| BuildError::Io { operation, path: path.to_owned(), source }
}
