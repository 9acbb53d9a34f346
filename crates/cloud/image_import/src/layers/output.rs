//! The tree as an archive that any `tar` unpacks.

use std::collections::HashMap;
use std::io::{BufWriter, Write};

use tar::{EntryType, Header};

use super::error::LayerError;
use super::pax::{ATTRIBUTE_PREFIX, record};
use super::tree::{Content, Inode, Tree};
use super::{CHUNK_BYTES, Scratch};
use crate::inputs::{Dropped, Merged};

const BLOCK_BYTES: u64 = 512;
/// What the fields of a header hold (ustar): bytes of a name, and numbers of 7 and 11 octal digits.
const NAME_BYTES: usize = 100;
const SMALL_MAX: u64 = 0o7_777_777;
const LARGE_MAX: u64 = 0o77_777_777_777;
/// What the root is like, whatever layers say: set-ID bits of a folder of the host are not theirs to choose.
const ROOT_MODE: u32 = 0o755;

/// Writes the archive.
pub(super) fn write(
    tree: &Tree,
    scratch: &dyn Scratch,
    output: impl Write,
    dropped: Dropped,
) -> Result<Merged, LayerError> {
    let mut writer = Writer {
        output: BufWriter::with_capacity(CHUNK_BYTES, output),
        scratch,
        first_names: HashMap::new(),
        merged: Merged { entries: 0, data_bytes: 0, archive_bytes: 0, dropped },
    };
    tree.visit(|path, number, inode| writer.entry(path, number, inode))?;
    writer.put(&[0; 2 * BLOCK_BYTES as usize])?;
    writer.output.flush().map_err(LayerError::Write)?;
    Ok(writer.merged)
}

struct Writer<'a, W: Write> {
    output: BufWriter<W>,
    scratch: &'a dyn Scratch,
    /// Where files with several names were written.
    first_names: HashMap<u32, Box<[u8]>>,
    merged: Merged,
}

impl<W: Write> Writer<'_, W> {
    fn entry(&mut self, path: &[u8], number: u32, inode: &Inode) -> Result<(), LayerError> {
        self.merged.entries += 1;
        if path.is_empty() {
            return self.header(
                b"./",
                b"",
                EntryType::Directory,
                0,
                &Inode { mode: ROOT_MODE, ..root(inode) },
            );
        }
        // Symbolic links are written each for itself: there are programs that follow one to link what it leads to.
        if inode.shared && matches!(inode.content, Content::File { .. } | Content::Pipe) {
            if let Some(first) = self.first_names.get(&number).cloned() {
                let plain = Inode { attributes: Vec::new(), ..root(inode) };
                return self.header(path, &first, EntryType::Link, 0, &Inode { mode: inode.mode, ..plain });
            }
            self.first_names.insert(number, path.into());
        }
        match &inode.content {
            Content::Folder => {
                let mut path = path.to_vec();
                path.push(b'/');
                self.header(&path, b"", EntryType::Directory, 0, inode)
            }
            Content::SymbolicLink(target) => {
                let target = inside(target, path, &mut self.merged.dropped);
                self.header(path, &target, EntryType::Symlink, 0, inode)
            }
            Content::Pipe => self.header(path, b"", EntryType::Fifo, 0, inode),
            Content::File { data_offset, data_bytes } => {
                self.header(path, b"", EntryType::Regular, *data_bytes, inode)?;
                self.data(*data_offset, *data_bytes)
            }
        }
    }

    /// A header, behind an extended one where the fields are too short.
    fn header(
        &mut self,
        path: &[u8],
        link: &[u8],
        kind: EntryType,
        size: u64,
        inode: &Inode,
    ) -> Result<(), LayerError> {
        let mut records = Vec::new();
        for (key, name) in [(&b"path"[..], path), (b"linkpath", link)] {
            if name.len() > NAME_BYTES {
                records.extend(record(key, name));
            }
        }
        let (uid, gid) = (u64::from(inode.uid), u64::from(inode.gid));
        for (key, number, max) in
            [(&b"size"[..], size, LARGE_MAX), (b"uid", uid, SMALL_MAX), (b"gid", gid, SMALL_MAX)]
        {
            if number > max {
                records.extend(record(key, number.to_string().as_bytes()));
            }
        }
        for (name, value) in &inode.attributes {
            records.extend(record(&[ATTRIBUTE_PREFIX, name].concat(), value));
        }
        if !records.is_empty() {
            let extended = fields(b"././@PaxHeader", b"", EntryType::XHeader, records.len() as u64, None);
            self.put(extended.as_bytes())?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.put(fields(path, link, kind, size, Some(inode)).as_bytes())
    }

    fn data(&mut self, offset_bytes: u64, length_bytes: u64) -> Result<(), LayerError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut done = 0;
        while done < length_bytes {
            let length = (length_bytes - done).min(CHUNK_BYTES as u64) as usize;
            self.scratch.read_at(&mut chunk[..length], offset_bytes + done).map_err(LayerError::Scratch)?;
            self.put(&chunk[..length])?;
            done += length as u64;
        }
        self.merged.data_bytes += length_bytes;
        self.pad(length_bytes)
    }

    fn pad(&mut self, length_bytes: u64) -> Result<(), LayerError> {
        let padding = length_bytes.wrapping_neg() % BLOCK_BYTES;
        self.put(&[0; BLOCK_BYTES as usize][..padding as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.merged.archive_bytes += bytes.len() as u64;
        self.output.write_all(bytes).map_err(LayerError::Write)
    }
}

/// Owner and time of a file, as a folder.
fn root(inode: &Inode) -> Inode {
    let &Inode { mode, uid, gid, mtime, .. } = inode;
    Inode { content: Content::Folder, mode, uid, gid, mtime, attributes: Vec::new(), shared: false }
}

/// A header's fields; what is too long for them is cut, and stands in an extended header.
fn fields(path: &[u8], link: &[u8], kind: EntryType, size: u64, inode: Option<&Inode>) -> Header {
    let mut header = Header::new_ustar();
    let bytes = header.as_old_mut();
    let cut = |name: &[u8]| name.len().min(NAME_BYTES);
    bytes.name[..cut(path)].copy_from_slice(&path[..cut(path)]);
    bytes.linkname[..cut(link)].copy_from_slice(&link[..cut(link)]);
    header.set_entry_type(kind);
    header.set_size(size.min(LARGE_MAX));
    let (mode, uid, gid, mtime) =
        inode.map_or((0o644, 0, 0, 0), |inode| (inode.mode, inode.uid, inode.gid, inode.mtime));
    header.set_mode(mode);
    header.set_uid(u64::from(uid).min(SMALL_MAX));
    header.set_gid(u64::from(gid).min(SMALL_MAX));
    header.set_mtime(mtime.min(LARGE_MAX));
    header.set_cksum();
    header
}

/// The target of a symbolic link at `path`, without the `..` that would climb above the root: in a guest they lead
/// to the root, anywhere else they must not lead further.
fn inside(target: &[u8], path: &[u8], dropped: &mut Dropped) -> Vec<u8> {
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    let parts: Vec<&[u8]> = target.split(|byte| *byte == b'/').collect();
    let climbing = parts.iter().take_while(|part| matches!(**part, b".." | b"." | b""));
    if target.starts_with(b"/") || climbing.clone().filter(|part| **part == b"..").count() <= depth {
        return target.to_vec();
    }
    dropped.shortened += 1;
    let rest = &parts[climbing.count()..];
    let mut kept = vec![&b".."[..]; depth];
    kept.extend(rest);
    if kept.is_empty() { b".".to_vec() } else { kept.join(&b'/') }
}
