//! What an image is made of, as a file says it.

use std::path::{Path, PathBuf};

use host_sys::named_file::read_named;
use image_model::FirstBoot;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use vm_spec::DiskSize;

/// Recipes that come with the program: their names, and their text.
const SHIPPED: &[(&str, &str)] = &[
    ("debian/12", include_str!("recipes/debian-12.toml")),
    ("debian/13", include_str!("recipes/debian-13.toml")),
    ("debian/12/cloud-init", include_str!("recipes/debian-12-cloud-init.toml")),
];

/// What every Debian image of ours has in common; `$1` is its folder.
/// No recipe is longer.
const RECIPE_BYTES_MAX: u64 = 1 << 20;
const DEBIAN: &str = include_str!("recipes/debian.sh");

/// An image made of packages.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// The alias it gets.
    pub name: String,
    /// The operating system's name, as `ID` in os-release has it.
    pub os: String,
    /// Its release, as `VERSION_ID` has it.
    pub release: String,
    /// The release's code name, as the archive has it.
    pub codename: String,
    /// A line for people.
    #[serde(default)]
    pub description: String,
    /// Packages beside the essential ones.
    pub packages: Vec<String>,
    /// Length of the disk; instances may have a longer one.
    #[serde(deserialize_with = "disk_size")]
    pub size: DiskSize,
    /// What configures an instance. cloud-init has to be among the packages; the small service comes with the program.
    pub first_boot: FirstBoot,
    /// Who logs in by default.
    #[serde(default)]
    pub default_user: String,
    /// Whether the project's own settings for a Debian server are made.
    #[serde(default)]
    pub server: bool,
    /// Shell that is run at the end, outside of the new system; `$1` is its folder.
    #[serde(default)]
    pub customize: String,
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It cannot be read.
    #[error("cannot read the recipe {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// It makes no sense.
    #[error("recipe {0}: {1}")]
    Bad(PathBuf, String),
}

/// The names of the recipes that come with the program.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// A recipe that comes with the program.
pub fn shipped(name: &str) -> Option<Recipe> {
    let (name, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
    Some(parse_shipped(name, text))
}

/// A recipe whose text is part of the program.
pub(crate) fn parse_shipped(name: &str, text: &str) -> Recipe {
    // A test reads them all.
    parse(text, Path::new(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn parse(text: &str, path: &Path) -> Result<Recipe, RecipeError> {
    let bad = |why: String| RecipeError::Bad(path.to_owned(), why);
    let recipe: Recipe = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        bad(format!("line {line}: {}", messages::parser_words(error.message())))
    })?;
    let word = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-+.:~=/".contains(c))
            && !text.starts_with('-')
    };
    if let Some(name) = recipe.packages.iter().chain([&recipe.codename]).find(|name| !word(name)) {
        return Err(bad(format!("'{name}' cannot be a package's or a release's name")));
    }
    Ok(recipe)
}

impl Recipe {
    /// Reads a recipe from a file.
    ///
    /// # Errors
    /// The file cannot be read, or says something else.
    pub fn read(path: &Path) -> Result<Recipe, RecipeError> {
        let bytes =
            read_named(path, RECIPE_BYTES_MAX).map_err(|error| RecipeError::Read(path.to_owned(), error))?;
        let text = String::from_utf8(bytes);
        parse(
            &text.map_err(|_| RecipeError::Bad(path.to_owned(), "it is not text in UTF-8".to_owned()))?,
            path,
        )
    }

    /// What stands for the recipe: another one gives another digest.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(format!("{self:?}"));
        digest.update(DEBIAN);
        digest.update(INITRAMFS_MODULES);
        first_boot::GUEST_FILES.iter().for_each(|file| digest.update(file.text));
        digest.finalize().into()
    }

    /// The first digits of that, for a name.
    pub fn short_digest(&self) -> String {
        image_model::hex(&self.digest()[..8])
    }

    /// The shell commands that finish the new system.
    pub(crate) fn scripts(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = Some(self.customize.as_str()).filter(|text| !text.trim().is_empty());
        let server = self.server.then_some(("server", DEBIAN));
        server.into_iter().chain(own.map(|text| ("customize", text)))
    }

    /// Files that are there before packages are configured, as a tar archive.
    pub(crate) fn added_files(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        if self.first_boot == FirstBoot::Yagura {
            for file in first_boot::GUEST_FILES {
                add(&mut archive, file.path, file.text, file.mode)?;
            }
        }
        if self.packages.iter().any(|package| package == "initramfs-tools") {
            // What virtual machines of ours have, and nothing else: the archive is a third as long.
            add(&mut archive, "/etc/initramfs-tools/conf.d/virtual", "MODULES=list\nCOMPRESS=zstd\n", 0o644)?;
            add(&mut archive, "/usr/share/initramfs-tools/modules.d/virtual", INITRAMFS_MODULES, 0o644)?;
        }
        archive.into_inner()
    }
}

/// Drivers of a virtual machine's devices, its power button among them, and file systems that a root may have.
const INITRAMFS_MODULES: &str =
    "virtio_pci\nvirtio_blk\nvirtio_net\nvirtio_console\nvirtio_rng\nbutton\nevdev\next4\n";

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, text: &str, mode: u32) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path.trim_start_matches('/'), text.as_bytes())
}

fn disk_size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<DiskSize, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_can_be_read() {
        assert_eq!(crate::kernel_recipe().name, "kernel");
        for name in shipped_names() {
            let recipe = shipped(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(recipe.name, name);
            assert_eq!(
                recipe.first_boot == FirstBoot::CloudInit,
                recipe.packages.iter().any(|p| p == "cloud-init")
            );
        }
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let text = include_str!("recipes/debian-12.toml");
        let refused = |text: &str| parse(text, Path::new("my.toml")).unwrap_err().to_string();
        assert!(
            refused(&format!("colour = 1\n{text}"))
                .starts_with("recipe my.toml: line 1: unknown key 'colour'")
        );
        assert!(
            refused(&text.replace("\"udev\"", "\"--force\"")).contains("'--force' cannot be a package's")
        );
        assert!(refused(&text.replace("\"2G\"", "\"2 pounds\"")).contains("2 pounds"));
    }

    #[test]
    fn another_package_is_another_recipe() {
        let recipe = shipped("debian/12").unwrap();
        let mut other = recipe.clone();
        other.packages.push("nginx".to_owned());
        assert_ne!(recipe.digest(), other.digest());
    }
}
