//! Machines in archives, as other programs export them.

use std::fmt::Write;

use image_model::MachineDefaults;
use sha2::{Digest, Sha256};

use image_ops::ImportOptions;

use super::make::{Grains, vmdk};
use super::{Folder, raw_disk};

/// What is described.
struct Machine {
    disks: usize,
    file_attributes: &'static str,
    href: &'static str,
}

const USUAL: Machine = Machine { disks: 1, file_attributes: "", href: "web-disk" };

fn description(machine: &Machine) -> String {
    let Machine { disks, file_attributes, href } = machine;
    let mut text = String::from(
        "<?xml version=\"1.0\"?><Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" xmlns:rasd=\"urn:rasd\"><References>",
    );
    for disk in 0..*disks {
        write!(text, "<File ovf:id=\"f{disk}\" ovf:href=\"{href}{disk}.vmdk\" {file_attributes}/>").unwrap();
    }
    text.push_str("</References><DiskSection>");
    for disk in 0..*disks {
        write!(
            text,
            "<Disk ovf:diskId=\"d{disk}\" ovf:fileRef=\"f{disk}\" ovf:capacity=\"6\" \
             ovf:capacityAllocationUnits=\"byte * 2^20\"/>"
        )
        .unwrap();
    }
    text.push_str("</DiskSection><VirtualSystem ovf:id=\"web\"><VirtualHardwareSection>");
    for (kind, quantity) in [(3, "2"), (4, "128"), (10, "1"), (10, "1")] {
        write!(
            text,
            "<Item><rasd:ResourceType>{kind}</rasd:ResourceType>\
             <rasd:VirtualQuantity>{quantity}</rasd:VirtualQuantity></Item>"
        )
        .unwrap();
    }
    text.push_str("</VirtualHardwareSection></VirtualSystem></Envelope>");
    text
}

fn stream_optimized() -> Vec<u8> {
    let raw = raw_disk();
    let grains: Vec<(u32, &[u8])> =
        raw.chunks(4096).enumerate().map(|(at, grain)| (at as u32, grain)).collect();
    vmdk(raw.len() as u64, Grains::Deflated, &grains)
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn manifest(files: &[(&str, &[u8])]) -> String {
    let hex =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    files.iter().map(|(name, bytes)| format!("SHA256({name})= {}\n", hex(bytes))).collect()
}

#[test]
fn a_machine_brings_its_disk_sizes_and_cards() {
    let folder = Folder::new();
    let (text, disk) = (description(&USUAL), stream_optimized());
    let files: [(&str, &[u8]); 2] = [("web.ovf", text.as_bytes()), ("web-disk0.vmdk", &disk)];
    let sums = manifest(&files);
    let whole = archive(&[files[0], ("web.mf", sums.as_bytes()), files[1]]);
    for (name, stated) in [("web.ova", None), ("download", None), ("web.img", Some("ova"))] {
        folder.write(name, &whole);
        let (image, notes) = folder.import(name, stated);
        let image = image.unwrap();
        assert!(folder.disk(&image) == raw_disk(), "{name}");
        let about = &image.metadata.description;
        let expected = MachineDefaults {
            cpus: Some(2),
            memory_bytes: Some(128 << 20),
            cards: Some(2),
            block_bytes: None,
        };
        assert_eq!(about.machine, expected);
        assert_eq!((about.min_disk_bytes, about.min_memory_bytes), (6 << 20, 128 << 20));
        assert_eq!(about.description, "web");
        assert!(!notes.0.iter().any(|note| note.contains("manifest")), "{:?}", notes.0);
    }
    folder.write("bare.ova", &archive(&files));
    let (image, notes) = folder.import("bare.ova", None);
    image.unwrap();
    assert!(notes.0.iter().any(|note| note.contains("it has no manifest")), "{:?}", notes.0);
    // Some programs put the description last; a name says what it is then.
    folder.write("late.ova", &archive(&[files[1], files[0]]));
    folder.import("late.ova", None).0.unwrap();
    // Disks may be compressed once more.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &disk).unwrap();
    let disk = gzip.finish().unwrap();
    let text = description(&Machine { file_attributes: "ovf:compression=\"gzip\"", ..USUAL });
    folder.write("packed.ova", &archive(&[("web.ovf", text.as_bytes()), ("web-disk0.vmdk", &disk)]));
    assert!(folder.disk(&folder.import("packed.ova", None).0.unwrap()) == raw_disk());
}

#[test]
fn a_description_brings_the_disk_beside_it() {
    let folder = Folder::new();
    let (text, disk) = (description(&USUAL), stream_optimized());
    folder.write("web.ovf", text.as_bytes());
    folder.write("web-disk0.vmdk", &disk);
    let (image, notes) = folder.import("web.ovf", None);
    let image = image.unwrap();
    assert!(folder.disk(&image) == raw_disk());
    assert_eq!(image.metadata.description.machine.cards, Some(2));
    assert!(notes.0.iter().any(|note| note.contains("no manifest")), "{:?}", notes.0);
    let files: [(&str, &[u8]); 2] = [("web.ovf", text.as_bytes()), ("web-disk0.vmdk", &disk)];
    folder.write("web.mf", manifest(&files).as_bytes());
    folder.import("web.ovf", None).0.unwrap();
    folder.write("web-disk0.vmdk", &disk[..disk.len() - 512]);
    assert!(folder.refusal("web.ovf", None).contains("web-disk0.vmdk is not what its manifest says"));
    let unopened = || folder.import("web.ovf", None).0.unwrap_err().to_string();
    std::fs::remove_file(folder.path("web-disk0.vmdk")).unwrap();
    assert!(unopened().contains("cannot open") && unopened().contains("web-disk0.vmdk"));
    // A link may lead to any file of the host.
    folder.write("secret", &raw_disk());
    std::os::unix::fs::symlink("secret", folder.path("web-disk0.vmdk")).unwrap();
    assert!(unopened().contains("cannot open") && unopened().contains("web-disk0.vmdk"));
}

#[test]
fn one_of_several_disks_is_chosen() {
    let folder = Folder::new();
    let text = description(&Machine { disks: 2, ..USUAL });
    let (first, mut other) = (stream_optimized(), raw_disk());
    other[3 << 20] ^= 1;
    let grains: Vec<(u32, &[u8])> =
        other.chunks(4096).enumerate().map(|(at, grain)| (at as u32, grain)).collect();
    let second = vmdk(other.len() as u64, Grains::Deflated, &grains);
    let files: [(&str, &[u8]); 3] =
        [("web.ovf", text.as_bytes()), ("web-disk0.vmdk", &first), ("web-disk1.vmdk", &second)];
    let sums = manifest(&files);
    folder.write("web.ova", &archive(&[files[0], ("web.mf", sums.as_bytes()), files[1], files[2]]));
    for (name, bytes) in files {
        folder.write(name, bytes);
    }
    let import = |name: &str, disk: &str| {
        let options = ImportOptions { appliance_disk: Some(disk.to_owned()), ..folder.options(name) };
        folder.import_with(name, None, &options)
    };
    for name in ["web.ova", "web.ovf"] {
        for (choice, expected) in [("1", raw_disk()), ("2", other.clone()), ("web-disk1.vmdk", other.clone())]
        {
            let (image, notes) = import(name, choice);
            let image = image.unwrap();
            assert!(folder.disk(&image) == expected, "{name} {choice}");
            assert_eq!(image.metadata.description.machine.cpus, Some(2));
            assert!(
                notes.0.iter().any(|note| note.contains("becomes the image; the others")),
                "{:?}",
                notes.0
            );
        }
        let line = import(name, "web-disk3.vmdk").0.unwrap_err().to_string();
        assert!(line.contains(name) && line.contains("did you mean 'web-disk"), "{line}");
    }
    // What is no appliance has no disks to choose from, whatever is around it.
    folder.write("disk.raw", &raw_disk());
    for name in ["disk.raw", "web-disk0.vmdk"] {
        let line = import(name, "1").0.unwrap_err().to_string();
        assert!(line.contains(name) && line.contains("is not an appliance"), "{line}");
    }
}

#[test]
fn archives_that_lie_are_told() {
    let folder = Folder::new();
    let (text, disk) = (description(&USUAL), stream_optimized());
    let files: [(&str, &[u8]); 2] = [("web.ovf", text.as_bytes()), ("web-disk0.vmdk", &disk)];
    let sums = manifest(&files);
    let mut changed = disk.clone();
    changed[disk.len() / 2] ^= 1;
    let two = description(&Machine { disks: 2, ..USUAL });
    let outside = description(&Machine { href: "../", ..USUAL });
    let cut = archive(&files);
    for (bytes, words) in [
        (
            archive(&[files[0], ("web.mf", sums.as_bytes()), ("web-disk0.vmdk", &changed)]),
            "not what its manifest says",
        ),
        (
            archive(&[files[0], ("web.mf", b"SHA256(gone)= 00\n"), files[1]]),
            "names the file gone, which it lacks",
        ),
        (archive(&[files[0], ("web.mf", b"nonsense\n"), files[1]]), "has a line 'nonsense'"),
        (archive(&[files[0]]), "it lacks its file web-disk0.vmdk"),
        (archive(&[files[1]]), "has no description"),
        (archive(&[files[0], files[1], files[1]]), "two files web-disk0.vmdk"),
        (
            archive(&[("web.ovf", two.as_bytes()), files[1], ("web-disk1.vmdk", &disk)]),
            "web.ova has 2 disks (1: web-disk0.vmdk, 2: web-disk1.vmdk)",
        ),
        (archive(&[("web.ovf", outside.as_bytes()), files[1]]), "not beside its description"),
        (archive(&[files[0], ("web-disk0.vmdk", b"nothing that is known")]), "does not say what is in it"),
        (archive(&[("web.ovf", b"<a/>"), files[1]]), "none of an appliance"),
        (cut[..cut.len() - 8192].to_vec(), "cut short"),
        (b"no archive".repeat(100), "is no tar archive"),
    ] {
        folder.write("web.ova", &bytes);
        let line = folder.refusal("web.ova", None);
        assert!(line.contains(words), "{line}, not {words}");
    }
}
