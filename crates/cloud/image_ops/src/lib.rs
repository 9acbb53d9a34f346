//! What is done with images, a file a verb: the ordered steps, and what is undone when one fails.
//!
//! ```text
//! pull ──► catalogue: fetch ─► file ─┐
//!   └────► build (packages) ─────────┼─► import ─► image_store
//! file (of this host) ───────────────┤
//! oci (registry, archive) ───────────┤
//! publish (an instance's disk) ──────┘
//! ```
//!
//! Used by: the command line, and whatever else acts for a person. Says how far it is to a [`Watch`], which can end it at
//! each step; prints nothing. What is prepared lies in a staging folder, which goes with whoever made it; an image is
//! there when all of it is, and its name with it ([`Store::add_hashed`]).

mod appliance_disks;
mod build;
mod error;
mod file;
mod import;
mod oci;
mod oci_process;
mod publish;
mod pull;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image_import::Importer;
use image_model::{Alias, Architecture};
use image_sources::Catalogue;
use image_store::{Image, KeyLock, NewImage, Store};

pub use error::ImageError;
pub use import::ImportOptions;
pub use messages::Watch;

use messages::{progress_of, step};
use watch::WAITING;

/// Where images are, and who reads foreign ones.
pub struct Images {
    /// The store.
    pub store: Store,
    /// Starts confined readers.
    pub importer: Importer,
}

impl Images {
    /// Opens the store below `folder`; foreign formats are read by this program again.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(folder: &Path) -> Result<Images, ImageError> {
        Ok(Images { store: Store::open(folder)?, importer: Importer::this_program() })
    }

    /// The vendors' images that are known, and those that this host's users added.
    ///
    /// # Errors
    /// A file of theirs makes no sense.
    pub fn catalogue(&self) -> Result<Catalogue, ImageError> {
        Ok(Catalogue::load(&catalogue_folders())?)
    }

    /// Names that can be pulled, and a line about each.
    ///
    /// # Errors
    /// As for [`Images::catalogue`].
    pub fn offered(&self) -> Result<BTreeMap<String, String>, ImageError> {
        let recipes = image_build::shipped_names().filter_map(image_build::shipped);
        let mut names: BTreeMap<String, String> =
            recipes.map(|recipe| (recipe.name, recipe.description)).collect();
        let architecture = Architecture::of_host();
        for entry in self.catalogue()?.entries().filter(|entry| entry.file(architecture).is_ok()) {
            names.insert(entry.alias.to_string(), entry.description.clone());
        }
        Ok(names)
    }

    /// The last step of every way to an image: it gets its place and its name, or the store stays as it was.
    fn take_in(
        &self,
        new: NewImage,
        alias: Option<&Alias>,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        step(watch, "taking its digest")?;
        let image = self.store.hash_image(new, &mut progress_of(watch))?;
        step(watch, "giving it its place")?;
        Ok(self.store.add_hashed(image, alias)?)
    }

    /// Waits until no other process is at what `key` names, and is at it then.
    fn alone_at(&self, key: &str, watch: &mut dyn Watch) -> Result<KeyLock, ImageError> {
        self.store.lock_key(key, |_| Ok(step(watch, WAITING)?))
    }
}

/// The system's folder, then the user's own.
fn catalogue_folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let own = own.map(|folder| folder.join("yagura/images.d"));
    std::iter::once(PathBuf::from("/etc/yagura/images.d")).chain(own).collect()
}
