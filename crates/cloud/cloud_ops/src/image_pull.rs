//! `image pull`: an image by its name, from wherever it can be had.

use ::image_build::{Recipe, shipped};
use image_store::{Alias, Image, ImageReference, KeyLock, StoreError};

use crate::{Images, OpError, Watch};

impl Images {
    /// The image of this name: from the store, or else fetched or built now.
    ///
    /// # Errors
    /// Nobody knows the name, or it cannot be had.
    pub fn obtain(&self, reference: &ImageReference, watch: &mut dyn Watch) -> Result<Image, OpError> {
        match (self.store.resolve(reference), reference) {
            (Ok(image), _) => Ok(image),
            (Err(StoreError::NoSuchImage { .. }), ImageReference::Alias(alias)) => self.pull(alias, watch),
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Has the image of this name brought into the store once, however many ask for it at the same time.
    ///
    /// # Errors
    /// As for [`Images::obtain`].
    pub fn pull(&self, alias: &Alias, watch: &mut dyn Watch) -> Result<Image, OpError> {
        let recipe = shipped(alias.as_str()).ok_or_else(|| unknown(alias))?;
        self.build_once(alias, &recipe, watch)
    }

    fn build_once(&self, alias: &Alias, recipe: &Recipe, watch: &mut dyn Watch) -> Result<Image, OpError> {
        let reference = ImageReference::Alias(alias.clone());
        // Both closures tell the same watch, one after the other.
        let watch = std::cell::RefCell::new(watch);
        self.store.pull_once(
            &format!("image {alias}"),
            |_| {
                watch.borrow_mut().stage("another process brings this image; waiting for it");
                Ok::<(), OpError>(())
            },
            |_: &KeyLock| Ok(self.store.resolve(&reference).ok()),
            |_| self.build(recipe, *watch.borrow_mut()),
        )
    }
}

fn unknown(alias: &Alias) -> OpError {
    let hint = image_store::suggestion(alias.as_str(), ::image_build::shipped_names());
    let hint = hint.map_or(String::new(), |name| format!("; did you mean {name}?"));
    OpError::Refused(format!("no image is called {alias}, here or in any catalogue{hint}"))
}
