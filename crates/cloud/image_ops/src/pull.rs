//! `image pull`: an image by its name, from wherever it can be had.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use image_build::shipped;
use image_model::{Alias, Architecture, FirstBoot, ImageReference, ImageSource, MachineDefaults};
use image_sources::{CatalogueEntry, Download, FetchEvent, FetchSettings, Fetched, Fetcher, FileKind};
use image_store::{Image, StoreError};
use messages::step;

use crate::watch::WAITING;
use crate::{ImageError, Images, ImportOptions, Watch};

/// Longest file that is fetched or unpacked, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 30;
/// Memory that an image is taken to need where nobody says how much, in bytes.
pub(crate) const USUAL_MEMORY_BYTES: u64 = 256 << 20;

/// How long a vendor is tried where packages can stand in for its image.
fn brief() -> FetchSettings {
    let connect_timeout = Duration::from_secs(5);
    FetchSettings { connect_timeout, attempts_max: 1, ..FetchSettings::default() }
}

impl Images {
    /// The image of this name: from the store, or else fetched or built now.
    ///
    /// # Errors
    /// Nobody knows the name, or it cannot be had.
    pub fn obtain(&self, reference: &ImageReference, watch: &mut dyn Watch) -> Result<Image, ImageError> {
        match (self.store.resolve(reference), reference) {
            (Ok(image), _) => Ok(image),
            (Err(StoreError::NoSuchImage { .. }), ImageReference::Alias(alias)) => {
                self.pull_named(alias, watch)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Brings the catalogue's image of this name into the store: once, however many ask for it at the same time.
    ///
    /// # Errors
    /// Nobody knows the name, or it cannot be had.
    pub fn pull_named(&self, alias: &Alias, watch: &mut dyn Watch) -> Result<Image, ImageError> {
        let reference = ImageReference::Alias(alias.clone());
        // The closures tell the same watch, one after the other.
        let watch = RefCell::new(watch);
        self.store.pull_once(
            &format!("image {alias}"),
            |_| Ok::<(), ImageError>(step(*watch.borrow_mut(), WAITING)?),
            |lock| Ok(if lock.waited() { self.store.resolve(&reference).ok() } else { None }),
            |lock| {
                let partial = self.store.partial_path(lock);
                self.pull_entry(alias, &partial, *watch.borrow_mut())
            },
        )
    }

    /// The vendor's image, or what its recipe makes where the vendor cannot be reached.
    fn pull_entry(&self, alias: &Alias, partial: &Path, watch: &mut dyn Watch) -> Result<Image, ImageError> {
        let catalogue = self.catalogue()?;
        let Some(entry) = catalogue.entries().find(|entry| entry.alias == *alias) else {
            let recipe = shipped(alias.as_str()).ok_or_else(|| self.unknown(alias.as_str()))?;
            return self.build(&recipe, watch);
        };
        let recipe = entry.recipe.as_deref().and_then(shipped);
        if entry.files.is_empty()
            && let Some(recipe) = &recipe
        {
            return self.build(recipe, watch);
        }
        step(watch, &format!("fetching {alias} from its vendor"))?;
        let settings = if recipe.is_some() { brief() } else { FetchSettings::default() };
        match (self.fetch_entry(entry, settings, partial, watch), recipe) {
            (Ok(fetched), _) => self.take_vendors(alias, entry, fetched, watch),
            (Err(ImageError::Fetch(error)), Some(recipe)) if error.is_unreachable() => {
                watch.note(&format!(
                    "{alias}: the vendor's image cannot be had ({}); building it from Debian's packages instead",
                    messages::in_words(&error)
                ));
                self.build(&recipe, watch)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn fetch_entry(
        &self,
        entry: &CatalogueEntry,
        settings: FetchSettings,
        partial: &Path,
        watch: &mut dyn Watch,
    ) -> Result<Fetched, ImageError> {
        let file = entry.file(Architecture::of_host())?;
        let fetcher = Fetcher::new(settings)?;
        Ok(fetcher.fetch_vendor_file(file, partial, FILE_BYTES_MAX, &mut events_of(watch))?)
    }

    fn take_vendors(
        &self,
        alias: &Alias,
        entry: &CatalogueEntry,
        fetched: Fetched,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let architecture = Architecture::of_host();
        let kind = entry.file(architecture)?.kind;
        let about = entry.describe(architecture, fetched.checksum, image_model::UtcTime::now());
        let options = ImportOptions {
            os: Some(about.os),
            release: Some(about.release),
            description: Some(about.description),
            first_boot: about.first_boot,
            default_user: about.default_user,
            min_memory_bytes: about.min_memory_bytes,
            min_disk_bytes: about.min_disk_bytes,
            variant: about.variant,
            machine: about.machine,
            force_raw: false,
            appliance_disk: None,
            source: about.source,
            alias: Some(alias.clone()),
        };
        let image = self.import_file(&fetched.path, Some(kind), &options, watch)?;
        forget_download(&fetched.path, watch);
        Ok(image)
    }

    /// Takes the file at `url` in, which has to have the checksum of the options' source, if that has one.
    ///
    /// # Errors
    /// It cannot be had, or is not what it is said to be.
    pub fn pull_url(
        &self,
        url: &str,
        kind: Option<FileKind>,
        options: &ImportOptions,
        watch: &mut dyn Watch,
    ) -> Result<Image, ImageError> {
        let lock = self.alone_at(&format!("url {url}"), watch)?;
        let shown = messages::without_login(url);
        step(watch, &format!("fetching {shown}"))?;
        let partial = self.store.partial_path(&lock);
        let expected = options.source.checksum.as_ref();
        let download = Download { url, partial: &partial, expected, bytes_max: FILE_BYTES_MAX };
        let fetched = Fetcher::new(FetchSettings::default())?.download(&download, &mut events_of(watch))?;
        if expected.is_none() {
            watch.note(&format!("{shown}: no checksum was given; what came has {}", fetched.checksum));
        }
        let mut options = options.clone();
        options.source.checksum = Some(fetched.checksum);
        let image = self.import_file(&fetched.path, kind, &options, watch)?;
        forget_download(&fetched.path, watch);
        Ok(image)
    }

    fn unknown(&self, name: &str) -> ImageError {
        let known: Vec<String> = self.offered().map(|all| all.into_keys().collect()).unwrap_or_default();
        let hint = messages::did_you_mean(name, known.iter().map(String::as_str));
        ImageError::Unknown(format!("no image is called {name}, here or in the catalogue{hint}"))
    }
}

/// Removes what a download leaves behind once its image is in the store. That is there, whatever becomes of the file.
fn forget_download(path: &Path, watch: &mut dyn Watch) {
    if let Err(error) = std::fs::remove_file(path) {
        watch.note(&left_behind(&error));
    }
}

/// What to say of a download that cannot be removed.
pub(crate) fn left_behind(error: &std::io::Error) -> String {
    format!("the download cannot be removed ({error}); 'yagura image gc' does it later")
}

/// What happens to a download, for a [`Watch`].
pub(crate) fn events_of(watch: &mut dyn Watch) -> impl FnMut(FetchEvent) -> ControlFlow<()> + '_ {
    move |event| {
        match event {
            FetchEvent::Progress(progress) => watch.bytes(progress.done_bytes, progress.total_bytes),
            FetchEvent::Resumed { from_bytes } => {
                watch.note(&format!("an earlier download goes on after {} MiB", from_bytes >> 20));
            }
            FetchEvent::Restarted => watch.note("the file has changed; it is fetched from its start"),
            FetchEvent::Retry { attempt, why, wait } => {
                watch.note(&format!("{why}; attempt {attempt} comes in {:.0} s", wait.as_secs_f64()));
            }
        }
        if watch.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl ImportOptions {
    /// Nothing is said but where it came from.
    pub fn of(source: ImageSource) -> ImportOptions {
        ImportOptions {
            os: None,
            release: None,
            variant: "default".to_owned(),
            description: None,
            first_boot: FirstBoot::CloudInit,
            default_user: None,
            min_memory_bytes: USUAL_MEMORY_BYTES,
            min_disk_bytes: 0,
            machine: MachineDefaults::default(),
            force_raw: false,
            appliance_disk: None,
            source,
            alias: None,
        }
    }
}
