//! `yagura image`: the images that are here, and how they come and go.

pub mod arguments;
mod documents;
mod instance;
mod place;
pub mod report;

use std::time::Duration;

use anyhow::{Context, bail};
use disk::{BackingPolicy, Compression, ConvertOptions, CreateOptions, DiskFormat, Output, RawContents};
use image_build::Recipe;
use image_model::{Alias, ImageSource};
use image_ops::{ImageError, Images, ImportOptions};
use image_sources::{FileKind, Source};
use image_store::{GarbageOptions, Image};
use yagura_vmm::say;

use crate::cli::Format;
use crate::print::print;
use crate::progress::{Bar, Stages};
use arguments::{
    AliasArguments, BuildArguments, DeleteArguments, ExportArguments, GcArguments, ImageCommand,
    ImportArguments, ListArguments, PublishArguments, PullArguments, ShowArguments,
};

pub use instance::{Prepared, delete as delete_instances, forget, instance};
pub use place::{data_folder, images, without_store_paths};

/// Exit status of a check that found damage, as for disks.
const DAMAGED: u8 = 6;

/// Does what was asked for; the exit status where it succeeds.
pub fn run(command: &ImageCommand) -> anyhow::Result<u8> {
    let images = images()?;
    match command {
        ImageCommand::List(arguments) => list(&images, arguments),
        ImageCommand::Show(arguments) => show(&images, arguments),
        ImageCommand::Pull(arguments) => pull(&images, arguments),
        ImageCommand::Build(arguments) => build(&images, arguments),
        ImageCommand::Import(arguments) => import(&images, arguments),
        ImageCommand::Export(arguments) => export(&images, arguments),
        ImageCommand::Delete(arguments) => delete(&images, arguments),
        ImageCommand::Alias(arguments) => alias(&images, arguments),
        ImageCommand::Publish(arguments) => publish(&images, arguments),
        ImageCommand::Verify => verify(&images),
        ImageCommand::Gc(arguments) => collect_garbage(&images, arguments),
    }
}

fn list(images: &Images, arguments: &ListArguments) -> anyhow::Result<u8> {
    let mut rows = Vec::new();
    for image in images.store.images()? {
        rows.push(report::ImageRow::of(&image, &images.store.aliases_of(&image.id)?));
    }
    if arguments.all {
        let here = images.store.aliases()?;
        let names = images
            .offered()?
            .into_iter()
            .filter(|(name, _)| !here.keys().any(|alias| alias.as_str() == name));
        rows.extend(names.map(|(name, how)| report::ImageRow::offered(&name, &how)));
    }
    let nothing = "no images yet; 'yagura image list --all' shows what can be had";
    print(&report::list(&rows, nothing, arguments.format)?)?;
    Ok(0)
}

fn show(images: &Images, arguments: &ShowArguments) -> anyhow::Result<u8> {
    let image = images.store.resolve(&arguments.image)?;
    let aliases = images.store.aliases_of(&image.id)?;
    print(&match arguments.format {
        Format::Table => report::show_table(&image, &aliases),
        Format::Json => report::show_json(&image, &aliases),
    })?;
    Ok(0)
}

fn pull(images: &Images, arguments: &PullArguments) -> anyhow::Result<u8> {
    let PullArguments { source: text, alias, format, checksum, about } = arguments;
    let shown = messages::without_login(text);
    let named = || format!("image {shown}");
    // What is wrong with a name says the name.
    let source = Source::parse(text, *format)?;
    let mut stages = Stages::new();
    let options = |source| ImportOptions { alias: alias.clone(), ..about.options(source) };
    let image = match &source {
        Source::Url { url, kind } => {
            let options = options(ImageSource::url(&messages::without_login(url.as_str()), checksum.clone()));
            images.pull_url(url.as_str(), *kind, &options, &mut stages)
        }
        _ if checksum.is_some() => bail!("image {shown}: --checksum is for an address"),
        Source::File { path, kind } => {
            images.import_file(path, *kind, &options(ImageSource::file(path)), &mut stages)
        }
        _ if !about.is_empty() => bail!("image {shown} says itself what it is; leave out what describes it"),
        Source::Catalogue(alias) => images.pull_named(alias, &mut stages),
        Source::Oci(reference) => images.pull_oci(reference, alias.as_ref(), &mut stages),
    };
    let image = image.with_context(named)?;
    stages.finish();
    match (alias, &source) {
        (None, Source::Catalogue(own)) => say_named(&image, Some(own)),
        // It has its own name already, and gets another.
        (Some(alias), Source::Catalogue(_)) => {
            images.store.set_alias(alias, &image.id)?;
            say_named(&image, Some(alias));
        }
        _ => say_named(&image, alias.as_ref()),
    }
    Ok(0)
}

fn build(images: &Images, arguments: &BuildArguments) -> anyhow::Result<u8> {
    let recipe = match (&arguments.name, &arguments.recipe) {
        (_, Some(path)) => Recipe::read(path)?,
        (Some(name), None) => image_build::shipped(name.as_str()).ok_or_else(|| {
            let names: Vec<&str> = image_build::shipped_names().collect();
            let names = names.join(", ");
            ImageError::Unknown(format!(
                "there is no recipe {name} (there are {names}); give one of your own by --recipe"
            ))
        })?,
        (None, None) => bail!("which image? give a recipe's name, or --recipe FILE.toml"),
    };
    let mut stages = Stages::new();
    let image = images.build(&recipe, &mut stages).with_context(|| format!("image {}", recipe.name))?;
    stages.finish();
    say(&format!("image {} is here as {}", image.id.short(), recipe.name));
    Ok(0)
}

fn import(images: &Images, arguments: &ImportArguments) -> anyhow::Result<u8> {
    let ImportArguments { path, alias, format, force_raw, about } = arguments;
    let kind = format.or_else(|| FileKind::of_name(path));
    let options = about.options(ImageSource::file(path));
    let options = ImportOptions { force_raw: *force_raw, alias: alias.clone(), ..options };
    let mut stages = Stages::new();
    let image = images.import_file(path, kind, &options, &mut stages)?;
    stages.finish();
    say_named(&image, alias.as_ref());
    Ok(0)
}

fn export(
    images: &Images,
    ExportArguments { image, target, mode, disk_format }: &ExportArguments,
) -> anyhow::Result<u8> {
    let image = images.store.resolve(image)?;
    let target = Output { path: target, mode: mode.unwrap_or_default().bits() };
    let bar = Bar::new();
    let mut progress = |done: u64, all: u64| bar.show(done, all);
    match disk_format {
        DiskFormat::Raw if disk::is_block_device(target.path) => {
            let (from, policy) = (DiskFormat::Raw, BackingPolicy::Refuse);
            let contents = RawContents::Any;
            let options = ConvertOptions { from, contents, policy, to: None, compress: false };
            disk::convert(&images.store.blob_path(&image.metadata.disk), target, &options, progress)?;
        }
        DiskFormat::Raw => drop(images.store.export_disk(&image, target, &mut progress)?),
        DiskFormat::Qcow2 => {
            let to = CreateOptions { compression: Compression::Zstd, ..CreateOptions::new(0) };
            let options = ConvertOptions {
                from: DiskFormat::Raw,
                contents: RawContents::Any,
                policy: BackingPolicy::Refuse,
                to: Some(to),
                compress: true,
            };
            disk::convert(&images.store.blob_path(&image.metadata.disk), target, &options, progress)?;
        }
    }
    Ok(0)
}

fn delete(images: &Images, DeleteArguments { images: references }: &DeleteArguments) -> anyhow::Result<u8> {
    for reference in references {
        let deleted = images.store.delete(reference)?;
        let names: Vec<String> = deleted.aliases.iter().map(ToString::to_string).collect();
        let freed = report::bytes(deleted.freed_bytes);
        say(&format!(
            "image {} {} is gone; {freed} are free again",
            deleted.image.id.short(),
            names.join(" ")
        ));
    }
    Ok(0)
}

fn alias(images: &Images, AliasArguments { alias, image, remove: _ }: &AliasArguments) -> anyhow::Result<u8> {
    match image {
        Some(reference) => {
            let image = images.store.resolve(reference)?;
            images.store.set_alias(alias, &image.id)?;
            say_named(&image, Some(alias));
        }
        None => {
            images.store.remove_alias(alias)?;
        }
    }
    Ok(0)
}

fn publish(images: &Images, arguments: &PublishArguments) -> anyhow::Result<u8> {
    let PublishArguments { instance, alias, description } = arguments;
    let mut stages = Stages::new();
    let image = images.publish(instance, description.clone(), alias.clone(), &mut stages)?;
    stages.finish();
    say_named(&image, alias.as_ref());
    Ok(0)
}

fn say_named(image: &Image, alias: Option<&Alias>) {
    let short = image.id.short();
    match alias {
        Some(alias) => say(&format!("image {short} is here as {alias}")),
        None => say(&format!("image {short} is here; 'yagura image alias NAME {short}' names it")),
    }
}

fn verify(images: &Images) -> anyhow::Result<u8> {
    let bar = Bar::new();
    let found = images.store.verify(&mut |done, all| bar.show(done, all))?;
    drop(bar);
    for damage in &found.damaged {
        say(&report::damage(damage));
    }
    for (image, path) in &found.damaged_metadata {
        say(&format!("image {image}: what was known of it was damaged; it is now {}", path.display()));
    }
    say(&format!("{} files with {} were read", found.blobs, report::bytes(found.bytes)));
    let sound = found.damaged.is_empty() && found.damaged_metadata.is_empty();
    Ok(if sound { 0 } else { DAMAGED })
}

fn collect_garbage(images: &Images, arguments: &GcArguments) -> anyhow::Result<u8> {
    let age = Duration::from_secs(arguments.partial_days.saturating_mul(24 * 3600));
    let options = GarbageOptions { dry_run: arguments.dry_run, partial_older_than: age };
    let gone = images.store.collect_garbage(options)?;
    let (verb, freed) = if arguments.dry_run { ("would go", "would be") } else { ("are gone", "are") };
    let room = report::bytes(gone.freed_bytes);
    say(&format!("{} files {verb}; {room} {freed} free again", gone.removed.len()));
    Ok(0)
}
