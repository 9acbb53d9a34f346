//! Debian packages: which programs the commands need, and getting the missing ones with the host's own apt.
//!
//! The mirror is whatever this host's apt reads. No registry is named anywhere in this project.

use crate::process;
use anyhow::{Context, Result, bail};
use std::error::Error;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program and the Debian package that brings it.
pub struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// What building takes.
pub const BUILD: &[Need] = &[need("cc", "gcc"), need("make", "make")];

/// What preparing guests takes.
pub const GUESTS: &[Need] = &[
    need("dpkg-deb", "dpkg"),
    need("xz", "xz-utils"),
    need("zstd", "zstd"),
    need("lz4", "lz4"),
    need("mmdebstrap", "mmdebstrap"),
    need("mke2fs", "e2fsprogs"),
];

/// What preparing guests takes besides, where there are no root rights.
pub const GUESTS_WITHOUT_ROOT: &[Need] = &[need("fakeroot", "fakeroot"), need("newuidmap", "uidmap")];

/// What the lab takes, besides what its jobs take.
pub const LAB: &[Need] = &[need("qemu-system-x86_64", "qemu-system-x86"), need("iasl", "acpica-tools")];

/// What the lab's jobs take, in its machine and outside.
pub const JOBS: &[Need] = &[
    need("setpriv", "util-linux"),
    need("unshare", "util-linux"),
    need("ip", "iproute2"),
    need("fdisk", "fdisk"),
];

/// What making QEMU's disks takes.
pub const QEMU_IMAGES: &[Need] = &[need("qemu-img", "qemu-utils")];

/// What binding threads to processors and giving them a policy takes.
pub const SCHEDULING: &[Need] = &[need("taskset", "util-linux"), need("chrt", "util-linux")];

/// What tests take besides; those whose tools are missing say so and are skipped.
pub const TESTS: &[Need] = &[
    need("qemu-img", "qemu-utils"),
    need("mkfs.vfat", "dosfstools"),
    need("mcopy", "mtools"),
    need("mkfs.xfs", "xfsprogs"),
    need("mkfs.btrfs", "btrfs-progs"),
    need("sfdisk", "fdisk"),
    need("sgdisk", "gdisk"),
    need("bzip2", "bzip2"),
    need("zip", "zip"),
    need("qemu-x86_64", "qemu-user"),
    need("grub-emu", "grub-emu"),
];

/// Programs are missing that this process cannot install.
#[derive(Debug)]
pub struct Missing {
    packages: String,
}

impl Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "missing programs; install them with: apt-get install {}", self.packages)
    }
}

impl Error for Missing {}

/// Sees to it that every program in `needs` is there, installing what is missing where that is allowed.
///
/// # Errors
/// [`Missing`] where it is not allowed; apt's own.
pub fn require(needs: &[&[Need]]) -> Result<()> {
    let packages = missing(needs);
    if packages.is_empty() {
        return Ok(());
    }
    install(&packages)?;
    // A package may have displaced an older or newer one that is needed, too.
    let displaced = missing(needs);
    if displaced.is_empty() { Ok(()) } else { install(&displaced) }
}

/// The packages of programs that are not there.
fn missing(needs: &[&[Need]]) -> Vec<&'static str> {
    let needs = needs.iter().flat_map(|list| list.iter());
    let mut packages: Vec<&str> =
        needs.filter(|need| process::find(need.program).is_none()).map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    let rights = Rights::get().filter(|_| process::find("apt-get").is_some());
    let Some(rights) = rights else { return Err(Missing { packages: wanted }.into()) };
    let step = crate::progress::step(format!("installing {wanted}"));
    let install = || {
        let mut command = rights.command("apt-get");
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        process::run(&mut command)
    };
    if install().is_err() {
        update(rights)?;
        install().with_context(|| format!("install them with: apt-get install {wanted}"))?;
    }
    step.done();
    Ok(())
}

/// The newest version of what a package depends on whose name starts with `prefix`: its name and version.
pub fn dependency(package: &str, prefix: &str) -> Result<(String, String)> {
    let find = || -> Result<(String, String)> {
        let text = process::output(Command::new("apt-cache").args(["depends", package]))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let name =
            names.filter(|name| name.starts_with(prefix)).max().context("depends on no such package")?;
        Ok((name.to_owned(), version(name)?))
    };
    with_lists(find).with_context(|| format!("apt knows no {package}"))
}

/// The version of a package that apt would take.
pub fn version(package: &str) -> Result<String> {
    let text = process::output(Command::new("apt-cache").args(["policy", package]))?;
    let candidate = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    match candidate {
        Some(version) if version != "(none)" => Ok(version.to_owned()),
        _ => bail!("apt knows no {package}"),
    }
}

/// The version of a package that apt would take, after reading the lists when there are none.
pub fn candidate(package: &str) -> Result<String> {
    with_lists(|| version(package))
}

/// Downloads a package and unpacks it in `folder`, installing nothing.
pub fn unpack(package: &str, folder: &Path) -> Result<()> {
    let download = tempfile::tempdir_in(folder)?;
    with_lists(|| {
        process::run(Command::new("apt-get").args(["download", package]).current_dir(download.path()))
    })?;
    let mut files = std::fs::read_dir(download.path())?.flatten().map(|entry| entry.path());
    let is_deb = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let deb = files.find(is_deb).with_context(|| format!("apt-get download {package} left no file"))?;
    process::run(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(folder))
}

/// The Debian archive that this host's apt reads.
pub fn debian_archive() -> Result<image_build::Archive> {
    with_lists(|| Ok(image_build::host_archive()?))
}

/// How this process may install packages.
#[derive(Clone, Copy)]
enum Rights {
    Root,
    Sudo,
}

impl Rights {
    fn get() -> Option<Self> {
        if rustix::process::geteuid().is_root() {
            return Some(Self::Root);
        }
        let sudo = process::find("sudo").is_some()
            && process::run(Command::new("sudo").args(["-n", "true"])).is_ok();
        sudo.then_some(Self::Sudo)
    }

    fn command(self, program: &str) -> Command {
        let mut command = match self {
            Self::Root => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "DEBIAN_FRONTEND=noninteractive", program]);
                command
            }
        };
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

fn update(rights: Rights) -> Result<()> {
    process::run(rights.command("apt-get").arg("update"))
}

/// Does `action`, and where it fails once more after apt's lists are brought up to date.
fn with_lists<T>(action: impl Fn() -> Result<T>) -> Result<T> {
    let first = match action() {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Some(rights) = Rights::get() else {
        return Err(first.context("apt's lists may be old; run: apt-get update"));
    };
    let step = crate::progress::step("reading the package lists");
    update(rights)?;
    step.done();
    action()
}
