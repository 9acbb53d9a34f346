//! Names of images: one small file, written anew at each change.

use std::collections::BTreeMap;
use std::io;

use messages::{nearest, parser_words};

use crate::durable;
use crate::error::StoreError;
use crate::locks::StoreLock;
use crate::store::Store;
use image_model::{Alias, Digest, ImageReference};

/// Longest file of aliases that is read.
const ALIASES_BYTES_MAX: u64 = 4 << 20;

impl Store {
    /// All aliases, and the images that they name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn aliases(&self) -> Result<BTreeMap<Alias, Digest>, StoreError> {
        let path = self.layout.aliases();
        let bytes = match durable::read_file(&path, ALIASES_BYTES_MAX) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            answer => answer?,
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::metadata(&path, parser_words(&error.to_string())))
    }

    /// The aliases of an image.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn aliases_of(&self, id: &Digest) -> Result<Vec<Alias>, StoreError> {
        let aliases = self.aliases()?.into_iter();
        Ok(aliases.filter(|(_, named)| named == id).map(|(alias, _)| alias).collect())
    }

    /// Lets `alias` name the image `id`, and returns what it named before.
    ///
    /// # Errors
    /// There is no such image, or the host refuses.
    pub fn set_alias(&self, alias: &Alias, id: &Digest) -> Result<Option<Digest>, StoreError> {
        let lock = self.lock_exclusive()?;
        self.image(id)?;
        let mut aliases = self.aliases()?;
        let before = aliases.insert(alias.clone(), *id);
        self.write_aliases(&aliases, &lock)?;
        Ok(before)
    }

    /// Removes an alias; the image stays. Returns what it named.
    ///
    /// # Errors
    /// There is no such alias, or the host refuses.
    pub fn remove_alias(&self, alias: &Alias) -> Result<Digest, StoreError> {
        let lock = self.lock_exclusive()?;
        let mut aliases = self.aliases()?;
        let Some(id) = aliases.remove(alias) else {
            let suggestion = nearest(alias.as_str(), aliases.keys().map(Alias::as_str));
            let suggestion = suggestion.map(str::to_owned);
            return Err(StoreError::NoSuchImage {
                reference: ImageReference::Alias(alias.clone()),
                suggestion,
            });
        };
        self.write_aliases(&aliases, &lock)?;
        Ok(id)
    }

    /// Removes all aliases of an image.
    pub(crate) fn remove_aliases_of(&self, id: &Digest, lock: &StoreLock) -> Result<Vec<Alias>, StoreError> {
        let (gone, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.aliases()?.into_iter().partition(|(_, named)| named == id);
        if !gone.is_empty() {
            self.write_aliases(&left, lock)?;
        }
        Ok(gone.into_keys().collect())
    }

    fn write_aliases(&self, aliases: &BTreeMap<Alias, Digest>, _lock: &StoreLock) -> Result<(), StoreError> {
        let path = self.layout.aliases();
        let mut bytes = serde_json::to_vec_pretty(aliases)
            .map_err(|error| StoreError::metadata(&path, error.to_string()))?;
        bytes.push(b'\n');
        durable::write_file(&path, &bytes)
    }
}
