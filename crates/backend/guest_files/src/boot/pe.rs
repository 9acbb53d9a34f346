//! Unified kernel images: PE files with a kernel, an initial RAM disk and a command line in sections of their own.

use std::io::Write;

use super::os_release;
use super::volumes::Volumes;
use super::{Architecture, FileRef};
use crate::FsError;
use crate::bytes::Bytes;

/// Fields of the headers (PE format, sections 2 to 4).
const PE_AT: usize = 0x3C;
const MACHINE_AT: usize = 4;
const SECTION_COUNT_AT: usize = 6;
const OPTIONAL_SIZE_AT: usize = 20;
const OPTIONAL_AT: usize = 24;
const SECTION_HEADER_LEN: usize = 40;
const VIRTUAL_SIZE_AT: usize = 8;
const RAW_SIZE_AT: usize = 16;
const RAW_AT: usize = 20;
/// What the specification allows.
const SECTION_LIMIT: usize = 96;

const HEADERS_BYTES: u64 = 64 << 10;
const TEXT_LIMIT_BYTES: u64 = 64 << 10;

/// What is in a unified kernel image.
pub(super) struct Unified {
    /// The kernel, then the initial RAM disks.
    pub(super) files: Vec<FileRef>,
    pub(super) cmdline: String,
    /// What the system in it is called.
    pub(super) title: Option<String>,
}

/// Reads an image; nothing when the file is another kind of program, or for other processors.
pub(super) fn read(
    volumes: &Volumes,
    image: &FileRef,
    architecture: Architecture,
) -> Result<Option<Unified>, FsError> {
    let mut headers = Vec::new();
    let front = FileRef { size_bytes: image.size_bytes.min(HEADERS_BYTES), ..image.clone() };
    volumes.write(&front, HEADERS_BYTES, &mut headers)?;
    let Some(sections) = sections(&headers, architecture)? else { return Ok(None) };
    let section = |name: &'static str| {
        let section = sections.iter().find(|section| section.name == name.as_bytes())?;
        Some(FileRef {
            section: Some(name),
            offset_bytes: section.offset_bytes,
            size_bytes: section.size_bytes.min(image.size_bytes.checked_sub(section.offset_bytes)?),
            ..image.clone()
        })
    };
    let Some(kernel) = section(".linux") else { return Ok(None) };
    let text = |name| {
        let mut text = Vec::new();
        let file = section(name)?;
        volumes.write(&file, TEXT_LIMIT_BYTES, &mut text as &mut dyn Write).ok()?;
        Some(String::from_utf8_lossy(&text).trim_end_matches('\0').trim().to_owned())
    };
    let initrds = [section(".ucode"), section(".initrd")];
    let title = text(".osrel").map(|text| os_release::parse(&text).pretty_name);
    Ok(Some(Unified {
        files: std::iter::once(kernel).chain(initrds.into_iter().flatten()).collect(),
        cmdline: text(".cmdline").unwrap_or_default(),
        title: title.filter(|title| !title.is_empty()),
    }))
}

struct Section {
    name: Vec<u8>,
    offset_bytes: u64,
    size_bytes: u64,
}

/// The sections of the headers of a PE file.
fn sections(headers: &[u8], architecture: Architecture) -> Result<Option<Vec<Section>>, FsError> {
    let machine = match architecture {
        Architecture::X86_64 => 0x8664,
        Architecture::Aarch64 => 0xAA64,
        Architecture::Riscv64 => 0x5064,
    };
    if !headers.starts_with(b"MZ") {
        return Ok(None);
    }
    let pe = Bytes(headers).from(Bytes(headers).le32(PE_AT)? as usize)?;
    if !pe.0.starts_with(b"PE\0\0") || pe.le16(MACHINE_AT)? != machine {
        return Ok(None);
    }
    let count = usize::from(pe.le16(SECTION_COUNT_AT)?).min(SECTION_LIMIT);
    let table = pe.from(OPTIONAL_AT + usize::from(pe.le16(OPTIONAL_SIZE_AT)?))?;
    let section = |index: usize| {
        let header = table.from(index * SECTION_HEADER_LEN)?;
        let name = header.slice(0, 8)?;
        let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Ok(Section {
            name: name[..len].to_vec(),
            offset_bytes: u64::from(header.le32(RAW_AT)?),
            // The raw data is filled up to the alignment of the file; what is beyond it would be zeros.
            size_bytes: u64::from(header.le32(VIRTUAL_SIZE_AT)?.min(header.le32(RAW_SIZE_AT)?)),
        })
    };
    (0..count).map(section).collect::<Result<_, _>>().map(Some)
}
