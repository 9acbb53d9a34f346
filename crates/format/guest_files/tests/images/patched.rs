//! Disks with some of their bytes changed, and what is done with them: everything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use guest_files::{
    Architecture, FileKind, FileSystem, Limited, ReadAt, find_boot, open_file_system, read_partitions,
};

/// What is read of a disk at most, but by `find_boot`, which has a bound of its own.
const BUDGET_BYTES: u64 = 64 << 20;
/// Files and directories that are looked at, and bytes that are read of each file.
const VISIT_LIMIT: usize = 100;
const READ_LIMIT_BYTES: u64 = 64 << 10;

/// A disk with other bytes in some places.
pub struct Patched {
    pub base: Rc<dyn ReadAt>,
    pub bytes: BTreeMap<u64, u8>,
}

impl ReadAt for Patched {
    fn len_bytes(&self) -> u64 {
        self.base.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.base.read_at(offset_bytes, buffer)?;
        let end = offset_bytes + buffer.len() as u64;
        for (at, byte) in self.bytes.range(offset_bytes..end) {
            buffer[(at - offset_bytes) as usize] = *byte;
        }
        Ok(())
    }
}

/// Remembers which places of a disk are read: those where a changed byte matters.
struct Recorder {
    inner: Rc<dyn ReadAt>,
    /// Where reads began, and how long the longest of each was.
    reads: RefCell<BTreeMap<u64, u64>>,
}

impl ReadAt for Recorder {
    fn len_bytes(&self) -> u64 {
        self.inner.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut reads = self.reads.borrow_mut();
        let len = reads.entry(offset_bytes).or_default();
        *len = (*len).max(buffer.len() as u64);
        self.inner.read_at(offset_bytes, buffer)
    }
}

/// The places of a disk that structures are read from.
pub fn structures(disk: &Rc<dyn ReadAt>) -> Vec<(u64, u64)> {
    let recorder = Rc::new(Recorder { inner: disk.clone(), reads: RefCell::default() });
    walk(recorder.clone(), false);
    recorder.reads.take().into_iter().collect()
}

/// The `index`th byte of these places.
pub fn place(structures: &[(u64, u64)], index: u64) -> u64 {
    let total: u64 = structures.iter().map(|(_, len)| len).sum();
    let mut index = index % total.max(1);
    for (at, len) in structures {
        if index < *len {
            return at + index;
        }
        index -= len;
    }
    0
}

/// Opens what is there, lists all of it and, if `with_data`, reads its files and looks for what boots.
pub fn walk(disk: Rc<dyn ReadAt>, with_data: bool) {
    let limited: Rc<dyn ReadAt> = Rc::new(Limited::new(disk.clone(), BUDGET_BYTES));
    let _ = read_partitions(&*limited);
    if let Ok(Some(fs)) = open_file_system(limited) {
        visit(&*fs, with_data);
        for subvolume in ["", "@", "@/srv"] {
            if let Ok(Some(fs)) = fs.subvolume(subvolume) {
                visit(&*fs, false);
            }
        }
    }
    if with_data && let Ok(boot) = find_boot(disk, Architecture::X86_64, None) {
        let _ = boot.write_kernel(&mut io::sink());
        let _ = boot.write_initrd(&mut io::sink());
    }
}

fn visit(fs: &dyn FileSystem, with_data: bool) {
    let mut folders = vec![String::new()];
    let mut visited = 0;
    while let Some(folder) = folders.pop() {
        let Ok(list) = fs.list(&folder, 5000) else { continue };
        for entry in list {
            visited += 1;
            if visited > VISIT_LIMIT {
                return;
            }
            let path = format!("{folder}/{}", entry.name);
            let _ = fs.metadata(&path);
            match entry.kind {
                FileKind::Directory => folders.push(path),
                _ if with_data => {
                    let _ = fs.read_range(&path, 0, READ_LIMIT_BYTES, &mut io::sink());
                    let _ = fs.read_range(&path, 1 << 40, 100, &mut io::sink());
                }
                _ => {}
            }
        }
    }
}
