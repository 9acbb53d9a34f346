//! `yagura disk`: images while no machine uses them.

pub mod arguments;
mod foreign;
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use disk::{
    BackingName, BackingPolicy, Compression, ConvertOptions, CreateOptions, DiskFormat, Output, Repair,
};
use host_sys::named_file::folder_of;

use crate::cli::Format;
use crate::print::print;
use crate::progress::Bar;
use arguments::{
    CheckArguments, ConvertArguments, CreateArguments, DiskCommand, ImageArguments, InfoArguments,
    RepairKind, ResizeArguments,
};

/// Exit status of a check that found lost room.
const LEAKS: u8 = 4;
/// Exit status of a check that found damage.
const CORRUPTIONS: u8 = 6;

/// Does what was asked for; the exit status where it succeeds.
pub fn run(command: &DiskCommand) -> anyhow::Result<u8> {
    match command {
        DiskCommand::Create(arguments) => create(arguments),
        DiskCommand::Resize(ResizeArguments { path, size, disk_format }) => {
            disk::resize(path, *disk_format, size.bytes())?;
            Ok(0)
        }
        DiskCommand::Convert(arguments) => convert(arguments),
        DiskCommand::Check(arguments) => check(arguments),
        DiskCommand::Info(arguments) => info(arguments),
        DiskCommand::Map(arguments) => map(arguments),
    }
}

fn create(arguments: &CreateArguments) -> anyhow::Result<u8> {
    let CreateArguments { path, mode, size, disk_format, image, compression, backing, backing_format } =
        arguments;
    let output = Output { path, mode: mode.unwrap_or_default().bits() };
    let backing = backing.as_deref().zip(*backing_format);
    let behind_bytes = backing.map(|(path, format)| disk::info(path, format)).transpose()?;
    let size_bytes = match (size, behind_bytes) {
        (Some(size), _) => size.bytes(),
        (None, Some(behind)) => behind.size_bytes.next_multiple_of(disk::SECTOR_SIZE),
        (None, None) => bail!("how large is {} to be? add --size", path.display()),
    };
    if *disk_format == DiskFormat::Raw {
        let option = backing.map(|_| "--backing").or(compression.map(|_| "--compression"));
        refuse_for_raw(option.or(first_option(image)))?;
        disk::create_raw(output, size_bytes)?;
        return Ok(0);
    }
    let compression = compression.map_or(Compression::Zlib, Compression::from);
    let backing = backing.map(|(behind, format)| backing_name(path, behind, format)).transpose()?;
    let options = CreateOptions { backing, ..image_options(image, size_bytes, compression) };
    disk::create_qcow2(output, &options)?;
    Ok(0)
}

/// How the image at `path` names the file behind it: from its own folder, as typed from the current one.
fn backing_name(path: &Path, behind: &Path, format: DiskFormat) -> anyhow::Result<BackingName> {
    let same_folder = folder_of(path) == folder_of(behind);
    let named: PathBuf = match behind.file_name() {
        Some(name) if same_folder => name.into(),
        _ => std::path::absolute(behind).with_context(|| format!("backing file {}", behind.display()))?,
    };
    let Some(named) = named.to_str() else {
        bail!("backing file {}: its name is not UTF-8", behind.display())
    };
    Ok(BackingName { path: named.to_owned(), format: Some(format.name().to_owned()) })
}

fn image_options(image: &ImageArguments, size_bytes: u64, compression: Compression) -> CreateOptions {
    let usual = CreateOptions::new(size_bytes);
    CreateOptions {
        version: image.qcow2_version.unwrap_or(usual.version),
        cluster_bytes: image.cluster_size.unwrap_or(usual.cluster_bytes),
        refcount_bits: image.refcount_bits.unwrap_or(usual.refcount_bits),
        lazy_refcounts: image.lazy_refcounts,
        compression,
        ..usual
    }
}

/// The first option that only a qcow2 image has.
fn first_option(image: &ImageArguments) -> Option<&'static str> {
    let ImageArguments { cluster_size, refcount_bits, qcow2_version, lazy_refcounts } = image;
    cluster_size
        .map(|_| "--cluster-size")
        .or(refcount_bits.map(|_| "--refcount-bits"))
        .or(qcow2_version.map(|_| "--qcow2-version"))
        .or(lazy_refcounts.then_some("--lazy-refcounts"))
}

fn refuse_for_raw(option: Option<&str>) -> anyhow::Result<()> {
    match option {
        Some(option) => {
            bail!("a raw disk has nothing for {option}; make it a qcow2 image, or leave that out")
        }
        None => Ok(()),
    }
}

fn convert(arguments: &ConvertArguments) -> anyhow::Result<u8> {
    let ConvertArguments { source, target, mode, from, to, compress, refuse_backing, image } = arguments;
    if mode.is_some() && disk::is_block_device(target) {
        bail!("{} is a block device: --mode is for a file that is made", target.display());
    }
    let output = Output { path: target, mode: mode.unwrap_or_default().bits() };
    if *to == DiskFormat::Raw {
        refuse_for_raw(compress.map(|_| "--compress").or(first_option(image)))?;
    }
    let kind = compress.map_or(Compression::Zlib, Compression::from);
    let to = (*to == DiskFormat::Qcow2).then(|| image_options(image, 0, kind));
    let Some(from) = from.for_machines() else {
        foreign::convert(source, *from, output, to, compress.is_some())?;
        return Ok(0);
    };
    let policy = if *refuse_backing { BackingPolicy::Refuse } else { BackingPolicy::Open };
    let options = ConvertOptions { from, policy, to, compress: compress.is_some() };
    let bar = Bar::new();
    disk::convert(source, output, &options, |done_bytes, all_bytes| bar.show(done_bytes, all_bytes))?;
    Ok(0)
}
fn check(arguments: &CheckArguments) -> anyhow::Result<u8> {
    let repair = arguments.repair.map(|kind| match kind {
        RepairKind::Leaks => Repair::Leaks,
        RepairKind::Counts => Repair::Counts,
    });
    let found = disk::check(&arguments.path, DiskFormat::Qcow2, repair)?;
    print(&match arguments.format {
        Format::Table => report::check_table(&found),
        Format::Json => report::check_json(&found),
    })?;
    Ok(match (found.corruptions, found.leaks) {
        (0, 0) => 0,
        (0, _) => LEAKS,
        _ => CORRUPTIONS,
    })
}

fn info(arguments: &InfoArguments) -> anyhow::Result<u8> {
    let info = disk::info(&arguments.path, arguments.disk_format)?;
    print(&match arguments.format {
        Format::Table => report::info_table(&info),
        Format::Json => report::info_json(&info),
    })?;
    Ok(0)
}

fn map(arguments: &InfoArguments) -> anyhow::Result<u8> {
    let mut pieces = Vec::new();
    disk::map(&arguments.path, arguments.disk_format, |piece| pieces.push(piece))?;
    print(&match arguments.format {
        Format::Table => report::map_table(&pieces),
        Format::Json => report::map_json(&pieces),
    })?;
    Ok(0)
}
