//! RAM in a file: round trips, holes, and whatever somebody may have made of it.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod layers;

use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use guest_memory::{Access, Backing, Bytes, FileRange, GpaRange, GuestAddress, GuestMemory, NewSlot, Policy};

use super::*;

/// A file in memory.
#[derive(Default)]
struct MemoryFile(Mutex<Vec<u8>>);

impl MemoryFile {
    fn long(bytes: u64) -> MemoryFile {
        MemoryFile(Mutex::new(vec![0; bytes as usize]))
    }

    fn length(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
}

impl PagesFile for &MemoryFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let all = self.0.lock().unwrap();
        let part = all.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut all, end) = (self.0.lock().unwrap(), offset as usize + bytes.len());
        let length = all.len().max(end);
        all.resize(length, 0);
        all[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    /// As a file system that knows no holes.
    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
        Ok((offset < end).then_some((offset, end)))
    }
}

/// RAM with a gap, as of a machine with more than fits below the window for devices.
fn memory() -> GuestMemory {
    let range = |start, size_bytes| GpaRange { start: GuestAddress(start), size_bytes };
    let policy = Policy { huge_pages: false, ..Policy::default() };
    GuestMemory::allocate(&[range(0, 3 << 20), range(1 << 32, 2 << 20)], policy).unwrap()
}

/// Something in some pages; the last of either range is among them.
const PLACES: [u64; 6] = [0x1000, 0x2000, 0x10_0000, 0x2f_f000, 1 << 32, (1 << 32) + 0x1f_f000];

fn filled() -> GuestMemory {
    let memory = memory();
    for (index, gpa) in PLACES.into_iter().enumerate() {
        memory.slots().write_slice(&[index as u8 + 1; 4096], GuestAddress(gpa)).unwrap();
    }
    memory
}

fn contents(memory: &GuestMemory) -> Vec<u8> {
    let mut all = Vec::new();
    for range in memory.slots().ram_ranges() {
        let start = all.len();
        all.resize(start + range.size_bytes as usize, 0);
        memory.slots().read_slice(&mut all[start..], range.start).unwrap();
    }
    all
}

fn saved(memory: &GuestMemory, file: &MemoryFile) -> RamIndex {
    let mut writer = RamWriter::new(file, RamLayout::of(memory));
    writer.write(memory, &PageSet::touched(memory).unwrap()).unwrap();
    writer.finish().1
}

fn file_for(memory: &GuestMemory) -> MemoryFile {
    MemoryFile::long(memory.slots().size_bytes())
}

fn restored(file: &MemoryFile, index: &RamIndex) -> Result<GuestMemory, RamError> {
    let memory = memory();
    RamReader::new(file, file.length(), index)?.restore(&memory)?;
    Ok(memory)
}

#[test]
fn what_was_touched_comes_back_and_zeros_are_left_out() {
    let memory = filled();
    // Touched, and zero all the same.
    memory.slots().write_slice(&[0; 4096], GuestAddress(0x5_0000)).unwrap();
    let file = file_for(&memory);
    let index = saved(&memory, &file);
    assert_eq!(index.data_bytes(), PLACES.len() as u64 * 4096);
    let index = RamIndex::from_bytes(&index.to_bytes().unwrap()).unwrap();
    assert_eq!(contents(&restored(&file, &index).unwrap()), contents(&memory));
    let packed = MemoryFile::default();
    let packed_index = compress(&index, &file, &&packed).unwrap();
    assert!(packed.length() < 1000, "{}", packed.length());
    let packed_index = RamIndex::from_bytes(&packed_index.to_bytes().unwrap()).unwrap();
    assert_eq!(contents(&restored(&packed, &packed_index).unwrap()), contents(&memory));
}

#[test]
fn a_page_that_is_written_again_is_the_later_one() {
    let memory = filled();
    let (file, layout) = (file_for(&memory), RamLayout::of(&memory));
    let mut writer = RamWriter::new(&file, layout.clone());
    writer.write(&memory, &PageSet::touched(&memory).unwrap()).unwrap();
    memory.slots().write_slice(b"changed", GuestAddress(0x2004)).unwrap();
    memory.slots().write_slice(&[0; 4096], GuestAddress(0x10_0000)).unwrap();
    memory.slots().write_slice(b"new", GuestAddress((1 << 32) + 0x8000)).unwrap();
    let dirty = [0x2000, 0x10_0000, (1 << 32) + 0x8000].map(|gpa| layout.page_at(gpa).unwrap());
    writer.write(&memory, &dirty.into_iter().collect()).unwrap();
    let index = writer.finish().1;
    assert_eq!(contents(&restored(&file, &index).unwrap()), contents(&memory));
}

#[test]
fn a_log_s_pages_are_those_of_the_layout() {
    let layout = RamLayout::of(&memory());
    assert_eq!((layout.page_at(0x2f_ffff), layout.page_at(0x30_0000)), (Some(767), None));
    assert_eq!((layout.page_at(1 << 32), layout.gpa_of(768)), (Some(768), Some(1 << 32)));
    assert_eq!((layout.gpa_of(1279), layout.gpa_of(1280)), (Some((1 << 32) + 0x1f_f000), None));
    let mut dirty = guest_memory::DirtyPages::default();
    dirty.push_region(0, vec![0b10, 0, 1]);
    // A word more than the range has pages.
    dirty.push_region(1 << 32, [vec![0; 8], vec![1]].concat());
    assert_eq!(PageSet::dirty(&dirty, &layout).iter().collect::<Vec<_>>(), [1, 128]);
}

#[test]
fn a_file_has_holes_where_nothing_was() {
    let memory = filled();
    let file = tempfile::tempfile().unwrap();
    file.set_len(memory.slots().size_bytes()).unwrap();
    let mut writer = RamWriter::new(file.try_clone().unwrap(), RamLayout::of(&memory));
    writer.write(&memory, &PageSet::touched(&memory).unwrap()).unwrap();
    let index = writer.finish().1;
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), 5 << 20);
    assert!(metadata.blocks() * 512 <= 256 << 10, "{} blocks", metadata.blocks());
    RamReader::new(file, metadata.len(), &index).unwrap().verify().unwrap();
}

/// The index of the file in which `memory` is saved.
fn saved_to(file: &File, memory: &GuestMemory) -> RamIndex {
    file.set_len(memory.slots().size_bytes()).unwrap();
    let mut writer = RamWriter::new(file.try_clone().unwrap(), RamLayout::of(memory));
    writer.write(memory, &PageSet::touched(memory).unwrap()).unwrap();
    writer.finish().1
}

#[test]
fn ram_that_is_mapped_is_saved_with_what_nobody_has_touched() {
    let (file, again) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let first = filled();
    let index = saved_to(&file, &first);
    let mut offset_bytes = 0;
    let now = first.slots();
    let slots = now.ram_ranges().map(|range| {
        let part = FileRange { file: Arc::new(file.try_clone().unwrap()), offset_bytes };
        offset_bytes += range.size_bytes;
        NewSlot { range, access: Access::Ram, backing: Backing::PrivateFile(part) }
    });
    let mapped = GuestMemory::map(&slots.collect::<Vec<_>>(), Policy::default()).unwrap();
    mapped.slots().write_slice(b"changed", GuestAddress(0x2004)).unwrap();
    first.slots().write_slice(b"changed", GuestAddress(0x2004)).unwrap();
    let index_of_changed = saved_to(&again, &mapped);
    let length = again.metadata().unwrap().len();
    let restored = memory();
    RamReader::new(again, length, &index_of_changed).unwrap().restore(&restored).unwrap();
    assert!(contents(&restored) == contents(&first));
    // The file that is mapped stays as it was.
    RamReader::new(file, length, &index).unwrap().verify().unwrap();
}

#[test]
fn what_lies_where_nothing_was_is_damage() {
    let memory = filled();
    let file = tempfile::tempfile().unwrap();
    let index = saved_to(&file, &memory);
    file.write_all_at(&[0; 100], 0x9_0000).unwrap();
    let length = file.metadata().unwrap().len();
    let verify = || RamReader::new(file.try_clone().unwrap(), length, &index).unwrap().verify();
    verify().unwrap();
    file.write_all_at(b"x", 0x9_0fff).unwrap();
    assert!(matches!(verify(), Err(RamError::Damaged { gpa: 0x9_0000 })));
}

/// Each bit of a page is told of, and where it is.
#[test]
fn damage_is_found_where_it_is() {
    let memory = filled();
    let file = file_for(&memory);
    let index = saved(&memory, &file);
    let damaged = |at: usize| {
        file.0.lock().unwrap()[at] ^= 0x10;
        let error = restored(&file, &index).unwrap_err();
        file.0.lock().unwrap()[at] ^= 0x10;
        error
    };
    assert!(matches!(damaged(0x2fff), RamError::Damaged { gpa: 0x2000 }));
    let high = (3 << 20) + 0x1f_f123;
    assert!(matches!(damaged(high), RamError::Damaged { gpa } if gpa == (1 << 32) + 0x1f_f000));
    file.0.lock().unwrap().pop();
    assert!(matches!(restored(&file, &index), Err(RamError::Length { .. })));
    let packed = MemoryFile::default();
    file.0.lock().unwrap().push(6);
    let packed_index = compress(&index, &file, &&packed).unwrap();
    for at in 0..packed.length() as usize {
        packed.0.lock().unwrap()[at] ^= 1;
        // A frame may have bits that mean nothing; what comes out of it is right or refused.
        if let Ok(read) = restored(&packed, &packed_index) {
            assert_eq!(contents(&read), contents(&memory), "byte {at}");
        }
        packed.0.lock().unwrap()[at] ^= 1;
    }
}

/// More than one thread has at a time, where there are processors.
#[test]
fn of_much_damage_the_first_is_told_of() {
    const MIB: u64 = 1 << 20;
    let range = GpaRange { start: GuestAddress(0), size_bytes: 40 * MIB };
    let empty =
        || GuestMemory::allocate(&[range], Policy { huge_pages: false, ..Policy::default() }).unwrap();
    let memory = empty();
    for number in 0..40u64 {
        memory.slots().write_slice(&[number as u8 + 1; 4096], GuestAddress(number * MIB + 0x3000)).unwrap();
    }
    let file = file_for(&memory);
    let index = saved(&memory, &file);
    let packed = MemoryFile::default();
    let packed_index = compress(&index, &file, &&packed).unwrap();
    for (file, index) in [(&file, &index), (&packed, &packed_index)] {
        let again = empty();
        RamReader::new(file, file.length(), index).unwrap().restore(&again).unwrap();
        assert!(contents(&again) == contents(&memory));
    }
    let verify = || RamReader::new(&file, file.length(), &index).unwrap().verify();
    verify().unwrap();
    for number in [38, 11, 2] {
        file.0.lock().unwrap()[number * MIB as usize + 0x3007] ^= 1;
        let expected = number as u64 * MIB + 0x3000;
        assert!(matches!(verify(), Err(RamError::Damaged { gpa }) if gpa == expected), "{expected:#x}");
    }
}

#[test]
fn no_changed_byte_of_an_index_is_believed() {
    let memory = filled();
    let bytes = saved(&memory, &file_for(&memory)).to_bytes().unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        assert!(RamIndex::from_bytes(&changed).is_err(), "byte {at}");
        assert!(RamIndex::from_bytes(&bytes[..at]).is_err(), "{at} bytes");
    }
    let mut newer = bytes.clone();
    newer[8] = 3;
    assert!(matches!(RamIndex::from_bytes(&newer), Err(RamError::Format(3))));
    let error = RamIndex::from_bytes(&newer).unwrap_err().to_string();
    assert!(error.contains("format 3, and this program reads format 2"), "{error}");
}

/// What was written under version 1 is read, and written, for ever.
#[test]
fn an_index_of_version_1() {
    let range = GpaRange { start: GuestAddress(0), size_bytes: 2 << 20 };
    let memory = GuestMemory::allocate(&[range], Policy { huge_pages: false, ..Policy::default() }).unwrap();
    memory.slots().write_slice(&[1; 4096], GuestAddress(0x1000)).unwrap();
    memory.slots().write_slice(&[2; 4096], GuestAddress(0x2000)).unwrap();
    let index = saved(&memory, &file_for(&memory));
    let kept = include_bytes!("../../states/ram-index-1");
    assert_eq!(RamIndex::from_bytes(kept).unwrap(), index);
    assert_eq!(index.to_bytes().unwrap(), kept);
}

/// With a checksum that is right.
#[test]
fn an_index_that_makes_no_sense_is_refused() {
    let memory = filled();
    let good = saved(&memory, &file_for(&memory));
    let refused = |change: &dyn Fn(&mut RamIndex)| {
        let mut index = good.clone();
        change(&mut index);
        let read = RamIndex::from_bytes(&index.to_bytes().unwrap());
        assert!(matches!(read, Err(RamError::DamagedIndex)), "{index:?}");
    };
    refused(&|index| index.pieces[0].number = u64::MAX);
    refused(&|index| index.pieces[0].number = 5);
    refused(&|index| index.pieces.swap(0, 1));
    refused(&|index| index.pieces[0].pages[0] = 0);
    refused(&|index| index.pieces[0].checksums.truncate(1));
    refused(&|index| index.pieces[0].frame_bytes = 7);
    refused(&|index| index.is_compressed = true);
    refused(&|index| {
        index.is_compressed = true;
        index.pieces.iter_mut().for_each(|piece| piece.frame_bytes = u32::MAX);
    });
    let layout = |text: &str| -> RamLayout { serde_json::from_str(text).unwrap() };
    for bad in [
        "[]",
        r#"[{"gpa":0,"size_bytes":0}]"#,
        r#"[{"gpa":1,"size_bytes":4096}]"#,
        r#"[{"gpa":0,"size_bytes":8388609}]"#,
        r#"[{"gpa":0,"size_bytes":8388608},{"gpa":4096,"size_bytes":4096}]"#,
        r#"[{"gpa":18446744073709547520,"size_bytes":8192}]"#,
        r#"[{"gpa":0,"size_bytes":140737488355328}]"#,
    ] {
        refused(&|index| index.layout = layout(bad));
    }
}
