//! Disks that are laid out for sectors of 512 or of 4096 bytes.

use image_model::MachineDefaults;
use image_ops::ImportOptions;

use super::{Folder, raw_disk};

/// A disk of 4 MiB with a GPT for sectors of this size, and its copy at the end.
fn gpt(sector: usize) -> Vec<u8> {
    let mut disk = vec![0; 4 << 20];
    let last = disk.len() / sector - 1;
    let entry_sectors = 128 * 128 / sector;
    for (lba, entries_lba) in [(1, 2), (last, last - entry_sectors)] {
        let mut entries = vec![0; 128 * 128];
        entries[..16].copy_from_slice(&[0xaf; 16]);
        entries[32..40].copy_from_slice(&((1 << 20) / sector as u64).to_le_bytes());
        entries[40..48].copy_from_slice(&((2 << 20) / sector as u64 - 1).to_le_bytes());
        let mut header = vec![0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        for (at, value) in [(8, 1 << 16), (12, 92), (80, 128), (84, 128), (88, crc32fast::hash(&entries))] {
            header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        header[24..32].copy_from_slice(&(lba as u64).to_le_bytes());
        header[32..40].copy_from_slice(&((if lba == 1 { last } else { 1 }) as u64).to_le_bytes());
        header[72..80].copy_from_slice(&(entries_lba as u64).to_le_bytes());
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        disk[entries_lba * sector..][..entries.len()].copy_from_slice(&entries);
        disk[lba * sector..][..header.len()].copy_from_slice(&header);
    }
    disk
}

#[test]
fn the_size_of_sectors_is_kept_with_the_image_and_its_instances() {
    let folder = Folder::new();
    folder.write("small.raw", &gpt(512));
    folder.write("large.raw", &gpt(4096));
    folder.write("none.raw", &raw_disk());
    let said = |block_bytes| MachineDefaults { block_bytes, ..MachineDefaults::default() };
    for (name, stated, expected) in [
        ("small.raw", None, None),
        ("large.raw", None, Some(4096)),
        ("none.raw", None, None),
        ("none.raw", Some(4096), Some(4096)),
        ("large.raw", Some(512), Some(512)),
    ] {
        let options = ImportOptions { machine: said(stated), ..folder.options(name) };
        let image = folder.import_with(name, None, &options).0.unwrap();
        assert_eq!(image.metadata.description.machine.block_bytes, expected, "{name}");
        let instance = format!("vm-{}", image.id.short()).parse().unwrap();
        // No size that is asked for leaves part of a block.
        let size = Some((4 << 20) + 512);
        let disk = folder.images.store.create_instance_disk(&image, &instance, size).unwrap();
        assert_eq!(disk.size_bytes % u64::from(expected.unwrap_or(512)), 0);
        let again = folder.images.store.instance_image(&instance).unwrap();
        assert_eq!(again.metadata.description.machine.block_bytes, expected);
        let _ = folder.images.store.remove_instance(&instance);
    }
}

/// A GPT and its copy stay where they are and whole: the guest moves the copy when it grows its partition.
#[test]
fn a_longer_disk_begins_as_the_image_and_ends_in_zeros() {
    let folder = Folder::new();
    for sector in [512, 4096] {
        let name = format!("{sector}.raw");
        folder.write(&name, &gpt(sector));
        let image = folder.import(&name, None).0.unwrap();
        let instance = format!("grown-{sector}").parse().unwrap();
        let disk = folder.images.store.create_instance_disk(&image, &instance, Some(9 << 20)).unwrap();
        let options = disk::ConvertOptions {
            from: disk.format,
            contents: disk::RawContents::Any,
            policy: disk::BackingPolicy::Open,
            to: None,
            compress: false,
        };
        let copy = folder.path(&format!("copy-{sector}"));
        disk::convert(&disk.path, &copy, &options, |_, _| ()).unwrap();
        let bytes = std::fs::read(&copy).unwrap();
        assert_eq!(bytes.len(), 9 << 20);
        assert!(bytes[..4 << 20] == gpt(sector) && bytes[4 << 20..].iter().all(|byte| *byte == 0));
    }
}
