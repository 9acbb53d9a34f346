//! VHDX, VMDK, VHD and VDI as QEMU writes them. Needs `qemu-img`; says so where it is missing.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

#[path = "../../../../backend/disk/tests/qemu_img/folder.rs"]
mod folder;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use disk::{OpenError, SourceFormat};
use folder::{Folder, MIB, contents};
use foreign_disks::{DiskReader, SourceFile};

/// Reads an image whole.
fn read(folder: &Folder, name: &str, format: SourceFormat) -> Vec<u8> {
    let file = File::open(folder.path(name)).unwrap();
    let reader = DiskReader::open(vec![SourceFile::new(file, format, name)]).unwrap();
    let target = File::options().write(true).create(true).truncate(true).open(folder.path("copy")).unwrap();
    reader.copy_to(target, Path::new("copy"), u64::MAX, |_, _| {}).unwrap();
    fs::read(folder.path("copy")).unwrap()
}

#[test]
fn what_qemu_converts_we_read() {
    let Some(folder) = Folder::new() else { return };
    for size in [6 * MIB, 33 * MIB + 512] {
        let data = contents(size);
        fs::write(folder.path("a.raw"), &data).unwrap();
        for (kind, format) in [
            ("vhdx", SourceFormat::Vhdx),
            ("vhdx -o block_size=1M", SourceFormat::Vhdx),
            ("vhdx -o block_size=256M", SourceFormat::Vhdx),
            ("vhdx -o subformat=fixed", SourceFormat::Vhdx),
            ("vhdx -o log_size=2M,block_state_zero=off", SourceFormat::Vhdx),
            ("vmdk", SourceFormat::Vmdk),
            ("vmdk -o zeroed_grain=on", SourceFormat::Vmdk),
            ("vmdk -o compat6", SourceFormat::Vmdk),
            ("vmdk -o subformat=streamOptimized", SourceFormat::Vmdk),
            ("vpc", SourceFormat::Vhd),
            ("vpc -o force_size=on", SourceFormat::Vhd),
            ("vpc -o subformat=fixed", SourceFormat::Vhd),
            ("vpc -o subformat=fixed,force_size=on", SourceFormat::Vhd),
            ("vdi", SourceFormat::Vdi),
            ("vdi -o static=on", SourceFormat::Vdi),
        ] {
            folder.qemu_img(&format!("convert -f raw -O {kind} a.raw image"));
            let copy = read(&folder, "image", format);
            let name = kind.split(' ').next().unwrap();
            let length: u64 = folder.virtual_size("image", name);
            assert_eq!(copy.len() as u64, length, "{kind}, {size} bytes");
            assert!(copy[..data.len()] == data, "{kind}, {size} bytes");
            assert!(copy[data.len()..].iter().all(|byte| *byte == 0), "{kind}, {size} bytes");
            fs::remove_file(folder.path("image")).unwrap();
        }
    }
}

#[test]
fn empty_images_are_zeros() {
    let Some(folder) = Folder::new() else { return };
    for (kind, format) in [
        ("vhdx", SourceFormat::Vhdx),
        ("vmdk", SourceFormat::Vmdk),
        ("vdi", SourceFormat::Vdi),
        ("vpc -o force_size=on", SourceFormat::Vhd),
    ] {
        folder.qemu_img(&format!("create -q -f {kind} image 500G"));
        let file = File::open(folder.path("image")).unwrap();
        let source = SourceFile::new(file, format, "image");
        let info = foreign_disks::describe_source(source).unwrap();
        assert_eq!(info.size_bytes, 500 << 30);
        let file = File::open(folder.path("image")).unwrap();
        let reader = DiskReader::open(vec![SourceFile::new(file, format, "image")]).unwrap();
        let target = File::create(folder.path("copy")).unwrap();
        let written = reader.copy_to(target, Path::new("copy"), 0, |_, _| {}).unwrap();
        assert_eq!((written, fs::metadata(folder.path("copy")).unwrap().len()), (0, 500 << 30));
        fs::remove_file(folder.path("image")).unwrap();
    }
}

#[test]
fn what_qemu_writes_into_them_we_read() {
    let Some(folder) = Folder::new() else { return };
    for (kind, format) in [
        ("vhdx", SourceFormat::Vhdx),
        ("vmdk", SourceFormat::Vmdk),
        ("vpc", SourceFormat::Vhd),
        ("vdi", SourceFormat::Vdi),
    ] {
        folder.qemu_img(&format!("create -q -f {kind} image 100M"));
        let mut model = vec![0; folder.virtual_size("image", kind) as usize];
        let mut writes = Vec::new();
        for (at, value) in [(0u64, 1u8), (33 * MIB - 4096, 2), (99 * MIB, 3), (33 * MIB, 4)] {
            writes.extend(["-c".to_owned(), format!("write -P {value} {at} 64k")]);
            model[at as usize..][..64 << 10].fill(value);
        }
        let output =
            Command::new("qemu-io").args(["-f", kind]).args(writes).arg(folder.path("image")).output();
        let Ok(output) = output else {
            println!("SKIPPED: qemu-io is not installed");
            return;
        };
        assert!(output.status.success(), "{output:?}");
        assert!(read(&folder, "image", format) == model, "{kind}");
        fs::remove_file(folder.path("image")).unwrap();
    }
}

/// A descriptor opened with what it names, as far as `extents` goes.
fn with_extents(folder: &Folder, name: &str, extents: usize) -> Result<DiskReader, OpenError> {
    let open = |name: &str| File::open(folder.path(name)).unwrap();
    let info = foreign_disks::describe_source(SourceFile::new(open(name), SourceFormat::Vmdk, name))?;
    let files = info.extents.iter().take(extents).map(|name| open(name)).collect();
    let whole = SourceFile::new(open(name), SourceFormat::Vmdk, name);
    DiskReader::open(vec![SourceFile { extents: files, ..whole }])
}

#[test]
fn disks_in_several_files_are_read() {
    let Some(folder) = Folder::new() else { return };
    // Five extents of at most 2 GiB, or of all.
    let size = (9 << 30) + 512;
    let raw = File::create(folder.path("a.raw")).unwrap();
    raw.set_len(size).unwrap();
    for at in [0, (2 << 30) - 4096, (4 << 30) + 512, size - 512] {
        raw.write_all_at(&[1; 512], at).unwrap();
    }
    for (kind, files) in [("monolithicFlat", 1), ("twoGbMaxExtentSparse", 5), ("twoGbMaxExtentFlat", 5)] {
        folder.qemu_img(&format!("convert -f raw -O vmdk -o subformat={kind} a.raw image.vmdk"));
        let reader = with_extents(&folder, "image.vmdk", usize::MAX).unwrap();
        let target = File::create(folder.path("copy")).unwrap();
        reader.copy_to(target, Path::new("copy"), 1 << 20, |_, _| {}).unwrap();
        folder.qemu_img("compare -q -f raw -F raw a.raw copy");
        let error = with_extents(&folder, "image.vmdk", files - 1).map(|_| ()).unwrap_err();
        let said = messages::in_words(&error);
        assert!(said.contains("which is not beside it"), "{kind}: {said}");
        let parts = || {
            let entries = fs::read_dir(folder.path("")).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("image"))
        };
        if kind != "twoGbMaxExtentSparse" {
            let last = parts().filter(|path| !path.ends_with("image.vmdk")).max().unwrap();
            File::options().write(true).open(last).unwrap().set_len(256).unwrap();
            let error = with_extents(&folder, "image.vmdk", usize::MAX).map(|_| ()).unwrap_err();
            assert!(format!("{error:?}").contains("is too short"), "{kind}: {error:?}");
        }
        parts().for_each(|path| fs::remove_file(path).unwrap());
    }
}

#[test]
fn images_in_front_of_others_are_refused() {
    let Some(folder) = Folder::new() else { return };
    folder.qemu_img("create -q -f vmdk behind.vmdk 10M");
    folder.qemu_img("create -q -f vmdk -b behind.vmdk -F vmdk front.vmdk");
    let file = File::open(folder.path("front.vmdk")).unwrap();
    let source = SourceFile::new(file, SourceFormat::Vmdk, "front.vmdk");
    let error = DiskReader::open(vec![source]).map(|_| ()).unwrap_err();
    assert!(format!("{error:?}").contains("a VMDK image with a parent"), "{error:?}");
}
