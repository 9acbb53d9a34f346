//! Archives of snapshots: a tar of any bytes, decompressed, whose headers' checksums are made right.
//!
//! What is believed is a snapshot with the files of its record and no others; what is not leaves nothing at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use messages::Unwatched;
use snapshot_files::{RECORD, Snapshot, Snapshots};

use crate::Seed;
use crate::snapshot::record;

const BLOCK_BYTES: usize = 512;
/// Where a header has its checksum, and the mark of its form.
const CHECKSUM: std::ops::Range<usize> = 148..156;
const MARK: std::ops::Range<usize> = 257..262;

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut archive = data.to_vec();
    archive.chunks_exact_mut(BLOCK_BYTES).filter(|block| block[MARK] == *b"ustar").for_each(make_right);
    let folder = tempfile::tempdir().expect("a folder");
    let snapshots = Snapshots::new(folder.path());
    match snapshot_archive::import_tar(&snapshots, &archive[..], None, &mut Unwatched) {
        Ok(snapshot) => check(&snapshot),
        Err(_) => assert!(is_empty(&folder.path().join("snapshots")), "something is left"),
    }
    let beside = fs::read_dir(folder.path()).expect("the folder").filter_map(Result::ok);
    assert!(beside.into_iter().all(|entry| entry.file_name() == "snapshots"), "something is elsewhere");
}

fn make_right(block: &mut [u8]) {
    block[CHECKSUM].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

fn check(snapshot: &Snapshot) {
    let names = fs::read_dir(snapshot.folder()).expect("its folder").filter_map(Result::ok);
    let there: BTreeSet<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let mut listed: BTreeSet<String> =
        snapshot.record.files.iter().map(|file| file.name.to_string()).collect();
    listed.insert(RECORD.to_owned());
    assert_eq!(there, listed);
    assert!(snapshot.record.disks.iter().all(|disk| disk.backing.is_none()));
}

/// A record with its file, up to where the state is missing.
pub fn seeds() -> Vec<Seed> {
    let mut archive = tar::Builder::new(Vec::new());
    let json = record().to_json().expect("its bytes");
    for (name, data) in [(RECORD, &json[..]), ("kernel", b"code")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, data).expect("memory");
    }
    vec![("record", archive.into_inner().expect("memory"))]
}
