//! A Debian root file system made by mmdebstrap, as an ext4 image.

use crate::cache::{Cache, Recipe};
use crate::{packages, process};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages beside the minimal base.
const PACKAGES: &str = "systemd-sysv,udev,kmod,iproute2,iputils-ping,fio,netcat-openbsd,acpica-tools,util-linux,login,passwd,dbus";

/// What is changed in the new system before it is packed; `$1` is its folder.
const CUSTOMIZE: &str = include_str!("debian_customize.sh");

/// Size of the image; the file has holes where nothing is stored.
const IMAGE_SIZE: &str = "1G";

/// The name that the guest gives itself.
pub const HOSTNAME: &str = "guest";

/// What some tests want besides: a compiler, and programs that check their own results.
const TOOLS: &str = "gcc,libc6-dev,openssl,stress-ng,python3-minimal";

/// The image's file.
pub fn image(cache: &Cache) -> Result<PathBuf> {
    image_of(cache, "debian", PACKAGES)
}

/// The file of the image with [`TOOLS`].
pub fn tools_image(cache: &Cache) -> Result<PathBuf> {
    image_of(cache, "debian-tools", &format!("{PACKAGES},{TOOLS}"))
}

fn image_of(cache: &Cache, name: &'static str, packages: &str) -> Result<PathBuf> {
    let (release, sources) = packages::debian_sources()?;
    let recipe =
        Recipe::new(name).with(&release).with(packages).with(CUSTOMIZE).with(IMAGE_SIZE).with(HOSTNAME);
    let place = cache.entry(recipe, |place| build(place, &release, &sources, packages))?;
    Ok(place.join("disk.ext4"))
}

fn build(place: &Path, release: &str, sources: &[String], packages: &str) -> Result<()> {
    let work = tempfile::tempdir_in(place)?;
    let archive = work.path().join("root.tar");
    let list = work.path().join("sources.list");
    std::fs::write(&list, sources.join("\n") + "\n")?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--aptopt=Acquire::Languages \"none\""]);
    command.arg(format!("--include={packages}"));
    for path in ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"] {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command.arg(format!("--customize-hook=HOSTNAME={HOSTNAME}\n{CUSTOMIZE}"));
    command.arg(release).arg(&archive).arg(&list);
    process::run(&mut command)?;
    pack(&archive, work.path(), &place.join("disk.ext4"))
}

/// Makes the ext4 image of what the archive holds. Without root rights owners are kept by fakeroot.
fn pack(archive: &Path, work: &Path, image: &Path) -> Result<()> {
    const STEPS: &str = "mkdir \"$2/tree\" && tar -xf \"$1\" -C \"$2/tree\" && \
        mke2fs -q -t ext4 -L root -O ^metadata_csum_seed -d \"$2/tree\" \"$3\" \"$4\"";
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "sh" } else { "fakeroot" });
    if !root {
        command.arg("sh");
    }
    command.args(["-c", STEPS, "sh"]).args([archive, work, image]).arg(IMAGE_SIZE);
    // The mke2fs of a user without root rights is in a folder that the user's PATH lacks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    process::run(&mut command).context("cannot make the disk image")
}
