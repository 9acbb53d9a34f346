//! Which file of a zip archive is meant: the one disk that is in it.

use std::io::{Read, Seek};

use zip::ZipArchive;

use crate::text::printable;

/// Endings of files that hold disks.
const ENDINGS: [&str; 13] =
    ["raw", "img", "qcow2", "vmdk", "vhdx", "vhd", "vdi", "ova", "iso", "gz", "xz", "zst", "bz2"];
/// More entries than any archive has in which somebody sends a disk.
const ENTRIES_MAX: usize = 1000;
/// Names that a message shows.
const SHOWN_MAX: usize = 5;

/// Why no file of an archive can be taken.
#[derive(Debug, thiserror::Error)]
pub enum NoSuchFile {
    /// It is no archive, or is damaged.
    #[error("it is damaged, or is no zip archive")]
    Damaged,
    /// It is encrypted, or compressed in a way that is left out.
    #[error("the file in it is encrypted, or compressed otherwise than zip does usually; unpack it first")]
    Unreadable,
    /// Nothing is in it.
    #[error("there is no file in it")]
    Empty,
    /// One of several may be meant.
    #[error("there are several files in it ({0}); unpack it, and give the one with the disk")]
    Several(String),
    /// Too many to be looked at.
    #[error("there are more than {ENTRIES_MAX} files in it; unpack it, and give the one with the disk")]
    TooMany,
}

/// The archive, and which of its files is meant: the only one, or the only one whose name says that it is a disk.
pub(crate) fn the_file<R: Read + Seek>(source: R) -> Result<(ZipArchive<R>, usize), NoSuchFile> {
    let archive = ZipArchive::new(source).map_err(|_| NoSuchFile::Damaged)?;
    if archive.len() > ENTRIES_MAX {
        return Err(NoSuchFile::TooMany);
    }
    let name = |index| archive.name_for_index(index)?.ok().map(|name| (index, name.into_owned()));
    let files: Vec<(usize, String)> =
        (0..archive.len()).filter_map(name).filter(|(_, name)| is_file(name)).collect();
    let disks: Vec<usize> = files.iter().filter(|(_, name)| is_disk(name)).map(|(index, _)| *index).collect();
    let index = match (&*files, &*disks) {
        ([], _) => return Err(NoSuchFile::Empty),
        ([(index, _)], _) | (_, [index]) => *index,
        _ => return Err(NoSuchFile::Several(shown(&files))),
    };
    Ok((archive, index))
}

/// Not a folder, nor what macOS adds to each file.
fn is_file(name: &str) -> bool {
    !name.ends_with(['/', '\\']) && !name.starts_with("__MACOSX/")
}

fn is_disk(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
}

fn shown(files: &[(usize, String)]) -> String {
    let names: Vec<String> = files.iter().take(SHOWN_MAX).map(|(_, name)| printable(name)).collect();
    let rest = if files.len() > SHOWN_MAX { " and more" } else { "" };
    format!("{}{rest}", names.join(", "))
}
