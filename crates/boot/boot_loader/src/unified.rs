//! Unified kernel images: their sections as if they were files.

use std::path::Path;

use unified_image::{FRONT_BYTES, MACHINE_AARCH64, MACHINE_RISCV64, MACHINE_X86_64, Section, UnifiedImage};

use crate::bzimage::is_bzimage;
use crate::{FileFault, Initrd, KernelFault, Source};

/// The longest command line that is read, in bytes; kernels take less.
const COMMAND_LINE_LIMIT: u64 = 64 << 10;

/// What a kernel brings along.
#[derive(Debug, Default)]
pub(crate) struct BuiltIn {
    pub command_line: Option<String>,
    pub initrds: Vec<Initrd>,
}

/// The image that a file is; nothing when it is something else. A bzImage has PE headers, too.
pub(crate) fn find(source: &Source) -> Result<Option<UnifiedImage>, KernelFault> {
    let front = source.head(FRONT_BYTES).map_err(FileFault::Read)?;
    if is_bzimage(&front) {
        return Ok(None);
    }
    let Some(image) = UnifiedImage::parse(&front, source.size_bytes()).map_err(KernelFault::Unified)? else {
        return Ok(None);
    };
    match image.machine() {
        MACHINE_X86_64 if image.section(".dtb").is_some() => Err(KernelFault::DeviceTree),
        MACHINE_X86_64 => Ok(Some(image)),
        MACHINE_AARCH64 => Err(KernelFault::OtherMachine("arm64")),
        MACHINE_RISCV64 => Err(KernelFault::OtherMachine("RISC-V")),
        _ => Err(KernelFault::OtherMachine("another machine")),
    }
}

/// The kernel of an image, and what it brings along.
pub(crate) fn open(
    path: &Path,
    source: &Source,
    image: &UnifiedImage,
) -> Result<(Source, BuiltIn), KernelFault> {
    let part =
        |section: Section| source.part(section.offset_bytes, section.size_bytes).map_err(FileFault::Read);
    let initrds = image.initrds().map(|section| Ok(Initrd::of_part(path, part(section)?)));
    let initrds = initrds.collect::<Result<_, FileFault>>()?;
    let command_line = match image.section(".cmdline") {
        Some(section) if section.size_bytes > COMMAND_LINE_LIMIT => {
            return Err(KernelFault::Damaged("its command line is longer than any kernel takes"));
        }
        Some(section) => {
            let text = part(section)?.head(section.size_bytes as usize).map_err(FileFault::Read)?;
            Some(one_line(&text))
        }
        None => None,
    };
    Ok((part(image.kernel())?, BuiltIn { command_line, initrds }))
}

/// A command line as the image's own loader would hand it on: up to a zero, and in one line.
fn one_line(text: &[u8]) -> String {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let line = String::from_utf8_lossy(&text[..end]);
    line.replace(|c: char| c.is_control(), " ").trim().to_owned()
}
