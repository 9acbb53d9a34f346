//! VHDX and VMDK as QEMU writes them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use disk::{DiskReader, SourceFile, SourceFormat};

use super::{Folder, MIB, contents};

/// Reads an image whole.
fn read(folder: &Folder, name: &str, format: SourceFormat) -> Vec<u8> {
    let file = File::open(folder.path(name)).unwrap();
    let reader = DiskReader::open(vec![SourceFile { file, format, name: name.into() }]).unwrap();
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
        ] {
            folder.qemu_img(&format!("convert -f raw -O {kind} a.raw image"));
            let copy = read(&folder, "image", format);
            assert!(copy[..data.len()] == data, "{kind}, {size} bytes");
            assert!(copy[data.len()..].iter().all(|byte| *byte == 0), "{kind}, {size} bytes");
            fs::remove_file(folder.path("image")).unwrap();
        }
    }
}

#[test]
fn empty_images_are_zeros() {
    let Some(folder) = Folder::new() else { return };
    for (kind, format) in [("vhdx", SourceFormat::Vhdx), ("vmdk", SourceFormat::Vmdk)] {
        folder.qemu_img(&format!("create -q -f {kind} image 500G"));
        let file = File::open(folder.path("image")).unwrap();
        let source = SourceFile { file, format, name: "image".into() };
        let info = disk::describe_source(source).unwrap();
        assert_eq!(info.size_bytes, 500 << 30);
        let file = File::open(folder.path("image")).unwrap();
        let reader = DiskReader::open(vec![SourceFile { file, format, name: "image".into() }]).unwrap();
        let target = File::create(folder.path("copy")).unwrap();
        let written = reader.copy_to(target, Path::new("copy"), 0, |_, _| {}).unwrap();
        assert_eq!((written, fs::metadata(folder.path("copy")).unwrap().len()), (0, 500 << 30));
        fs::remove_file(folder.path("image")).unwrap();
    }
}

#[test]
fn what_qemu_writes_into_them_we_read() {
    let Some(folder) = Folder::new() else { return };
    for (kind, format) in [("vhdx", SourceFormat::Vhdx), ("vmdk", SourceFormat::Vmdk)] {
        folder.qemu_img(&format!("create -q -f {kind} image 100M"));
        let mut model = vec![0; 100 << 20];
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

#[test]
fn kinds_that_name_other_files_are_refused() {
    let Some(folder) = Folder::new() else { return };
    for kind in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        folder.qemu_img(&format!("create -q -f vmdk -o subformat={kind} image.vmdk 10M"));
        let file = File::open(folder.path("image.vmdk")).unwrap();
        let source = SourceFile { file, format: SourceFormat::Vmdk, name: "image.vmdk".into() };
        let error = DiskReader::open(vec![source]).map(|_| ()).unwrap_err();
        assert!(format!("{error:?}").contains("names other files"), "{kind}: {error:?}");
    }
    folder.qemu_img("create -q -f vmdk behind.vmdk 10M");
    folder.qemu_img("create -q -f vmdk -b behind.vmdk -F vmdk front.vmdk");
    let file = File::open(folder.path("front.vmdk")).unwrap();
    let source = SourceFile { file, format: SourceFormat::Vmdk, name: "front.vmdk".into() };
    let error = DiskReader::open(vec![source]).map(|_| ()).unwrap_err();
    assert!(format!("{error:?}").contains("a VMDK image with a parent"), "{error:?}");
}
