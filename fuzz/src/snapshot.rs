//! Records of snapshots, and indexes of RAM with a file behind them.
//!
//! An input is a record if it begins as JSON does; else a number of bytes of an index (two bytes, little-endian), the index,
//! and the file of RAM. The index's checksum is made right, so that what is behind it is reached. What is believed is
//! written as it was read; pages that are handed out lie in RAM, each once.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};
use snapshot_files::ram::{
    PAGE_BYTES, PageSet, PagesFile, RamIndex, RamLayers, RamLayout, RamReader, RamSink, RamWriter, compress,
    difference,
};
use snapshot_files::{FileName, KeptBoot, KeptFile, Record};

use crate::Seed;

/// RAM that is read; an index that tells of more is only checked.
const RAM_MAX_BYTES: u64 = 64 << 20;

/// Runs one input.
pub fn run(data: &[u8]) {
    if data.starts_with(b"{") {
        return run_record(data);
    }
    let Some((length, rest)) = data.split_at_checked(2) else { return };
    let length = usize::from(u16::from_le_bytes([length[0], length[1]])).min(rest.len());
    let (index, file) = rest.split_at(length);
    run_ram(index, file);
}

fn run_record(data: &[u8]) {
    let Ok(record) = Record::from_json(Path::new("snapshot.json"), data) else { return };
    let again = record.to_json().expect("what was read is written");
    assert_eq!(Record::from_json(Path::new("snapshot.json"), &again).ok().as_ref(), Some(&record));
    let names = record.files.iter().map(|file| &file.name).chain(record.disks.iter().map(|disk| &disk.file));
    for name in names {
        assert!(!name.as_str().contains('/') && !name.as_str().starts_with('.'), "{name}");
    }
}

fn run_ram(index: &[u8], file: &[u8]) {
    let mut index = index.to_vec();
    if let Some(end) = index.len().checked_sub(4) {
        let checksum = crc32c::crc32c(&index[..end]).to_le_bytes();
        index[end..].copy_from_slice(&checksum);
    }
    let Ok(index) = RamIndex::from_bytes(&index) else { return };
    let again = index.to_bytes().expect("what was read is written");
    assert_eq!(RamIndex::from_bytes(&again).ok().as_ref(), Some(&index));
    if index.layout().size_bytes() > RAM_MAX_BYTES {
        return;
    }
    let seen = Seen { layout: index.layout(), pages: Mutex::default() };
    if let Ok(reader) = RamReader::new(Behind(file), index.file_bytes(), &index)
        && reader.restore(&seen).is_ok()
    {
        let seen = seen.pages.lock().expect("nobody panicked").len();
        assert_eq!(seen as u64 * PAGE_BYTES as u64, index.data_bytes() + index.zero_bytes());
        let _there_may_be_more_in_the_file = reader.verify();
    }
}

/// Bytes, and zeros behind them: so a short input is a whole file.
struct Behind<'b>(&'b [u8]);

impl PagesFile for Behind<'_> {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = self.0.get(start..).unwrap_or_default();
        let count = there.len().min(bytes.len());
        bytes[..count].copy_from_slice(&there[..count]);
        bytes[count..].fill(0);
        Ok(())
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
        let end = end.min(self.0.len() as u64);
        Ok((offset < end).then_some((offset, end)))
    }
}

struct Seen<'l> {
    layout: &'l RamLayout,
    pages: Mutex<BTreeSet<u64>>,
}

impl RamSink for Seen<'_> {
    fn write_page(&self, gpa: u64, page: &[u8]) -> io::Result<()> {
        assert_eq!(page.len(), PAGE_BYTES);
        assert!(self.layout.page_at(gpa).is_some() && gpa.is_multiple_of(PAGE_BYTES as u64));
        assert!(self.pages.lock().expect("nobody panicked").insert(gpa), "a page comes once");
        Ok(())
    }
}

/// A file that is written.
#[derive(Default)]
struct Written(Mutex<Vec<u8>>);

impl PagesFile for &Written {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        Behind(&self.0.lock().expect("nobody panicked")).read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut all, start) = (self.0.lock().expect("nobody panicked"), offset as usize);
        let length = all.len().max(start + bytes.len());
        all.resize(length, 0);
        all[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
        Behind(&self.0.lock().expect("nobody panicked")).next_data(offset, end)
    }
}

/// A record, RAM of two pages, plain and compressed, and what differs from it.
pub fn seeds() -> Vec<Seed> {
    let range = GpaRange { start: GuestAddress(0), size_bytes: 2 << 20 };
    let policy = Policy { huge_pages: false, ..Policy::default() };
    let memory = GuestMemory::allocate(&[range], policy).expect("2 MiB");
    for gpa in [0x1000, 0x2000] {
        memory.slots().write_slice(b"something", GuestAddress(gpa)).expect("RAM");
    }
    let plain = Written::default();
    let mut writer = RamWriter::new(&plain, RamLayout::of(&memory));
    writer.write(&memory, &[1, 2].into_iter().collect::<PageSet>()).expect("a file");
    let (_, index) = writer.finish();
    let packed = Written::default();
    let packed_index = compress(&index, &plain, &&packed).expect("a file");
    memory.slots().write_slice(&[0; PAGE_BYTES], GuestAddress(0x1000)).expect("RAM");
    memory.slots().write_slice(b"else", GuestAddress(0x2000)).expect("RAM");
    let now = Written::default();
    let mut writer = RamWriter::new(&now, RamLayout::of(&memory));
    writer.write(&memory, &[2].into_iter().collect::<PageSet>()).expect("a file");
    let (_, now_index) = writer.finish();
    let before = RamLayers::new(vec![(&plain, index.file_bytes(), index.clone())]).expect("whole");
    let differs = Written::default();
    let differs_index = difference(&now_index, &now, &before, &&differs).expect("a file");
    let input = |index: &RamIndex, file: &Written| {
        let index = index.to_bytes().expect("its bytes");
        [&(index.len() as u16).to_le_bytes()[..], &index, &file.0.lock().expect("nobody panicked")].concat()
    };
    vec![
        ("record", record().to_json().expect("its bytes")),
        ("plain", input(&index, &plain)),
        ("compressed", input(&packed_index, &packed)),
        ("difference", input(&differs_index, &differs)),
    ]
}

pub(crate) fn record() -> Record {
    let kernel = FileName::try_from("kernel".to_owned()).expect("a name");
    let (version, program, architecture) = Record::writer();
    Record {
        version,
        program,
        architecture,
        name: "a".parse().expect("a name"),
        vm: "web1".parse().expect("a name"),
        uuid: "0b54a1f6-6a43-4b5c-9c0a-1f2e3d4c5b6a".to_owned(),
        created_s: 0,
        description: String::new(),
        expires_s: Some(1),
        engine: "soft".to_owned(),
        cpus: 1,
        memory_bytes: 2 << 20,
        ram_bytes: 8192,
        base: None,
        compressed: false,
        pause_us: 1,
        boot: KeptBoot { kernel: kernel.clone(), initrds: vec![], modules: vec![] },
        disks: vec![],
        cards: vec![],
        virtio_console: false,
        merge: false,
        on_reset: Default::default(),
        on_panic: Default::default(),
        files: vec![KeptFile { name: kernel, size_bytes: 4, crc32c: Some(7) }],
    }
}
