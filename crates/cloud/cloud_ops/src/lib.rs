//! What is done with images and instances, a file a verb: the ordered steps, and what is undone when one fails.
//!
//! ```text
//! image_pull ──► catalogue: fetch ─► image_import ─┐
//!      └───────► image_build (packages) ───────────┼─► image_store ─► instance_create ─► instance_boot
//! import_file (a file) ─► image_import ─────────────┘        (disk, seed)      (kernel out of the disk)
//! ```
//!
//! Used by: the command line, and whatever else acts for a person. Says how far it is to a [`Watch`]; prints
//! nothing.

mod appliance_disks;
mod error;
mod image_build;
mod image_import;
mod image_oci;
mod image_publish;
mod image_pull;
mod import_file;
mod instance_boot;
mod instance_create;
mod oci_process;
mod random;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::image_import::Importer;
use ::image_store::{Architecture, KeyLock, Store};
use image_sources::Catalogue;

pub use error::OpError;
pub use image_import::ImportOptions;
pub use instance_boot::BootPlan;
pub use instance_create::{FirstBootChoices, Instance};

/// Told what is being done, for a person who waits.
pub trait Watch {
    /// A stage begins.
    fn stage(&mut self, what: &str);
    /// So many bytes of it are done, of so many where that is known.
    fn bytes(&mut self, done: u64, all: Option<u64>);
    /// Something that a person should know, and that ends nothing.
    fn note(&mut self, what: &str);
}

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
    pub fn open(folder: &Path) -> Result<Images, OpError> {
        Ok(Images { store: Store::open(folder)?, importer: Importer::this_program() })
    }

    /// The vendors' images that are known, and those that this host's users added.
    ///
    /// # Errors
    /// A file of theirs makes no sense.
    pub fn catalogue(&self) -> Result<Catalogue, OpError> {
        Ok(Catalogue::load(&catalogue_folders())?)
    }

    /// Names that can be pulled, and a line about each.
    ///
    /// # Errors
    /// As for [`Images::catalogue`].
    pub fn offered(&self) -> Result<BTreeMap<String, String>, OpError> {
        let recipes = ::image_build::shipped_names().filter_map(::image_build::shipped);
        let mut names: BTreeMap<String, String> =
            recipes.map(|recipe| (recipe.name, recipe.description)).collect();
        let architecture = Architecture::of_host();
        for entry in self.catalogue()?.entries().filter(|entry| entry.file(architecture).is_ok()) {
            names.insert(entry.alias.to_string(), entry.description.clone());
        }
        Ok(names)
    }

    /// Waits until no other process is at what `key` names, and is at it then.
    fn alone_at(&self, key: &str, watch: &mut dyn Watch) -> Result<KeyLock, OpError> {
        self.store.lock_key(key, |_| {
            watch.stage(WAITING);
            Ok(())
        })
    }
}

/// Told while another process is at the same thing.
const WAITING: &str = "another process is at this; waiting for it";

/// The system's folder, then the user's own.
fn catalogue_folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let own = own.map(|folder| folder.join("yagura/images.d"));
    std::iter::once(PathBuf::from("/etc/yagura/images.d")).chain(own).collect()
}

/// A [`Watch`] as the store wants to be told of bytes.
fn bytes_of(watch: &mut dyn Watch) -> impl FnMut(u64, u64) + '_ {
    move |done, all| watch.bytes(done, Some(all))
}
