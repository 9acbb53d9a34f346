//! `image publish`: an instance's disk as an image of its own.

use disk::{BackingPolicy, ConvertOptions, RawContents};
use image_model::{Alias, Digest, ImageSource, SourceKind};
use image_store::{BootFiles, BootWay, Image, StagingFolder};
use messages::step;
use vm_spec::VmName;

use crate::import::Found;
use crate::watch::bytes_of;
use crate::{ImageError, Images, ImportOptions, Watch};

impl Images {
    /// Makes an image of an instance's disk as it is now. The instance must not run.
    ///
    /// # Errors
    /// There is no such instance, it runs, or the store refuses; then there is no new image.
    pub fn publish(
        &self,
        name: &VmName,
        description: Option<String>,
        alias: Option<Alias>,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let disk = self.store.instance_disk(name)?;
        let origin = self.store.instance_image(name)?;
        let staging = self.store.stage()?;
        let raw = staging.file("disk");
        step(watch, "copying the instance's disk")?;
        // The disk is one of ours, whatever its guest has written; what is behind an overlay is a blob of the store.
        let options = ConvertOptions {
            from: disk.format,
            contents: RawContents::Any,
            policy: BackingPolicy::Open,
            to: None,
            compress: false,
        };
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
            machine: about.machine.clone(),
            variant: about.variant.clone(),
            alias,
            ..ImportOptions::of(source)
        };
        let found = match self.kernel_of(&origin, &staging, watch)? {
            Some(boot) => Found { boot, facts: Vec::new() },
            None => self.look(&staging, &raw, &disk.path, watch)?,
        };
        self.adopt(raw, found, &options, watch)
    }

    /// The kernel of an image whose disk has none, for another image of its kind.
    fn kernel_of(
        &self,
        origin: &Image,
        staging: &StagingFolder,
        watch: &mut dyn Watch,
    ) -> Result<Option<BootFiles>, ImageError> {
        let BootWay::Kernel { kernel, initrd, cmdline } = &origin.metadata.boot else { return Ok(None) };
        let mut copy =
            |blob: &Digest, name| staging.copy_in(&self.store.blob_path(blob), name, &mut bytes_of(watch));
        let kernel = copy(kernel, "kernel")?;
        let initrd = initrd.as_ref().map(|blob| copy(blob, "initrd")).transpose()?;
        Ok(Some(BootFiles::Kernel { kernel, initrd, cmdline: cmdline.clone() }))
    }
}
