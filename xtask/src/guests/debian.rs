//! A Debian root file system made by mmdebstrap, as an ext4 image.

use crate::cache::{self, Cache};
use crate::packages;
use anyhow::Result;
use image_build::Recipe;
use image_model::FirstBoot;
use std::ops::ControlFlow;
use std::path::PathBuf;

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
    let archive = packages::debian_archive()?;
    let recipe = Recipe {
        name: name.to_owned(),
        os: "debian".to_owned(),
        release: archive.codename.clone(),
        codename: archive.codename.clone(),
        description: String::new(),
        packages: packages.split(',').map(str::to_owned).collect(),
        size: IMAGE_SIZE.parse()?,
        first_boot: FirstBoot::None,
        default_user: String::new(),
        server: false,
        customize: format!("HOSTNAME={HOSTNAME}\n{CUSTOMIZE}"),
    };
    let entry = cache::Recipe::new(name).with(recipe.digest());
    let build = |place: &std::path::Path| {
        Ok(image_build::build(&recipe, &archive, &place.join(IMAGE), &mut |_| ControlFlow::Continue(()))?)
    };
    Ok(cache.entry(entry, build)?.join(IMAGE))
}

/// The image's name in its entry of the cache.
const IMAGE: &str = "disk.ext4";
