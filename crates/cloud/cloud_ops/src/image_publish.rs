//! `image publish`: an instance's disk as an image of its own.

use disk::{BackingPolicy, ConvertOptions, DiskFormat, SourceFormat};
use image_store::{Image, ImageSource, InstanceName, SourceKind};

use crate::{Images, ImportOptions, OpError, Watch, bytes_of};

impl Images {
    /// Makes an image of an instance's disk as it is now. The instance must not run.
    ///
    /// # Errors
    /// There is no such instance, it runs, or the store refuses; then there is no new image.
    pub fn publish(
        &self,
        name: &InstanceName,
        description: Option<String>,
        watch: &mut dyn Watch,
    ) -> Result<Image, OpError> {
        let disk = self.store.instance_disk(name)?;
        let origin = self.instance_image(name)?;
        let staging = self.store.stage()?;
        let raw = staging.file("disk");
        watch.stage("copying the instance's disk");
        // The overlay is one of ours, and what is behind it is a blob of the store.
        let options =
            ConvertOptions { from: disk.format, policy: BackingPolicy::Open, to: None, compress: false };
        disk::convert(&disk.path, &raw, &options, bytes_of(watch))?;
        let about = &origin.metadata.description;
        let source = ImageSource { kind: SourceKind::Instance, location: name.to_string(), checksum: None };
        let options = ImportOptions {
            os: Some(about.os.clone()),
            release: Some(about.release.clone()),
            description: description
                .or_else(|| Some(format!("{}, as instance {name} had it", about.description))),
            first_boot: about.first_boot,
            default_user: about.default_user.clone(),
            min_memory_bytes: about.min_memory_bytes,
            variant: about.variant.clone(),
            ..ImportOptions::of(source)
        };
        self.adopt(&staging, raw, &disk.path, &options, watch)
    }

    /// The image that an instance was made of.
    pub(crate) fn instance_image(&self, name: &InstanceName) -> Result<Image, OpError> {
        let instances = self.store.instances()?;
        let record = instances.into_iter().find(|(known, _)| known == name).map(|(_, record)| record);
        let record =
            record.ok_or_else(|| OpError::Refused(format!("instance {name} was made of no image")))?;
        Ok(self.store.image(&record.image)?)
    }
}

pub(crate) fn source_format(format: DiskFormat) -> SourceFormat {
    match format {
        DiskFormat::Raw => SourceFormat::Raw,
        DiskFormat::Qcow2 => SourceFormat::Qcow2,
    }
}
