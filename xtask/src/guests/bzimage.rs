//! The ELF kernel inside a bzImage.
//!
//! Layout: Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".

use crate::process;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::Command;

/// Offset of `setup_sects`: the size of the real-mode part less one sector.
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the magic "HdrS".
const MAGIC: usize = 0x202;
/// Offset of `payload_offset`, counted from the protected-mode part.
const PAYLOAD_OFFSET: usize = 0x248;
/// Offset of `payload_length`.
const PAYLOAD_LENGTH: usize = 0x24c;
/// `setup_sects` of zero stands for four.
const DEFAULT_SETUP_SECTS: usize = 4;
const SECTOR_BYTES: usize = 512;
/// The kernel's build appends the unpacked size to the packed data.
const SIZE_TRAILER_BYTES: usize = 4;

/// Programs that unpack a payload, by its first bytes.
const UNPACKERS: &[(&[u8], &[&str])] = &[
    (b"\xfd7zXZ\0", &["xz", "-dc"]),
    (b"\x28\xb5\x2f\xfd", &["zstd", "-dc"]),
    (b"\x1f\x8b", &["gzip", "-dc"]),
    (b"\x02\x21\x4c\x18", &["lz4", "-dc"]),
];

/// Unpacks the ELF kernel of the bzImage `from` into the file `to`.
pub fn unpack(from: &Path, to: &Path) -> Result<()> {
    let image = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let payload = payload(&image).with_context(|| format!("{} is no bzImage", from.display()))?;
    let unpacker = UNPACKERS.iter().find(|(magic, _)| payload.starts_with(magic));
    let Some((_, [program, arguments @ ..])) = unpacker else {
        bail!("{} is packed in a way that is not known here", from.display());
    };
    let packed = tempfile::NamedTempFile::new()?;
    // gzip's own format ends with the size, and there the build appends none.
    let data = if *program == "gzip" { payload } else { &payload[..payload.len() - SIZE_TRAILER_BYTES] };
    std::fs::write(packed.path(), data)?;
    let kernel = process::output_bytes(Command::new(program).args(arguments).arg(packed.path()))?;
    ensure!(kernel.starts_with(b"\x7fELF"), "what {} holds is no ELF file", from.display());
    std::fs::write(to, kernel).with_context(|| format!("cannot write {}", to.display()))
}

fn payload(image: &[u8]) -> Result<&[u8]> {
    ensure!(image.get(MAGIC..MAGIC + 4) == Some(b"HdrS"), "it has no setup header");
    let word = |offset: usize| -> Result<usize> {
        let bytes = image.get(offset..offset + 4).context("it is too short")?;
        Ok(bytes.iter().rev().fold(0, |word, byte| word << 8 | usize::from(*byte)))
    };
    let setup_sects = match usize::from(image[SETUP_SECTS]) {
        0 => DEFAULT_SETUP_SECTS,
        sectors => sectors,
    };
    let start = (setup_sects + 1) * SECTOR_BYTES + word(PAYLOAD_OFFSET)?;
    let length = word(PAYLOAD_LENGTH)?;
    ensure!(length > SIZE_TRAILER_BYTES, "it has no payload");
    image.get(start..start + length).context("its payload ends after the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 5 * SECTOR_BYTES + 16];
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn finds_the_payload_by_the_header() {
        assert_eq!(payload(&image(b"packed kernel")).unwrap(), b"packed kernel");
    }

    #[test]
    fn refuses_what_is_no_bzimage() {
        assert!(payload(b"short").is_err());
        assert!(payload(&[0; 4096]).is_err());
        let mut cut = image(b"packed kernel");
        cut.truncate(cut.len() - 1);
        assert!(payload(&cut).is_err());
    }
}
