//! Unified kernel images on the disk.

use std::io::Write;

use unified_image::{FRONT_BYTES, MACHINE_AARCH64, MACHINE_RISCV64, MACHINE_X86_64, Section, UnifiedImage};

use super::os_release::{self, OsRelease};
use super::volumes::Volumes;
use super::{Architecture, FileRef};

const TEXT_LIMIT_BYTES: u64 = 64 << 10;

/// What is in a unified kernel image.
pub(super) struct Unified {
    /// The kernel, then the initial RAM disks.
    pub(super) files: Vec<FileRef>,
    pub(super) cmdline: String,
    /// What the system in it says it is.
    pub(super) release: OsRelease,
    /// The version of its kernel, if it says it.
    pub(super) kernel_version: String,
}

/// Reads an image; nothing when the file is another kind of program, or for other processors.
pub(super) fn read(
    volumes: &Volumes,
    image: &FileRef,
    architecture: Architecture,
) -> Result<Option<Unified>, String> {
    let mut front = Vec::new();
    let file = FileRef { size_bytes: image.size_bytes.min(FRONT_BYTES as u64), ..image.clone() };
    volumes.write(&file, FRONT_BYTES as u64, &mut front).map_err(|error| error.to_string())?;
    let parsed = UnifiedImage::parse(&front, image.size_bytes).map_err(|damaged| damaged.to_string())?;
    let machine = match architecture {
        Architecture::X86_64 => MACHINE_X86_64,
        Architecture::Aarch64 => MACHINE_AARCH64,
        Architecture::Riscv64 => MACHINE_RISCV64,
    };
    let Some(unified) = parsed.filter(|unified| unified.machine() == machine) else { return Ok(None) };
    if architecture == Architecture::X86_64 && unified.section(".dtb").is_some() {
        return Err("it brings a device tree, which a machine with ACPI does not take".to_owned());
    }
    let part = |section: Section| FileRef {
        section: Some(section.name),
        offset_bytes: section.offset_bytes,
        size_bytes: section.size_bytes,
        ..image.clone()
    };
    let text = |name: &str| {
        let mut text = Vec::new();
        let Some(section) = unified.section(name) else { return Ok(String::new()) };
        volumes
            .write(&part(section), TEXT_LIMIT_BYTES, &mut text as &mut dyn Write)
            .map_err(|error| format!("its section {name}: {error}"))?;
        Ok::<_, String>(String::from_utf8_lossy(&text).trim_end_matches('\0').trim().to_owned())
    };
    Ok(Some(Unified {
        files: std::iter::once(unified.kernel()).chain(unified.initrds()).map(part).collect(),
        cmdline: text(".cmdline")?,
        release: os_release::parse(&text(".osrel")?),
        kernel_version: text(".uname")?,
    }))
}
