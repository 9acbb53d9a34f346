//! A disk goes from hand to hand.

use std::fs::{self, File};
use std::path::Path;

use super::*;
use crate::contract::{DiskOperation, DiskRequest};
use crate::disguise::StatedBy;
use crate::{BackingName, CreateOptions, create_qcow2};

const STATED: &StatedBy =
    &StatedBy { option: "format=", force: "force-raw", takes_foreign: false, takes_packed: false };
const RAW: DiskOptions = DiskOptions {
    format: DiskFormat::Raw,
    read_only: false,
    contents: RawContents::Checked(STATED),
    block_bytes: None,
};
const QCOW2: DiskOptions = DiskOptions { format: DiskFormat::Qcow2, ..RAW };

fn make(path: &Path, options: DiskOptions, size_bytes: u64) {
    match options.format {
        DiskFormat::Raw => File::create(path).unwrap().set_len(size_bytes).unwrap(),
        DiskFormat::Qcow2 => create_qcow2(path, &CreateOptions::new(size_bytes)).unwrap(),
    }
}

fn open(path: &Path, options: DiskOptions) -> Result<PreparedDisk, String> {
    PreparedDisk::open(path, options).map_err(|error| messages::in_words(&error))
}

fn activate(disk: PreparedDisk) -> Result<ActiveDisk, (PreparedDisk, String)> {
    disk.activate().map_err(|refused| {
        let NotDone { disk, source } = *refused;
        (disk, messages::in_words(&source))
    })
}

/// One request, done when this returns.
fn request(
    disk: &ActiveDisk,
    operation: DiskOperation,
    offset_bytes: u64,
    data: &mut [u8],
) -> std::io::Result<()> {
    let mut queue = disk.disk().open_queue().unwrap();
    let buffers = guest_memory::IoBuffers::from_vec(data.to_vec());
    let length_bytes = data.len() as u64;
    let whole = buffers.slice(0, data.len());
    queue.submit(DiskRequest {
        id: 1,
        operation,
        offset_bytes,
        length_bytes,
        buffers: whole,
        durable: false,
    });
    queue.commit();
    let mut done = Vec::new();
    queue.drain(&mut done);
    data.copy_from_slice(&buffers.to_vec(data.len()));
    done.remove(0).result
}

#[test]
fn what_is_prepared_is_nobody_s_and_what_is_active_one_s() {
    let folder = tempfile::tempdir().unwrap();
    for options in [RAW, QCOW2] {
        let path = folder.path().join(options.format.name());
        make(&path, options, 1 << 20);
        let [first, second] = [(); 2].map(|()| open(&path, options).unwrap());
        let first = activate(first).map_err(|(_, why)| why).unwrap();
        let (second, why) = activate(second).err().unwrap();
        assert_eq!(
            why,
            format!(
                "disk {} is in use by another machine or process; it can be shared only if all attach it as readonly",
                path.display()
            )
        );
        request(&first, DiskOperation::Write, 512, &mut [7; 512]).unwrap();
        first.resize(2 << 20).unwrap();
        request(&first, DiskOperation::Write, (2 << 20) - 512, &mut [8; 512]).unwrap();
        let first = first.release().unwrap();
        let second = activate(second).map_err(|(_, why)| why).unwrap();
        assert_eq!(second.size_bytes(), 2 << 20, "it sees what the other has made of it");
        let mut found = [0; 512];
        request(&second, DiskOperation::Read, (2 << 20) - 512, &mut found).unwrap();
        assert_eq!(found, [8; 512]);
        let (first, _) = activate(first).err().unwrap();
        drop(second);
        assert!(activate(first).is_ok());
    }
}

#[test]
fn readers_share_and_keep_writers_out() {
    let folder = tempfile::tempdir().unwrap();
    for options in [RAW, QCOW2] {
        let path = folder.path().join(options.format.name());
        make(&path, options, 1 << 20);
        let reader = DiskOptions { read_only: true, ..options };
        let [one, two] =
            [(); 2].map(|()| activate(open(&path, reader).unwrap()).map_err(|(_, why)| why).unwrap());
        assert!(activate(open(&path, options).unwrap()).is_err());
        assert!(matches!(one.resize(2 << 20), Err(ResizeError::ReadOnly(_))));
        one.release().unwrap();
        two.release().unwrap();
        assert!(activate(open(&path, options).unwrap()).is_ok());
    }
}

#[test]
fn what_changed_meanwhile_is_followed_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    make(&path, RAW, 8192);
    let blocks = DiskOptions { block_bytes: Some(4096), ..RAW };
    let (disk, sized) = (open(&path, RAW).unwrap(), open(&path, blocks).unwrap());
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(8192 + 512).unwrap();
    let (sized, why) = activate(sized).err().unwrap();
    assert!(why.contains("8704 bytes long, not a multiple of its block size of 4096"), "{why}");
    let disk = activate(disk).map_err(|(_, why)| why).unwrap();
    assert_eq!(disk.size_bytes(), 8704);
    let disk = disk.release().unwrap();
    file.set_len(0).unwrap();
    let (disk, why) = activate(disk).err().unwrap();
    assert!(why.contains("is empty"), "{why}");
    fs::write(&path, [b"vhdxfile".to_vec(), vec![0; 8184]].concat()).unwrap();
    assert!(activate(disk).err().unwrap().1.contains("is a VHDX image"));
    // One file in another's place.
    fs::rename(&path, folder.path().join("aside")).unwrap();
    assert!(activate(sized).err().unwrap().1.contains("was removed, or replaced"));
    make(&path, RAW, 8192);
    let disk = open(&path, RAW).unwrap();
    fs::remove_file(&path).unwrap();
    make(&path, RAW, 8192);
    assert!(activate(disk).err().unwrap().1.contains("was removed, or replaced"));
    // A refused activation holds no lock.
    assert!(activate(open(&path, RAW).unwrap()).is_ok());
}

#[test]
fn a_chain_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let behind = |name: &str| crate::BackingName { path: name.into(), format: Some("qcow2".into()) };
    create_qcow2(&path("base"), &CreateOptions::new(1 << 20)).unwrap();
    create_qcow2(&path("other"), &CreateOptions::new(1 << 20)).unwrap();
    let over = |base: &str| CreateOptions { backing: Some(behind(base)), ..CreateOptions::new(1 << 20) };
    create_qcow2(&path("top"), &over("base")).unwrap();
    let writer = activate(open(&path("base"), QCOW2).unwrap()).map_err(|(_, why)| why).unwrap();
    let top = open(&path("top"), QCOW2).unwrap();
    let (top, why) = activate(top).err().unwrap();
    assert!(why.contains("backing file of disk") && why.contains("in use"), "{why}");
    let (_, why) = activate(open(&path("top"), QCOW2).unwrap()).err().unwrap();
    assert!(why.starts_with("backing file of disk"), "its own lock was given back: {why}");
    request(&writer, DiskOperation::Write, 0, &mut [5; 512]).unwrap();
    drop(writer);
    let top = activate(top).map_err(|(_, why)| why).unwrap();
    let mut found = [0; 512];
    request(&top, DiskOperation::Read, 0, &mut found).unwrap();
    assert_eq!(found, [5; 512]);
    let (_, why) = activate(open(&path("base"), QCOW2).unwrap()).err().unwrap();
    assert!(why.contains("in use"), "what is behind is locked, too: {why}");
    let top = top.release().unwrap();
    assert!(activate(open(&path("base"), QCOW2).unwrap()).is_ok());
    // Somebody puts another image behind it, in the same file.
    create_qcow2(&path("new"), &over("other")).unwrap();
    fs::write(path("top"), fs::read(path("new")).unwrap()).unwrap();
    let top = activate(top).map_err(|(_, why)| why).unwrap();
    request(&top, DiskOperation::Read, 0, &mut found).unwrap();
    assert_eq!(found, [0; 512]);
    assert!(activate(open(&path("other"), QCOW2).unwrap()).is_err());
    assert!(activate(open(&path("base"), QCOW2).unwrap()).is_ok());
}

/// What the guest writes would be what it reads through the image.
#[test]
fn an_image_that_names_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("self");
    for format in ["raw", "qcow2"] {
        let backing = BackingName { path: "self".to_owned(), format: Some(format.to_owned()) };
        create_qcow2(&path, &CreateOptions { backing: Some(backing), ..CreateOptions::new(1 << 20) })
            .unwrap();
        let refused = open(&path, QCOW2).and_then(|disk| activate(disk).map_err(|(_, why)| why));
        assert!(refused.is_err(), "{format}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for options in [RAW, QCOW2] {
        let path = folder.path().join(options.format.name());
        make(&path, options, 1 << 20);
        let options = DiskOptions { block_bytes: Some(4096), ..options };
        let disk = activate(open(&path, options).unwrap()).map_err(|(_, why)| why).unwrap();
        let refused = |size_bytes: u64| messages::in_words(&disk.resize(size_bytes).unwrap_err());
        assert!(refused(0).contains("has 1 MiB; making it smaller would cut off"));
        assert!(refused((1 << 20) - 4096).contains("making it smaller"));
        assert!(refused((1 << 20) + 512).contains("blocks of 4096 bytes"));
        let why = refused(u64::MAX - 4095);
        assert!(why.contains("cannot be enlarged"), "{why}");
        assert_eq!(disk.size_bytes(), 1 << 20);
        disk.resize(1 << 20).unwrap();
        disk.resize((1 << 20) + 4096).unwrap();
        disk.release().unwrap();
    }
    let path = folder.path().join("raw");
    let disk = activate(open(&path, RAW).unwrap()).map_err(|(_, why)| why).unwrap();
    // Somebody has made the file longer, and may have put something there.
    File::options().write(true).open(&path).unwrap().set_len(4 << 20).unwrap();
    let why = messages::in_words(&disk.resize(3 << 20).unwrap_err());
    assert!(why.contains("has 4 MiB; making it smaller"), "{why}");
    disk.resize(4 << 20).unwrap();
    assert_eq!(disk.size_bytes(), 4 << 20);
}

#[test]
fn a_disk_that_a_device_has_is_not_given_back() {
    let folder = tempfile::tempdir().unwrap();
    for options in [RAW, QCOW2] {
        let path = folder.path().join(options.format.name());
        make(&path, options, 1 << 20);
        let disk = activate(open(&path, options).unwrap()).map_err(|(_, why)| why).unwrap();
        let device = disk.disk();
        let queue = device.open_queue().unwrap();
        let disk = disk.release().err().unwrap().disk;
        drop(device);
        let refused = disk.release().err().unwrap();
        assert!(matches!(refused.source, ReleaseError::StillUsed(_)), "a queue is enough");
        assert!(activate(open(&path, options).unwrap()).is_err());
        drop(queue);
        refused.disk.release().unwrap();
        assert!(activate(open(&path, options).unwrap()).is_ok());
    }
}
