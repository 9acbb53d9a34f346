//! Images that lie.

use super::super::header::Header;
use super::super::spec::*;
use super::*;

const CLUSTER: usize = 65536;

/// An image with one cluster of data, as bytes.
fn sound_image() -> Vec<u8> {
    let file = new_image(&CreateOptions::new(1 << 20));
    open(&file, None).write(&IoBuffers::from_vec(vec![7; CLUSTER]), 0).unwrap();
    file.contents()
}

fn with(field: std::ops::Range<usize>, value: u64) -> Vec<u8> {
    let mut bytes = sound_image();
    let width = field.len();
    bytes[field].copy_from_slice(&value.to_be_bytes()[8 - width..]);
    bytes
}

#[track_caller]
fn assert_refused(bytes: Vec<u8>, words: &str) {
    let file = Arc::new(MemoryFile::new(bytes));
    let error = try_open(&file, None, true).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
    let error = check(&*file).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn impossible_headers_are_refused_in_words() {
    assert_refused(vec![0; 4096], "does not begin as a qcow2 image");
    assert_refused(b"QFI\xfb".to_vec(), "does not begin as a qcow2 image");
    assert_refused(with(VERSION, 1), "version 1");
    assert_refused(with(VERSION, 4), "version 4");
    assert_refused(with(CLUSTER_BITS, 8), "cluster size of 2 to the power of 8");
    assert_refused(with(CLUSTER_BITS, u64::MAX), "cluster size");
    assert_refused(with(SIZE, 1 << 60), "L1 table is too short");
    assert_refused(with(SIZE, u64::MAX), "larger than any file");
    assert_refused(with(CRYPT_METHOD, 2), "encrypted");
    assert_refused(with(L1_ENTRIES, u64::MAX), "longer than 32 MiB");
    assert_refused(with(L1_ENTRIES, 0), "too short");
    assert_refused(with(L1_OFFSET, 1 << 62), "L1 table lies beyond the end");
    assert_refused(with(L1_OFFSET, 12345), "L1 table is at an impossible place");
    assert_refused(with(REFTABLE_OFFSET, 0), "reference count table is at an impossible place");
    assert_refused(with(REFTABLE_CLUSTERS, 0), "impossible length");
    assert_refused(with(REFTABLE_CLUSTERS, 1000), "impossible length");
    assert_refused(with(SNAPSHOTS, u64::MAX), "more snapshots");
    assert_refused(with(SNAPSHOTS, 1), "snapshot table");
    assert_refused(with(INCOMPATIBLE, INCOMPATIBLE_DATA_FILE), "data in another file");
    assert_refused(with(INCOMPATIBLE, INCOMPATIBLE_SUBCLUSTERS), "subclusters");
    assert_refused(with(INCOMPATIBLE, 1 << 40), "feature 40 of the format, which came after");
    assert_refused(with(INCOMPATIBLE, INCOMPATIBLE_COMPRESSION), "do not agree");
    assert_refused(with(REFCOUNT_ORDER, 7), "2 to the power of 7 bits");
    assert_refused(with(HEADER_LENGTH, 80), "impossible length");
    assert_refused(with(HEADER_LENGTH, 107), "multiple of 8");
    assert_refused(with(HEADER_LENGTH, u64::MAX), "impossible length");
    assert_refused(with(BACKING_OFFSET, 8), "impossible length");
    let mut bytes = with(BACKING_OFFSET, 1 << 40);
    bytes[BACKING_LENGTH].copy_from_slice(&5u32.to_be_bytes());
    assert_refused(bytes, "name is at an impossible place");
    let mut bytes = sound_image();
    bytes[L1_OFFSET].copy_from_slice(&(CLUSTER as u64).to_be_bytes());
    assert_refused(bytes, "lies over");
}

/// Puts `entry` where the one cluster of data is described.
fn with_l2_entry(entry: u64) -> Arc<MemoryFile> {
    let mut bytes = sound_image();
    let header = Header::read(&MemoryFile::new(bytes.clone())).unwrap();
    let table = (table_entry(&bytes[header.l1_offset as usize..], 0) & OFFSET_MASK) as usize;
    bytes[table..table + 8].copy_from_slice(&entry.to_be_bytes());
    Arc::new(MemoryFile::new(bytes))
}

#[test]
fn a_guest_cannot_write_over_the_images_tables() {
    let header = Header::read(&MemoryFile::new(sound_image())).unwrap();
    for place in [header.l1_offset, header.reftable_offset] {
        let file = with_l2_entry(COPIED | place);
        let image = open(&file, None);
        let before = file.contents();
        let error = image.write(&IoBuffers::from_vec(vec![1; 512]), 0).unwrap_err();
        assert!(error.to_string().contains("over the image's own tables"), "{error}");
        assert_eq!(file.contents(), before);
        assert!(check(&*file).unwrap().corruptions > 0);
    }
}

#[test]
fn a_table_that_nobody_counts_is_not_given_away() {
    let mut bytes = sound_image();
    let header = Header::read(&MemoryFile::new(bytes.clone())).unwrap();
    let block = table_entry(&bytes[header.reftable_offset as usize..], 0) as usize;
    let l1 = (header.l1_offset / CLUSTER as u64) as usize;
    bytes[block + l1 * 2..block + l1 * 2 + 2].fill(0);
    let image = open(&Arc::new(MemoryFile::new(bytes)), None);
    let error = image.write(&IoBuffers::from_vec(vec![1; 512]), 8 * CLUSTER as u64).unwrap_err();
    assert!(error.to_string().contains("not counted as in use"), "{error}");
}

#[test]
fn bad_entries_are_errors_of_the_request() {
    let compressed_beyond = COMPRESSED | 1 << 50;
    for entry in [0x200, COPIED | 0x1200, compressed_beyond, u64::MAX, COMPRESSED] {
        let file = with_l2_entry(entry);
        let image = open(&file, None);
        let buffers = IoBuffers::from_vec(vec![0; 512]);
        Layer::read(&image, &buffers, 0).unwrap_err();
        assert!(check(&*file).unwrap().corruptions > 0 || entry == COMPRESSED, "{entry:#x}");
        // The rest of the disk is not concerned.
        image.write(&IoBuffers::from_vec(vec![1; 512]), 8 * CLUSTER as u64).unwrap();
    }
}

#[test]
fn what_others_have_begun_is_not_written_to() {
    for (field, bit, words) in
        [(AUTOCLEAR, AUTOCLEAR_BITMAPS, "bitmaps"), (INCOMPATIBLE, INCOMPATIBLE_CORRUPT, "corrupt")]
    {
        let file = Arc::new(MemoryFile::new(with(field, bit)));
        let error = try_open(&file, None, false).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        try_open(&file, None, true).unwrap();
    }
}

#[test]
fn an_image_that_was_not_closed_is_counted_anew() {
    let mut bytes = with(INCOMPATIBLE, INCOMPATIBLE_DIRTY);
    let header = Header::read(&MemoryFile::new(bytes.clone())).unwrap();
    let block = table_entry(&bytes[header.reftable_offset as usize..], 0) as usize;
    // One cluster too many, and all others not at all.
    bytes[block..block + CLUSTER].fill(0);
    bytes[block + 2 * 20 + 1] = 1;
    let file = Arc::new(MemoryFile::new(bytes));
    assert!(check(&*file).unwrap().corruptions > 0);
    open(&file, None).write(&IoBuffers::from_vec(vec![1; 512]), 8 * CLUSTER as u64).unwrap();
    let report = check(&*file).unwrap();
    assert!(report.is_clean() && !report.dirty, "{report:?}");
}
