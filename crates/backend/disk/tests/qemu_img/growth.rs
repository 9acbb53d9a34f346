//! Disks that become longer while they are used, and are given back: QEMU says whether they are sound.

use disk::{ActiveDisk, DiskOptions, PreparedDisk, ResizeError};

use super::*;

fn active(folder: &Folder, name: &str) -> ActiveDisk {
    let (format, contents) = (DiskFormat::Qcow2, RawContents::Any);
    let options = DiskOptions { format, contents, read_only: false, block_bytes: None };
    PreparedDisk::open(&folder.path(name), options).unwrap().activate().unwrap()
}

/// Grows a disk step by step while somebody works on it, hands it back and forth, and asserts what QEMU finds.
#[track_caller]
fn grow_in_use(folder: &Folder, name: &str, mut model: Vec<u8>, sizes: &[u64], seed: u64) {
    let mut disk = active(folder, name);
    for (round, size_bytes) in sizes.iter().enumerate() {
        let mut user = User::new(disk.disk(), model, seed + round as u64);
        std::thread::scope(|scope| {
            let working = scope.spawn(|| (0..40).for_each(|_| user.step()));
            disk.resize(*size_bytes).unwrap();
            working.join().unwrap();
        });
        assert_eq!(disk.size_bytes(), *size_bytes);
        user.follow();
        (0..40).for_each(|_| user.step());
        model = user.leave();
        let prepared = disk.release().unwrap();
        assert_eq!(folder.virtual_size(name, "qcow2"), *size_bytes);
        fs::write(folder.path("model.raw"), &model).unwrap();
        folder.assert_clean(name);
        folder.assert_same(name, "model.raw");
        disk = prepared.activate().unwrap();
    }
}

#[test]
fn disks_grow_while_they_are_used() {
    let Some(folder) = Folder::new() else { return };
    let usual = CreateOptions::new(MIB + 512);
    let kinds = [
        usual.clone(),
        CreateOptions { cluster_bytes: 512, ..usual.clone() },
        CreateOptions { cluster_bytes: 2 << 20, ..usual.clone() },
        CreateOptions { version: 2, cluster_bytes: 1024, ..usual.clone() },
        CreateOptions { refcount_bits: 1, cluster_bytes: 512, ..usual.clone() },
    ];
    for (index, options) in kinds.iter().enumerate() {
        let name = format!("{index}.qcow2");
        create_qcow2(&folder.path(&name), options).unwrap();
        let model = vec![0; options.size_bytes as usize];
        let sizes = [MIB + 512, MIB + 1024, 2 * MIB + 512, 5 * MIB, 12 * MIB];
        grow_in_use(&folder, &name, model, &sizes, index as u64);
    }
}

/// What lies in a backing file behind the end of the disk in front of it, nobody is to see when that grows.
#[test]
fn what_is_behind_the_end_does_not_come_to_light() {
    let Some(folder) = Folder::new() else { return };
    let data = contents(8 * MIB);
    fs::write(folder.path("a.raw"), &data).unwrap();
    for kind in ["", "-o cluster_size=512", "-o compat=0.10", "-o cluster_size=2M"] {
        let _ = fs::remove_file(folder.path("b.qcow2"));
        folder.qemu_img(&format!("create -q -f qcow2 {kind} -b a.raw -F raw b.qcow2 1049088"));
        let sizes = [MIB + 1024, 3 * MIB + 512, 8 * MIB, 9 * MIB];
        grow_in_use(&folder, "b.qcow2", data[..1_049_088].to_vec(), &sizes, 7);
    }
}

#[test]
fn snapshots_stay_what_they_are_when_a_disk_grows() {
    let Some(folder) = Folder::new() else { return };
    let data = contents(2 * MIB);
    fs::write(folder.path("a.raw"), &data).unwrap();
    folder.qemu_img("convert -f raw -O qcow2 a.raw a.qcow2");
    folder.qemu_img("snapshot -c before a.qcow2");
    grow_in_use(&folder, "a.qcow2", data, &[4 * MIB], 3);
    folder.qemu_img("convert -f qcow2 -O raw -l before a.qcow2 before.raw");
    // QEMU gives a snapshot the length of the disk of today.
    let (before, then) =
        (fs::read(folder.path("before.raw")).unwrap(), fs::read(folder.path("a.raw")).unwrap());
    assert!(before[..then.len()] == then && before[then.len()..].iter().all(|byte| *byte == 0));
    folder.qemu_img("convert -f raw -O qcow2 -o compat=0.10 a.raw old.qcow2");
    folder.qemu_img("snapshot -c before old.qcow2");
    let disk = active(&folder, "old.qcow2");
    let error = disk.resize(4 * MIB).unwrap_err();
    let words = messages::in_words(&error);
    assert!(
        matches!(error, ResizeError::Format { .. }) && words.contains("version 2 with snapshots"),
        "{words}"
    );
    assert_eq!(disk.size_bytes(), 2 * MIB);
    drop(disk);
    folder.qemu_img("check -f qcow2 old.qcow2");
}

/// What corrupted images elsewhere (OpenNebula/one 1585): others change a disk while a machine has it.
#[test]
fn others_keep_out_while_a_disk_is_active_and_only_then() {
    let Some(folder) = Folder::new() else { return };
    create_qcow2(&folder.path("a.qcow2"), &CreateOptions::new(MIB)).unwrap();
    let options = DiskOptions {
        format: DiskFormat::Qcow2,
        contents: RawContents::Any,
        read_only: false,
        block_bytes: None,
    };
    let prepared = PreparedDisk::open(&folder.path("a.qcow2"), options).unwrap();
    // QEMU makes it longer in the meantime.
    folder.qemu_img("resize -q -f qcow2 a.qcow2 3M");
    let disk = prepared.activate().unwrap();
    assert_eq!(disk.size_bytes(), 3 * MIB);
    let refused = folder.run("resize -q -f qcow2 a.qcow2 4M");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lock"), "{refused:?}");
    let error = resize(&folder.path("a.qcow2"), DiskFormat::Qcow2, RawContents::Any, 4 * MIB).unwrap_err();
    assert!(error.is_in_use(), "{error}");
    let prepared = disk.release().unwrap();
    folder.qemu_img("resize -q -f qcow2 a.qcow2 4M");
    assert_eq!(prepared.activate().unwrap().size_bytes(), 4 * MIB);
}
