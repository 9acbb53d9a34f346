//! What a disk boots with, over chains of files.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use disk::{BackingName, CreateOptions, SourceFormat, create_qcow2};
use image_import::{Boot, BootOutputs, DiskFile, ImportError, Limits};
use image_model::Architecture;

use super::{Folder, all_importers, importer};

/// A raw disk with a system on it, if this host can make one.
fn system(folder: &Folder) -> bool {
    let root = folder.path("root");
    fs::create_dir_all(root.join("boot/grub")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    let mut kernel = vec![1; 100_000];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(root.join("boot/vmlinuz-6.1.0-1-amd64"), kernel).unwrap();
    fs::write(root.join("boot/initrd.img-6.1.0-1-amd64"), vec![2; 50_001]).unwrap();
    fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Deb\x1b[31m\"\n")
        .unwrap();
    fs::write(root.join("etc/fstab"), "").unwrap();
    File::create(folder.path("disk.raw")).and_then(|file| file.set_len(16 << 20)).unwrap();
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&root)
        .arg(folder.path("disk.raw"))
        .output();
    match made {
        Ok(output) if output.status.success() => true,
        other => {
            println!("SKIPPED: mke2fs makes no file system ({other:?})");
            false
        }
    }
}

fn read(
    importer: &image_import::Importer,
    folder: &Folder,
    chain: &[(&str, SourceFormat)],
) -> Result<Boot, ImportError> {
    let files: Vec<File> = chain.iter().map(|(name, _)| File::open(folder.path(name)).unwrap()).collect();
    let disks: Vec<DiskFile<'_>> = files
        .iter()
        .zip(chain)
        .map(|(file, (name, format))| DiskFile::new(file.as_fd(), *format, Path::new(name)))
        .collect();
    let (kernel, initrd) = (folder.new_file("kernel"), folder.new_file("initrd"));
    let outputs = BootOutputs { kernel: kernel.as_fd(), initrd: initrd.as_fd() };
    importer.read_boot(&disks, Architecture::X86_64, None, outputs)
}

#[test]
fn kernels_come_out_of_disks_and_of_overlays() {
    let folder = Folder::new();
    if !system(&folder) {
        return;
    }
    let backing = Some(BackingName { path: "/nowhere".into(), format: Some("raw".into()) });
    create_qcow2(&folder.path("front"), &CreateOptions { backing, ..CreateOptions::new(16 << 20) }).unwrap();
    let raw = ("disk.raw", SourceFormat::Raw);
    for importer in all_importers() {
        for chain in [&[raw][..], &[("front", SourceFormat::Qcow2), raw]] {
            let boot = read(&importer, &folder, chain).unwrap();
            assert_eq!((boot.kernel_bytes, boot.initrd_bytes), (100_000, 50_001));
            let kernel = fs::read(folder.path("kernel")).unwrap();
            assert_eq!(kernel, fs::read(folder.path("root/boot/vmlinuz-6.1.0-1-amd64")).unwrap());
            assert_eq!(fs::read(folder.path("initrd")).unwrap(), vec![2; 50_001]);
            assert!(boot.kernel_path.contains("vmlinuz-6.1.0-1-amd64"), "{boot:?}");
            let says = |key: &str, value: &str| boot.os_release.contains(&(key.into(), value.into()));
            assert!(says("ID", "debian") && says("VERSION_ID", "12"), "{boot:?}");
            assert!(!format!("{boot:?}").contains('\x1b') && !boot.cmdline.contains('\n'));
            assert_eq!(boot.root.map(|root| root.kind).as_deref(), Some("ext4"));
        }
    }
}

#[test]
fn what_does_not_boot_is_told_in_a_line() {
    let folder = Folder::new();
    folder.write("empty", &[0; 1 << 20]);
    let error = read(&importer(), &folder, &[("empty", SourceFormat::Raw)]).unwrap_err();
    assert!(matches!(&error, ImportError::Refused(line) if line.contains("disk empty")), "{error:?}");
    if !system(&folder) {
        return;
    }
    let small = Limits { kernel_bytes: 4096, ..Limits::default() };
    let error =
        read(&importer().with_limits(small), &folder, &[("disk.raw", SourceFormat::Raw)]).unwrap_err();
    assert!(error.to_string().contains("longer than what is let through"), "{error}");
    // Bytes changed at random, in its tables above all.
    let whole = fs::read(folder.path("disk.raw")).unwrap();
    let mut state = 11u64;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes[(state >> 33) as usize % (400 << 10)] = (state >> 13) as u8;
        }
        folder.write("changed", &bytes);
        match read(&importer(), &folder, &[("changed", SourceFormat::Raw)]) {
            Ok(_) | Err(ImportError::Refused(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}
