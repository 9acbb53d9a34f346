//! `image build`: an image out of Debian's packages.

use image_build::Recipe;
use image_model::{Alias, Architecture, ImageDescription, ImageSource, SourceKind, UtcTime};
use image_store::{BootFiles, Image, NewImage};
use messages::step;

use crate::pull::USUAL_MEMORY_BYTES;
use crate::watch::stages_of;
use crate::{ImageError, Images, Watch};

impl Images {
    /// Builds the image of `recipe` and gives it the recipe's name.
    ///
    /// # Errors
    /// A program is missing or fails, or the store refuses; then there is no new image.
    pub fn build(&self, recipe: &Recipe, watch: &mut dyn Watch) -> Result<Image, ImageError> {
        let alias: Alias = recipe.name.parse()?;
        let archive = image_build::host_archive()?;
        step(watch, "making a folder to build in")?;
        let staging = self.store.stage()?;
        let disk = staging.file("disk");
        image_build::build(recipe, &archive, &disk, &mut stages_of(watch))?;
        let new = NewImage { description: description(recipe), disk, boot: BootFiles::FromDisk };
        self.take_in(new, Some(&alias), watch)
    }
}

fn description(recipe: &Recipe) -> ImageDescription {
    ImageDescription {
        os: recipe.os.clone(),
        release: recipe.release.clone(),
        architecture: Architecture::of_host(),
        variant: "default".to_owned(),
        description: recipe.description.clone(),
        default_user: Some(recipe.default_user.clone()).filter(|user| !user.is_empty()),
        min_disk_bytes: recipe.size.bytes(),
        min_memory_bytes: USUAL_MEMORY_BYTES,
        machine: image_model::MachineDefaults::default(),
        first_boot: recipe.first_boot,
        source: ImageSource { kind: SourceKind::Packages, location: recipe.name.clone(), checksum: None },
        built: UtcTime::now(),
    }
}
