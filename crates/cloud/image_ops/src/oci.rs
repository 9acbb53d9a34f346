//! An OCI image as a disk that boots: its layers merged into one tree, with a kernel of Debian's beside it.
//!
//! The tree gets a folder of ours with the first process (`oci_init`), what that is to execute, and a static busybox for
//! the network.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use host_sys::named_file::{Accepts, open_named};
use image_build::{FileSystem, KernelKit};
use image_import::LayerFile;
use image_model::{
    Alias, Architecture, Digest, FirstBoot, ImageDescription, ImageSource, SourceKind, UtcTime,
};
use image_sources::{FetchSettings, Fetcher, Layer, OciImage};
use image_store::{BootFiles, Image, NewImage, StagingFolder, StoreError};
use messages::{progress_of, step};
use oci_image::{
    ArchivedImage, ArchivedLayer, ByteRange, LayerCompression, OciConfig, OciOptions, OciReference,
};
use oci_init::Process;

use crate::import::staged;
use crate::oci_process::process;
use crate::pull::{FILE_BYTES_MAX, USUAL_MEMORY_BYTES, events_of, left_behind};
use crate::watch::stages_of;
use crate::{ImageError, Images, ImportOptions, Watch};

/// The first process of such a disk: a static program.
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/oci_init"));
/// What it uses as an address from DHCP comes.
const DHCP: &str = include_str!("oci_dhcp.sh");
/// The kernel's command line.
const CMDLINE: &str =
    "root=/dev/vda rw console=ttyS0 quiet panic=-1 init=/.yagura/init tsc=reliable no_timer_check";
/// Room beside the files: a file system's own, and some for the guest, in bytes.
const SPARE_BYTES: u64 = 256 << 20;

/// An image whose layers are at hand, in open files.
struct LayeredImage<'a> {
    architecture: Architecture,
    digest: Digest,
    config: OciConfig,
    /// The lowest first.
    layers: Vec<LayerFile<'a>>,
}

impl Images {
    /// Pulls an OCI image from its registry, and lets `alias` name it.
    ///
    /// # Errors
    /// It cannot be had, is none for this host's processors, or makes no sense.
    pub fn pull_oci(
        &self,
        reference: &OciReference,
        alias: Option<&Alias>,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let lock = self.alone_at(&format!("oci {reference}"), watch)?;
        let folder = self.store.partial_path(&lock).with_extension("layers");
        std::fs::create_dir_all(&folder).map_err(StoreError::io("make the folder", &folder))?;
        step(watch, &format!("fetching {reference}"))?;
        let fetcher = Fetcher::new(FetchSettings::default())?;
        let image = fetcher.pull_oci(reference, &folder, oci_options(), &mut events_of(watch))?;
        // Layers that are the same are one file.
        let OciImage { architecture, digest, config, layers } = image;
        let files = layers.iter().map(|layer| Ok((&*layer.path, open(&layer.path)?)));
        let files = files.collect::<Result<BTreeMap<_, _>, ImageError>>()?;
        let layers = layers.iter().map(|layer| {
            let Layer { compression, digest, diff_id, .. } = *layer;
            let range = ByteRange::whole(layer.bytes);
            layer_file(&files[&*layer.path], ArchivedLayer { range, compression, digest, diff_id })
        });
        let layers = layers.collect();
        let layered = LayeredImage { architecture, digest, config, layers };
        let taken = self.take_layers(layered, &reference.to_string(), alias, watch)?;
        if let Err(error) = std::fs::remove_dir_all(&folder) {
            watch.note(&left_behind(&error));
        }
        Ok(taken)
    }

    /// Takes an OCI archive, or what `docker save` wrote, in.
    pub(crate) fn import_oci_archive(
        &self,
        path: &Path,
        name: &Path,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        step(watch, "reading the archive")?;
        let archive = open_named(path, Accepts::File).map_err(StoreError::io("open", name))?.file;
        let image = self.importer.read_oci_archive(archive.as_fd(), name, oci_options())?;
        let ArchivedImage { architecture, digest, config, layers } = image;
        let layers = layers.into_iter().map(|layer| layer_file(&archive, layer)).collect();
        let layered = LayeredImage { architecture, digest, config, layers };
        self.take_layers(layered, &options.source.location, options.alias.as_ref(), watch)
    }

    fn take_layers(
        &self,
        image: LayeredImage<'_>,
        name: &str,
        alias: Option<&Alias>,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let process = process(&image.config)?;
        let kit = self.kernel_kit(watch)?;
        let staging = self.store.stage()?;
        step(watch, "merging layers")?;
        let tree = staging.file("tree.tar");
        let description = description(&image, name);
        let identity = *image.digest.bytes();
        let own = staging.file("own.tar");
        write_own_layer(&own, &kit, &process).map_err(StoreError::io("write", &own))?;
        let data_bytes = self.merge(image.layers, &own, &staging, &tree, watch)?;
        step(watch, "making the disk")?;
        let disk = staging.file("disk");
        let size_bytes = (data_bytes + data_bytes / 4 + SPARE_BYTES).next_multiple_of(1 << 20);
        let file_system = FileSystem { size_bytes, label: "root", identity };
        image_build::from_tar(&tree, staging.path(), &disk, &file_system)?;
        let (kernel, initrd) = (staging.file("kernel"), staging.file("initrd"));
        for (from, to) in [(&kit.kernel, &kernel), (&kit.initrd, &initrd)] {
            std::fs::copy(from, to).map_err(StoreError::io("copy", from))?;
        }
        let boot = BootFiles::Kernel { kernel, initrd: Some(initrd), cmdline: CMDLINE.to_owned() };
        self.take_in(NewImage { description, disk, boot }, alias, watch)
    }

    /// The layers and one of ours over them as one archive; the bytes of its files.
    fn merge(
        &self,
        layers: Vec<LayerFile<'_>>,
        own: &Path,
        staging: &StagingFolder,
        tree: &Path,
        watch: &mut dyn Watch,
    ) -> Result<u64, ImageError> {
        let own_file = open(own)?;
        let own_bytes = own_file.metadata().map_err(StoreError::io("look at", own))?.len();
        let mut layers: Vec<LayerFile<'_>> = layers;
        layers.push(LayerFile {
            file: own_file.as_fd(),
            range: ByteRange::whole(own_bytes),
            compression: LayerCompression::None,
            diff_id: None,
            name: "of Yagura's own".to_owned(),
        });
        let (output, scratch) = (staged(tree)?, staged(&staging.file("scratch"))?);
        let merged =
            self.importer.merge_layers(&layers, output.as_fd(), scratch.as_fd(), &mut progress_of(watch))?;
        if merged.dropped.devices > 0 {
            watch.note(&format!("{} device nodes of the image were left out", merged.dropped.devices));
        }
        Ok(merged.data_bytes)
    }

    /// Debian's kernel for disks that bring none, built once.
    fn kernel_kit(&self, watch: &mut dyn Watch) -> Result<KernelKit, ImageError> {
        let recipe = image_build::kernel_recipe();
        let _lock = self.alone_at(&format!("kernel {}", recipe.name), watch)?;
        let folder = self.store.root().join("kernels").join(recipe.short_digest());
        if let Some(kit) = KernelKit::at(&folder) {
            return Ok(kit);
        }
        let archive = image_build::host_archive()?;
        let staging = self.store.stage()?;
        image_build::build_kernel(&recipe, &archive, staging.path(), &mut stages_of(watch))?;
        let parent = self.store.root().join("kernels");
        std::fs::create_dir_all(&parent).map_err(StoreError::io("make the folder", &parent))?;
        let kit =
            KernelKit::place(staging.path(), &folder).map_err(StoreError::io("put in place", &folder))?;
        Ok(kit)
    }
}

fn oci_options() -> OciOptions {
    OciOptions { architecture: Architecture::of_host(), bytes_max: FILE_BYTES_MAX }
}

/// A layer that lies in `file`, to be merged.
fn layer_file(file: &File, layer: ArchivedLayer) -> LayerFile<'_> {
    let ArchivedLayer { range, compression, digest, diff_id } = layer;
    LayerFile { file: file.as_fd(), range, compression, diff_id: Some(diff_id), name: digest.short() }
}

fn open(path: &Path) -> Result<File, ImageError> {
    Ok(File::open(path).map_err(StoreError::io("open", path))?)
}

fn description(image: &LayeredImage<'_>, name: &str) -> ImageDescription {
    let title = image.config.title.clone().filter(|text| !text.chars().any(char::is_control));
    ImageDescription {
        os: "oci".to_owned(),
        release: image.digest.short(),
        architecture: image.architecture,
        variant: "default".to_owned(),
        description: title.unwrap_or_else(|| name.to_owned()),
        default_user: None,
        min_disk_bytes: 0,
        min_memory_bytes: USUAL_MEMORY_BYTES,
        machine: image_model::MachineDefaults::default(),
        first_boot: FirstBoot::None,
        source: ImageSource { kind: SourceKind::Oci, location: name.to_owned(), checksum: None },
        built: UtcTime::now(),
    }
}

/// What the initial RAM disk mounts over, which an image need not bring, and our own.
const FOLDERS: [&str; 6] = ["dev/", "proc/", "sys/", "run/", ".yagura/", ".yagura/run/"];

/// Writes a layer with the files that make a tree boot.
fn write_own_layer(path: &Path, kit: &KernelKit, process: &Process) -> std::io::Result<()> {
    let busybox = std::fs::read(&kit.busybox)?;
    // The environment in it may hold secrets, which the image's users need not read here.
    let files: [(&str, u32, &[u8]); 4] = [
        (".yagura/busybox", 0o755, &busybox),
        (".yagura/init", 0o755, INIT),
        (".yagura/dhcp", 0o755, DHCP.as_bytes()),
        (".yagura/process", 0o600, &process.encode()),
    ];
    let mut archive = tar::Builder::new(File::create(path)?);
    for name in FOLDERS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, &[][..])?;
    }
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, name, bytes)?;
    }
    archive.into_inner()?.sync_all()
}
