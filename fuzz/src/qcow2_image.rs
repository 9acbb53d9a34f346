//! Target `qcow2`: an image of any bytes, or a sound one with some bytes changed; checked, opened, used and
//! repaired.
//!
//! Always: a request that was taken completes once; whatever the image says, its header stays as it was but
//! for the numbers that we keep there, so that no guest comes to name a backing file.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use disk::{
    Compression, CreateOptions, Disk, DiskOperation, DiskRequest, ImageFile, IoMethod, Qcow2Disk, Repair,
    check_image, create_image, repair_image,
};
use guest_memory::IoBuffers;

use crate::{Notation, Script, Seed};

/// Longer than any image that makes sense here.
const LENGTH_MAX: usize = 4 << 20;
/// Most requests of an input.
const REQUESTS_MAX: u64 = 24;
/// Where the name of a backing file is said to be.
const BACKING: std::ops::Range<usize> = 8..20;

const CHANGE: u8 = 0;
const READ: u8 = 1;
const WRITE: u8 = 2;
const ZERO: u8 = 3;
const DISCARD: u8 = 4;
const FLUSH: u8 = 5;
const OPERATIONS: u8 = 6;

/// A file in memory, of bounded length.
struct MemoryFile(Mutex<Vec<u8>>);

impl MemoryFile {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ImageFile for MemoryFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let bytes = self.bytes();
        let start = usize::try_from(offset_bytes).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(buffers.len_bytes()).min(bytes.len());
        let done = buffers.fill_from(&bytes[start..end]);
        let rest = buffers.slice(done, usize::MAX);
        rest.fill_from(&vec![0; rest.len_bytes()]);
        Ok(())
    }

    fn write(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let data = buffers.to_vec(usize::MAX);
        let end = offset_bytes.saturating_add(data.len() as u64);
        if end > self.bytes().len() as u64 {
            self.set_len(end)?;
        }
        self.bytes()[offset_bytes as usize..][..data.len()].copy_from_slice(&data);
        Ok(())
    }

    fn write_zeroes(&self, offset_bytes: u64, length_bytes: u64, _may_unmap: bool) -> io::Result<()> {
        let mut bytes = self.bytes();
        let length = bytes.len() as u64;
        let (start, end) = (offset_bytes.min(length), offset_bytes.saturating_add(length_bytes).min(length));
        bytes[start as usize..end as usize].fill(0);
        Ok(())
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        if length_bytes > LENGTH_MAX as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes().resize(length_bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    if flags & 0x80 != 0 {
        let file = Arc::new(MemoryFile(Mutex::new(script.remaining().to_vec())));
        return try_everything(&file, flags, &mut Script::new(&[]));
    }
    let file = Arc::new(MemoryFile(Mutex::new(sound_image(flags))));
    let mut rest = script.remaining();
    // Changes first: what comes behind the last of them is requests.
    while let [CHANGE, low, high, value, after @ ..] = rest {
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        if let Some(byte) = file.bytes().get_mut(at) {
            *byte = *value;
        }
        rest = after;
    }
    try_everything(&file, flags, &mut Script::new(rest));
}

/// A small image with data, zeros, and perhaps compressed clusters in it.
fn sound_image(flags: u8) -> Vec<u8> {
    let file = Arc::new(MemoryFile(Mutex::new(Vec::new())));
    let version = if flags & 1 == 0 { 3 } else { 2 };
    let zstd = flags & 2 != 0 && version == 3;
    let options = CreateOptions {
        version,
        cluster_bytes: 512,
        refcount_bits: if version == 3 { 1 << (flags >> 2 & 7).min(6) } else { 16 },
        compression: if zstd { Compression::Zstd } else { Compression::Zlib },
        ..CreateOptions::new(256 << 10)
    };
    let image: Arc<dyn ImageFile> = Arc::clone(&file) as Arc<_>;
    create_image(&image, &options).expect("good options");
    let disk = Qcow2Disk::open_file(image, false).expect("a sound image").with_method(IoMethod::Threads);
    for at in 0..8u64 {
        request(&disk, DiskOperation::Write, at * 3072, 512 << (at & 1)).expect("a sound image");
    }
    request(&disk, DiskOperation::WriteZeroes { may_unmap: false }, 0, 512).expect("a sound image");
    drop(disk);
    let bytes = file.bytes().clone();
    bytes
}

fn try_everything(file: &Arc<MemoryFile>, flags: u8, script: &mut Script<'_>) {
    let backing = file.bytes().get(BACKING).map(<[u8]>::to_vec);
    // Errors are what is to be expected here.
    let _ = check_image(&**file);
    let image: Arc<dyn ImageFile> = Arc::clone(file) as Arc<_>;
    if let Ok(disk) = Qcow2Disk::open_file(Arc::clone(&image), flags & 0x40 != 0) {
        use_disk(&disk.with_method(IoMethod::Threads), script);
    }
    assert_eq!(file.bytes().get(BACKING).map(<[u8]>::to_vec), backing, "the header was written over");
    let what = if flags & 0x20 == 0 { Repair::Leaks } else { Repair::Counts };
    let _ = repair_image(&image, what);
    let _ = check_image(&**file);
}

fn use_disk(disk: &Qcow2Disk, script: &mut Script<'_>) {
    let mut left = REQUESTS_MAX;
    while let Some(operation) = script.operation(OPERATIONS).filter(|_| left > 0) {
        left -= 1;
        let sectors = (disk.size_bytes() / 512).clamp(1, 1 << 16);
        let offset_bytes = u64::from(script.u16()) % sectors * 512;
        let length_bytes = (u64::from(script.u8()) + 1) * 512;
        let length_bytes = length_bytes.min(disk.size_bytes() - offset_bytes);
        let operation = match operation {
            READ => DiskOperation::Read,
            WRITE => DiskOperation::Write,
            ZERO => DiskOperation::WriteZeroes { may_unmap: length_bytes & 512 == 0 },
            DISCARD => DiskOperation::Discard,
            FLUSH => DiskOperation::Flush,
            _ => continue,
        };
        let _ = request(disk, operation, offset_bytes, length_bytes);
    }
    let _ = request(disk, DiskOperation::Read, 0, disk.size_bytes().min(64 << 10));
}

/// Has one request served.
fn request(
    disk: &Qcow2Disk,
    operation: DiskOperation,
    offset_bytes: u64,
    length_bytes: u64,
) -> io::Result<()> {
    let mut queue = disk.open_queue()?;
    let buffers = match operation {
        DiskOperation::Read | DiskOperation::Write => IoBuffers::from_vec(vec![0xa5; length_bytes as usize]),
        _ => IoBuffers::empty(),
    };
    let (offset_bytes, length_bytes) =
        if operation == DiskOperation::Flush { (0, 0) } else { (offset_bytes, length_bytes) };
    queue.submit(DiskRequest { operation, offset_bytes, length_bytes, buffers, ..DiskRequest::flush(7) });
    queue.commit();
    let mut done = Vec::new();
    queue.drain(&mut done);
    assert!(matches!(&done[..], [completion] if completion.id == 7), "{done:?}");
    done.remove(0).result
}

/// Inputs to start from.
pub fn seeds() -> Vec<Seed> {
    let requests = |notation: Notation| {
        [READ, WRITE, ZERO, DISCARD, FLUSH, WRITE, READ]
            .into_iter()
            .fold(notation, |notation, operation| notation.u8(operation).u16(u16::from(operation) * 5).u8(9))
    };
    let image = |flags: u8| Notation::new().u8(0x80).bytes(&sound_image(flags)).finish();
    vec![
        ("v3", requests(Notation::new().u8(0x10)).finish()),
        ("v2", requests(Notation::new().u8(1)).finish()),
        ("one_bit", requests(Notation::new().u8(0)).finish()),
        ("read_only", requests(Notation::new().u8(0x50)).finish()),
        (
            "changed",
            requests(Notation::new().u8(0x30).u8(CHANGE).u16(0x405).u8(9).u8(CHANGE).u16(79).u8(1)).finish(),
        ),
        ("image_v3", image(0x10)),
        ("image_v2", image(1)),
    ]
}
