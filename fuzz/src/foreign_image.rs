//! Targets `vhdx`, `vmdk`, `vhd` and `vdi`: an image of any bytes, or a sound one with some bytes changed, read whole.
//!
//! Always: what is read twice is the same, a copy is what was read, and nothing lies behind the end.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use disk::{ImageFile, SourceFormat};
use foreign_disks::DiskReader;
use guest_memory::IoBuffers;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::{Notation, Script, Seed};

#[path = "../../crates/format/foreign_disks/tests/foreign/make.rs"]
mod make;

use make::{
    BLOCK_BYTES, GRAIN_BYTES, Grains, VHD_HEADER, VHDX_BAT, VHDX_METADATA, sum_vhd, sum_vhdx, vdi, vhd,
    vhd_footer, vhdx, vmdk,
};

/// What is read of a disk, and what a copy may hold, in bytes.
const READ_MAX: u64 = 4 << 20;
/// Longest disk that is copied, in bytes.
const COPY_MAX: u64 = 1 << 40;
/// Where changes of a VHDX image begin; each reaches 64 KiB further.
const VHDX_PLACES: [usize; 6] =
    [64 << 10, 128 << 10, 192 << 10, VHDX_BAT, VHDX_METADATA, VHDX_METADATA + (64 << 10)];
/// The input is an image itself.
const WHOLE: u8 = 0x80;
/// Checksums stay as they come to be.
const UNSUMMED: u8 = 1;
const DEFLATED: u8 = 2;
/// A VHD image of fixed size.
const FIXED: u8 = 4;
/// The rest of the input is a descriptor's, whose files are raw and sound ones in turn.
const SEVERAL: u8 = 0x40;
const DESCRIPTOR_START: &[u8] = b"# Disk DescriptorFile\ncreateType=\"vmfs\"\n";
const RAW_EXTENT_BYTES: u32 = 64 << 10;

/// A file in memory.
struct Bytes(Vec<u8>);

impl ImageFile for Bytes {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let start = usize::try_from(offset_bytes).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(buffers.len_bytes()).min(self.0.len());
        let done = buffers.fill_from(&self.0[start..end]);
        let rest = buffers.slice(done, usize::MAX);
        rest.fill_from(&vec![0; rest.len_bytes()]);
        Ok(())
    }

    fn write(&self, _buffers: IoBuffers, _offset_bytes: u64) -> io::Result<()> {
        panic!("a reader writes")
    }

    fn write_zeroes(&self, _offset_bytes: u64, _length_bytes: u64, _may_unmap: bool) -> io::Result<()> {
        panic!("a reader writes")
    }

    fn set_len(&self, _length_bytes: u64) -> io::Result<()> {
        panic!("a reader writes")
    }

    fn sync(&self) -> io::Result<()> {
        panic!("a reader writes")
    }
}

/// Runs one input as a VHDX image.
pub fn run_vhdx(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let mut image = if flags & WHOLE != 0 {
        // What comes first in a file is zeros for the most part.
        let mut image = vec![0; VHDX_METADATA + (128 << 10)];
        for place in VHDX_PLACES {
            let length = usize::from(script.u16());
            let bytes = script.bytes(length);
            image[place..place + bytes.len()].copy_from_slice(bytes);
        }
        image[..8].copy_from_slice(b"vhdxfile");
        image
    } else {
        let mut image = vhdx((2 << 20) + 512, &[(1, &[1; 1 << 20]), (2, &[4; 512])]);
        while let Some(place) = script.operation(VHDX_PLACES.len() as u8) {
            image[VHDX_PLACES[usize::from(place)] + usize::from(script.u16())] = script.u8();
        }
        image
    };
    if flags & UNSUMMED == 0 {
        sum_vhdx(&mut image);
    }
    read_all(image, SourceFormat::Vhdx);
}

/// Runs one input as a VMDK image.
pub fn run_vmdk(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    if flags & WHOLE != 0 {
        return read_all(script.remaining().to_vec(), SourceFormat::Vmdk);
    }
    if flags & SEVERAL != 0 {
        let raw = || (1..=RAW_EXTENT_BYTES).map(|at| (at >> 8) as u8).collect();
        let extents = (0..8).map(|number| if number % 2 == 0 { raw() } else { sound_vmdk(flags) });
        let text = [DESCRIPTOR_START, script.remaining()].concat();
        return read_several(text, extents.collect(), SourceFormat::Vmdk);
    }
    let mut image = sound_vmdk(flags);
    while let Some(page) = script.operation(u8::MAX) {
        let at = usize::from(page) << 8 | usize::from(script.u8());
        let length = image.len();
        image[at % length] = script.u8();
    }
    read_all(image, SourceFormat::Vmdk);
}

/// Runs one input as a VHD image.
pub fn run_vhd(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    if flags & WHOLE != 0 {
        return read_all(script.remaining().to_vec(), SourceFormat::Vhd);
    }
    let mut image = sound_vhd(flags);
    let end = image.len() - 512;
    while let Some(page) = script.operation(u8::MAX) {
        // The first half of the pages is at the front, where dynamic images have their tables; the rest at the end.
        let at = usize::from(page & 0x7f) << 8 | usize::from(script.u8());
        let at = if page & 0x80 == 0 { at } else { end + at };
        let length = image.len();
        image[at % length] = script.u8();
    }
    if flags & UNSUMMED == 0 {
        sum_vhd(&mut image[end..], 64);
        if flags & FIXED == 0 {
            sum_vhd(&mut image[VHD_HEADER..VHD_HEADER + 1024], 36);
        }
    }
    read_all(image, SourceFormat::Vhd);
}

fn sound_vhd(flags: u8) -> Vec<u8> {
    let size = 3 * BLOCK_BYTES as u64 + 512;
    if flags & FIXED != 0 {
        let mut image = vec![5; size as usize];
        image.extend(vhd_footer(2, b"vpc ", size, (3, 4, 17)));
        return image;
    }
    vhd(size, &[(1, &[1; BLOCK_BYTES]), (3, &[3; 512])])
}

/// Runs one input as a VDI image.
pub fn run_vdi(data: &[u8]) {
    let mut script = Script::new(data);
    if script.u8() & WHOLE != 0 {
        return read_all(script.remaining().to_vec(), SourceFormat::Vdi);
    }
    let mut image = sound_vdi();
    while let Some(page) = script.operation(16) {
        image[usize::from(page) << 8 | usize::from(script.u8())] = script.u8();
    }
    read_all(image, SourceFormat::Vdi);
}

fn sound_vdi() -> Vec<u8> {
    vdi(3 * BLOCK_BYTES as u64 + 512, &[(3, &[3; 512]), (1, &[1; BLOCK_BYTES])])
}

fn sound_vmdk(flags: u8) -> Vec<u8> {
    let kind = if flags & DEFLATED != 0 { Grains::Deflated } else { Grains::Plain };
    let noise: Vec<u8> = (0..GRAIN_BYTES).map(|at| (at * at >> 3) as u8).collect();
    vmdk((2 << 20) + 512, kind, &[(0, &[1; GRAIN_BYTES]), (300, &noise), (512, &[3; 512])])
}

fn read_all(image: Vec<u8>, format: SourceFormat) {
    read_several(image, Vec::new(), format);
}

fn read_several(image: Vec<u8>, extents: Vec<Vec<u8>>, format: SourceFormat) {
    let extents = extents.into_iter().map(|bytes| Arc::new(Bytes(bytes)) as Arc<dyn ImageFile>).collect();
    let Ok(disk) = DiskReader::open_file(Arc::new(Bytes(image)), extents, format) else { return };
    let mut front = vec![0; disk.len_bytes().min(READ_MAX) as usize];
    let first = disk.read_at(0, &mut front);
    let mut again = vec![1; front.len()];
    let second = disk.read_at(0, &mut again);
    assert_eq!(first.is_ok(), second.is_ok(), "{first:?}, {second:?}");
    assert!(first.is_err() || front == again, "the disk changes by being read");
    let mut end = [0; 512];
    // Errors are what is to be expected here.
    let _ = disk.read_at(disk.len_bytes().saturating_sub(512), &mut end);
    assert!(disk.read_at(disk.len_bytes(), &mut [0]).is_err());
    if disk.len_bytes() <= COPY_MAX {
        copy(&disk, first.is_ok().then_some(front));
    }
}

fn copy(disk: &DiskReader, front: Option<Vec<u8>>) {
    let file = File::from(memfd_create(c"copy", MemfdFlags::CLOEXEC).expect("a file in memory"));
    let target = file.try_clone().expect("a descriptor");
    let copied = disk.copy_to(target, Path::new("copy"), READ_MAX, |done, all| assert!(done <= all));
    if let (Ok(written), Some(front)) = (copied, front) {
        assert!(written <= READ_MAX);
        let mut start = vec![1; front.len()];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut start, 0).expect("as long as the disk");
        assert!(start == front, "the copy is another disk");
    }
}

/// Inputs to start from.
pub fn vhdx_seeds() -> Vec<Seed> {
    let changed = Notation::new().u8(0).u8(3).u16(8).u8(0xff).u8(4).u16(33).u8(1).u8(5).u16(0).u8(2);
    let image = vhdx(1 << 20, &[]);
    let whole = VHDX_PLACES.into_iter().fold(Notation::new().u8(WHOLE), |notation, place| {
        notation.u16(192).bytes(&image[place..place + 192])
    });
    vec![
        ("sound", vec![0]),
        ("unsummed", Notation::new().u8(UNSUMMED).u8(0).u16(9).u8(1).finish()),
        ("changed", changed.finish()),
        ("whole", whole.finish()),
    ]
}

/// Inputs to start from.
pub fn vhd_seeds() -> Vec<Seed> {
    let changed = |flags: u8| Notation::new().u8(flags).u8(2).u8(32).u8(1).u8(0x80).u8(48).u8(1).finish();
    let whole = Notation::new().u8(WHOLE).bytes(&vhd(512, &[])).finish();
    let fixed = Notation::new().u8(WHOLE).bytes(&[7; 1024]).bytes(&vhd_footer(2, b"win ", 1024, (1, 1, 2)));
    vec![
        ("sound", vec![0]),
        ("fixed", vec![FIXED]),
        ("unsummed", changed(UNSUMMED)),
        ("changed", changed(0)),
        ("changed_fixed", changed(FIXED)),
        ("whole", whole),
        ("whole_fixed", fixed.finish()),
    ]
}

/// Inputs to start from.
pub fn vdi_seeds() -> Vec<Seed> {
    let changed = Notation::new().u8(0).u8(1).u8(0x78).u8(1).u8(2).u8(4).u8(0).finish();
    let whole = Notation::new().u8(WHOLE).bytes(&vdi(512, &[(0, &[1; 512])])[..4096 + 512]).finish();
    vec![("sound", vec![0]), ("changed", changed), ("whole", whole)]
}

const SEVERAL_EXTENTS: &[u8] = b"RW 8 FLAT \"a\" 8\nRW 4097 SPARSE \"b\"\nRW 5 ZERO\nRDONLY 100 VMFS \"c\"\n";

/// Inputs to start from.
pub fn vmdk_seeds() -> Vec<Seed> {
    let changed = |flags: u8| Notation::new().u8(flags).u8(0).u8(12).u8(1).u8(5).u8(3).u8(0x41).finish();
    let whole = |flags: u8| Notation::new().u8(WHOLE).bytes(&sound_vmdk(flags)).finish();
    vec![
        ("plain", vec![0]),
        ("deflated", vec![DEFLATED]),
        ("changed_plain", changed(0)),
        ("changed_deflated", changed(DEFLATED)),
        ("whole_plain", whole(0)),
        ("whole_deflated", whole(DEFLATED)),
        ("several", Notation::new().u8(SEVERAL).bytes(SEVERAL_EXTENTS).finish()),
    ]
}
