//! What a file is by its first and its last bytes: the marks that disk formats, archives and compressions leave there, for
//! whoever takes a disk.
//!
//! It is asked where a person's word is to be checked or filled in. It is never asked about a disk that is known to be
//! raw: its guest may have written any of these marks.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::format::SourceFormat;

/// What is read at the front of a file, in bytes.
const FRONT_BYTES: usize = 512;
/// What is read at its end: a trailer of 512 bytes, or of 511 as the first versions of Virtual PC wrote it.
const END_BYTES: usize = 512;

/// Something that is recognised.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// What it is, with an article.
    pub name: &'static str,
    /// What can be done with it.
    pub kind: SignatureKind,
    mark: Mark,
}

/// What a file with a signature is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    /// A disk in a format that is read here.
    Disk(SourceFormat),
    /// A disk in a format that is not read here.
    ForeignDisk,
    /// A file that is compressed as a whole, as endings of names call it: `gz`.
    Compressed(&'static str),
    /// A compression that is not read here.
    ForeignCompression,
    /// Files in a zip archive.
    Zip,
    /// Files in a tar archive: an appliance if the first of them is its description.
    Tar,
    /// Files in an archive that is not read here.
    ForeignArchive,
}

/// Where bytes have to be.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// At this place of the file.
    At(usize, &'static [u8]),
    /// At two places.
    Both((usize, &'static [u8]), (usize, &'static [u8])),
    /// At the start of a trailer of 512 or 511 bytes.
    Trailer(&'static [u8]),
    /// A line of text among comments and empty lines at the front.
    Line(&'static str),
}

impl fmt::Display for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

const fn disk(name: &'static str, format: SourceFormat, mark: Mark) -> Signature {
    Signature { name, kind: SignatureKind::Disk(format), mark }
}

const fn other(name: &'static str, kind: SignatureKind, mark: Mark) -> Signature {
    Signature { name, kind, mark }
}

/// The first that fits counts. Not in it: what disks are full of that are raw, such as partition tables, file systems,
/// ISO 9660, squashfs and LUKS.
static SIGNATURES: &[Signature] = {
    use Mark::{At, Both, Line, Trailer};
    use SignatureKind::{
        Compressed, ForeignArchive, ForeignCompression, ForeignDisk, Tar, Zip as ZipArchive,
    };
    use SourceFormat::{Qcow2, Vdi, Vhd, Vhdx, Vmdk};
    &[
        other("a qcow image of version 1", ForeignDisk, At(0, b"QFI\xfb\0\0\0\x01")),
        disk("a qcow2 image", Qcow2, At(0, b"QFI\xfb")),
        disk("a VHDX image", Vhdx, At(0, b"vhdxfile")),
        disk("a VHD image", Vhd, At(0, b"conectix")),
        disk("a VDI image", Vdi, At(64, b"\x7f\x10\xda\xbe")),
        disk("a VMDK image", Vmdk, At(0, b"KDMV")),
        disk("a VMDK image", Vmdk, At(0, b"COWD")),
        disk("a VMDK image", Vmdk, At(0, b"\xbe\xba\xfe\xca\0\0\0\0")),
        disk("the descriptor of a VMDK image", Vmdk, Line("# Disk DescriptorFile")),
        other("a QED image", ForeignDisk, At(0, b"QED\0")),
        other("a Parallels image", ForeignDisk, At(0, b"WithoutFreeSpace")),
        other("a Parallels image", ForeignDisk, At(0, b"WithouFreSpacExt")),
        other("a Bochs image", ForeignDisk, At(0, b"Bochs Virtual HD Image")),
        other("a cloop image", ForeignDisk, At(0, b"#!/bin/sh\n#V2.0 Format\n")),
        other("an Android sparse image", ForeignDisk, At(0, b"\x3a\xff\x26\xed")),
        other("a sparse image of macOS", ForeignDisk, At(0, b"sprs")),
        other("a disk image of macOS", ForeignDisk, At(0, b"shdw")),
        other("a Windows image (WIM)", ForeignArchive, At(0, b"MSWIM\0\0\0")),
        other("a forensic image (EWF)", ForeignDisk, At(0, b"EVF\x09\x0d\x0a\xff\0")),
        other("a Partclone image", ForeignDisk, At(0, b"partclone-image")),
        other("a file compressed by gzip", Compressed("gz"), At(0, b"\x1f\x8b\x08")),
        other("a file compressed by xz", Compressed("xz"), At(0, b"\xfd7zXZ\0")),
        other("a file compressed by zstd", Compressed("zst"), At(0, b"\x28\xb5\x2f\xfd")),
        other("a file compressed by bzip2", Compressed("bz2"), Both((0, b"BZh"), (4, b"1AY&SY"))),
        other(
            "a file compressed by bzip2",
            Compressed("bz2"),
            Both((0, b"BZh"), (4, b"\x17\x72\x45\x38\x50\x90")),
        ),
        other("a file compressed by lz4", ForeignCompression, At(0, b"\x04\x22\x4d\x18")),
        other("a file compressed by lzip", ForeignCompression, At(0, b"LZIP\x01")),
        other("a file compressed by lzop", ForeignCompression, At(0, b"\x89LZO\0\r\n\x1a\n")),
        other("a zip archive", ZipArchive, At(0, b"PK\x03\x04")),
        other("a zip archive", ZipArchive, At(0, b"PK\x05\x06")),
        other("a 7z archive", ForeignArchive, At(0, b"7z\xbc\xaf\x27\x1c")),
        other("a RAR archive", ForeignArchive, At(0, b"Rar!\x1a\x07")),
        other("a tar archive", Tar, At(257, b"ustar")),
        disk("a VHD image of fixed size", Vhd, Trailer(b"conectix")),
        other("a disk image of macOS (DMG)", ForeignDisk, Trailer(b"koly\0\0\0\x04\0\0\x02\0")),
    ]
};

/// What the `length_bytes` of `file` from `start_bytes` on are; nothing for what is in no list.
///
/// # Errors
/// The file cannot be read.
pub fn recognize(file: &File, start_bytes: u64, length_bytes: u64) -> io::Result<Option<&'static Signature>> {
    let front = read(file, start_bytes, length_bytes.min(FRONT_BYTES as u64) as usize)?;
    let skipped_bytes = length_bytes.saturating_sub(END_BYTES as u64);
    let end = read(file, start_bytes.saturating_add(skipped_bytes), (length_bytes - skipped_bytes) as usize)?;
    Ok(SIGNATURES.iter().find(|signature| signature.mark.is_in(&front, &end)))
}

/// As many of `wanted` bytes as there are.
fn read(file: &File, offset_bytes: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; wanted];
    let mut done = 0;
    while done < wanted {
        match file.read_at(&mut bytes[done..], offset_bytes + done as u64) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

impl Mark {
    fn is_in(&self, front: &[u8], end: &[u8]) -> bool {
        let has = |at: usize, bytes: &[u8]| front.get(at..).is_some_and(|rest| rest.starts_with(bytes));
        match self {
            Mark::At(at, bytes) => has(*at, bytes),
            Mark::Both(first, second) => has(first.0, first.1) && has(second.0, second.1),
            Mark::Trailer(bytes) => {
                end.len() == END_BYTES && (end.starts_with(bytes) || end[1..].starts_with(bytes))
            }
            Mark::Line(line) => {
                let text = front.strip_prefix(b"\xef\xbb\xbf").unwrap_or(front);
                let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                let mut comments = lines.take_while(|line| line.is_empty() || line.starts_with(b"#"));
                comments.any(|found| found.eq_ignore_ascii_case(line.as_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn found(bytes: &[u8]) -> Option<&'static Signature> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(b"QFI\xfb behind").unwrap();
        recognize(&file, 6, bytes.len() as u64).unwrap()
    }

    fn marked(mark: &Mark) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let mut put = |at: usize, mark: &[u8]| bytes[at..at + mark.len()].copy_from_slice(mark);
        match mark {
            Mark::At(at, mark) => put(*at, mark),
            Mark::Both(first, second) => [first, second].iter().for_each(|(at, mark)| put(*at, mark)),
            Mark::Trailer(mark) => put(4096 - 512, mark),
            Mark::Line(line) => put(0, format!("\n# made by hand\r\n{line}\nversion=1\n").as_bytes()),
        }
        bytes
    }

    #[test]
    fn each_signature_is_found_and_no_other() {
        for signature in SIGNATURES {
            assert_eq!(found(&marked(&signature.mark)), Some(signature));
        }
        let mut old = vec![0; 4095];
        old[4095 - 511..][..8].copy_from_slice(b"conectix");
        assert_eq!(found(&old).unwrap().kind, SignatureKind::Disk(SourceFormat::Vhd));
    }

    #[test]
    fn what_raw_disks_are_full_of_is_no_signature() {
        let with = |at: usize, mark: &[u8]| {
            let mut bytes = vec![0; 64 << 10];
            bytes[at..at + mark.len()].copy_from_slice(mark);
            bytes
        };
        for bytes in [
            Vec::new(),
            vec![0; 3],
            vec![0; 4096],
            b"conectix"[..7].to_vec(),
            with(510, b"\x55\xaa"),
            with(512, b"EFI PART"),
            with(4096, b"EFI PART"),
            with(32769, b"CD001"),
            with(0, b"LUKS\xba\xbe"),
            with(0, b"hsqs"),
            with(0, b"\xeb\x3c\x90mkfs.fat"),
            with(1080, b"\x53\xef"),
            with(0, b"XFSB"),
            with(0, b"BZh"),
            with(1, b"QFI\xfb"),
            with(3, b"vhdxfile"),
        ] {
            assert_eq!(found(&bytes), None, "{:?}", &bytes[..bytes.len().min(16)]);
        }
    }
}
