//! `image build`: an image out of Debian's packages.

use ::image_build::{FirstBoot as RecipeFirstBoot, Recipe};
use image_store::{
    Alias, Architecture, BootFiles, FirstBoot, Image, ImageDescription, ImageSource, NewImage, SourceKind,
    UtcTime,
};

use crate::image_pull::USUAL_MEMORY_BYTES;
use crate::{Images, OpError, Watch, bytes_of};

impl Images {
    /// Builds the image of `recipe` and gives it the recipe's name.
    ///
    /// # Errors
    /// A program is missing or fails, or the store refuses; then there is no new image.
    pub fn build(&self, recipe: &Recipe, watch: &mut dyn Watch) -> Result<Image, OpError> {
        let alias: Alias = recipe.name.parse()?;
        let archive = ::image_build::host_archive()?;
        let staging = self.store.stage()?;
        let disk = staging.file("disk");
        ::image_build::build(recipe, &archive, &disk, &mut |stage| watch.stage(stage))?;
        watch.stage("taking its digest");
        let new = NewImage { description: description(recipe), disk, boot: BootFiles::FromDisk };
        let image = self.store.add_image(new, &mut bytes_of(watch))?;
        self.store.set_alias(&alias, &image.id)?;
        Ok(image)
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
        machine: image_store::MachineDefaults::default(),
        first_boot: match recipe.first_boot {
            RecipeFirstBoot::CloudInit => FirstBoot::CloudInit,
            RecipeFirstBoot::Service => FirstBoot::Yagura,
            RecipeFirstBoot::None => FirstBoot::None,
        },
        source: ImageSource { kind: SourceKind::Packages, location: recipe.name.clone(), checksum: None },
        built: UtcTime::now(),
    }
}
