//! Disks laid out as distributions lay out theirs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use guest_files::{Architecture, Boot, BootError, FsKind, TableKind, find_boot, read_partitions};

use crate::disks::{ESP, Part, ROOT_X86, XBOOTLDR, gpt, mbr};
use crate::tools::{FileDisk, Folder, MIB};
use crate::trees::noise;

const ROOT_UUID: &str = "11111111-2222-3333-4444-555555555555";
const BOOT_UUID: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

/// What is taken for a kernel of x86-64.
pub fn kernel(seed: u64) -> Vec<u8> {
    let mut kernel = noise(seed, 300_000);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel
}

pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What every root has.
pub fn root(folder: &Path, id: &str) {
    let release = format!("ID={id}\nVERSION_ID=\"1\"\nPRETTY_NAME=\"The {id} 1\"\n");
    write(&folder.join("usr/lib/os-release"), release);
    fs::create_dir_all(folder.join("etc")).unwrap();
    symlink("../usr/lib/os-release", folder.join("etc/os-release")).unwrap();
    fs::create_dir_all(folder.join("boot")).unwrap();
}

pub fn boot(disk: &Path) -> Result<Boot, BootError> {
    find_boot(FileDisk::open(disk), Architecture::X86_64, None)
}

/// Asserts what is booted: kernel and initial RAM disk by their bytes.
#[track_caller]
fn assert_boots(disk: &Path, kernel: &[u8], initrd: &[u8], cmdline: &str, chosen_by: &str) -> Boot {
    let boot = boot(disk).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(boot.chosen_by, chosen_by, "{boot:?}");
    assert_eq!(boot.cmdline, cmdline, "{boot:?}");
    let (mut found_kernel, mut found_initrd) = (Vec::new(), Vec::new());
    assert_eq!(boot.write_kernel(&mut found_kernel).unwrap(), kernel.len() as u64);
    assert_eq!(boot.write_initrd(&mut found_initrd).unwrap(), initrd.len() as u64);
    assert!(found_kernel == kernel, "{boot:?}");
    assert!(found_initrd == initrd, "{boot:?}");
    boot
}

const DEBIAN_GRUB: &str = r#"
set root='hd0,gpt1'
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="0"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
fi
export menuentry_id_option
function gfxmode {
	set gfxpayload="${1}"
}
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-ROOT' {
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	insmod part_gpt
	search --no-floppy --fs-uuid --set=root ROOT
	echo	'Loading Linux 6.1.0-18-cloud-amd64 ...'
	linux	/boot/vmlinuz-6.1.0-18-cloud-amd64 root=PARTUUID=0f0f0f0f-0000-4000-8000-000000000001 ro console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200
	echo	'Loading initial ramdisk ...'
	initrd	/boot/initrd.img-6.1.0-18-cloud-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-ROOT' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-9' {
		linux	/boot/vmlinuz-6.1.0-9-cloud-amd64 root=UUID=ROOT ro single
	}
}
"#;

fn debian(folder: &Folder) -> PathBuf {
    let tree = folder.folder("root");
    root(&tree, "debian");
    write(&tree.join("boot/vmlinuz-6.1.0-18-cloud-amd64"), kernel(18));
    write(&tree.join("boot/initrd.img-6.1.0-18-cloud-amd64"), noise(180, 50_000));
    write(&tree.join("boot/vmlinuz-6.1.0-9-cloud-amd64"), kernel(9));
    write(&tree.join("boot/grub/grub.cfg"), DEBIAN_GRUB.replace("ROOT", ROOT_UUID));
    let root = folder.ext4("root.ext4", &tree, 32 * MIB, &format!("-U {ROOT_UUID}"));
    let esp = folder.folder("esp");
    write(
        &esp.join("EFI/debian/grub.cfg"),
        format!(
            "search.fs_uuid {ROOT_UUID} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
        ),
    );
    let esp = folder.vfat("esp.vfat", &esp, 4 * MIB, "");
    gpt(folder, &[Part::new(1, ROOT_X86, &root), Part::new(15, ESP, &esp)])
}

#[test]
fn debian_by_grub() {
    let Some(folder) = Folder::with_tools(&["mke2fs", "mkfs.vfat", "mcopy", "sfdisk"]) else { return };
    let disk = debian(&folder);
    let boot = assert_boots(
        &disk,
        &kernel(18),
        &noise(180, 50_000),
        "root=PARTUUID=0f0f0f0f-0000-4000-8000-000000000001 ro console=tty0 console=ttyS0,115200 \
         earlyprintk=ttyS0,115200",
        "/boot/grub/grub.cfg: Debian GNU/Linux",
    );
    assert_eq!(boot.notes, [""; 0]);
    let root = boot.root.clone().unwrap();
    assert_eq!((root.kind, root.partition, root.uuid.as_deref()), (FsKind::Ext4, Some(1), Some(ROOT_UUID)));
    assert_eq!(boot.os_release.unwrap().pretty_name, "The debian 1");
    assert_eq!(boot.kernel.to_string(), "/boot/vmlinuz-6.1.0-18-cloud-amd64 on partition 1");

    let other = find_boot(FileDisk::open(&disk), Architecture::Aarch64, None).unwrap_err().to_string();
    assert!(other.contains("is a kernel for x86_64, not for aarch64"), "{other}");
}

#[test]
fn a_disk_whose_first_sectors_are_gone() {
    let Some(folder) = Folder::with_tools(&["mke2fs", "mkfs.vfat", "mcopy", "sfdisk"]) else { return };
    let disk = debian(&folder);
    let mut bytes = fs::read(&disk).unwrap();
    bytes[..4096].fill(0);
    fs::write(&disk, &bytes).unwrap();
    let boot = boot(&disk).unwrap();
    assert!(boot.notes[0].contains("its copy at the end was taken"), "{boot:?}");
    let table = read_partitions(&*FileDisk::open(&disk)).unwrap();
    let numbers: Vec<u32> = table.partitions.iter().map(|partition| partition.number).collect();
    assert_eq!((table.kind, numbers), (TableKind::Gpt, vec![1, 15]));
    bytes.truncate(bytes.len() - 4096);
    fs::write(&disk, &bytes).unwrap();
    assert!(matches!(self::boot(&disk), Err(BootError::Nothing)));
}

#[test]
fn ubuntu_with_boot_on_a_partition() {
    let Some(folder) = Folder::with_tools(&["mke2fs", "sfdisk"]) else { return };
    let tree = folder.folder("root");
    root(&tree, "ubuntu");
    write(
        &tree.join("etc/fstab"),
        "LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=BOOT\t/boot\text4\tdefaults 0 2\n",
    );
    // What is hidden below the mount does not count.
    write(&tree.join("boot/vmlinuz-9.9"), kernel(99));
    let root = folder.ext4("root.ext4", &tree, 32 * MIB, &format!("-U {ROOT_UUID} -L cloudimg-rootfs"));
    let tree = folder.folder("boot");
    write(&tree.join("vmlinuz-6.8.0-31-generic"), kernel(31));
    symlink("vmlinuz-6.8.0-31-generic", tree.join("vmlinuz")).unwrap();
    write(&tree.join("initrd.img-6.8.0-31-generic"), noise(310, 40_001));
    write(
        &tree.join("grub/grub.cfg"),
        "set default=\"${saved_entry}\"\nmenuentry 'Ubuntu' { linux /vmlinuz root=LABEL=cloudimg-rootfs ro quiet splash\n\
         initrd /initrd.img-6.8.0-31-generic\n}\n",
    );
    let boot = folder.ext4("boot.ext4", &tree, 8 * MIB, &format!("-U {BOOT_UUID} -L BOOT"));
    let disk = gpt(&folder, &[Part::new(1, ROOT_X86, &root), Part::new(16, XBOOTLDR, &boot)]);
    let boot = assert_boots(
        &disk,
        &kernel(31),
        &noise(310, 40_001),
        "root=LABEL=cloudimg-rootfs ro quiet splash console=ttyS0",
        "/grub/grub.cfg: Ubuntu",
    );
    assert_eq!(boot.notes.len(), 1, "{:?}", boot.notes);
    assert_eq!(boot.kernel.partition, Some(16));
}

const FEDORA_GRUB: &str = "set pager=1\nif [ -f ${config_directory}/grubenv ]; then\n  load_env -f \
    ${config_directory}/grubenv\nelif [ -s $prefix/grubenv ]; then\n  load_env\nfi\nif [ \"${next_entry}\" ] ; \
    then\n   set default=\"${next_entry}\"\nelse\n   set default=\"${saved_entry}\"\nfi\nif [ -z \
    \"${kernelopts}\" ]; then\n  set kernelopts=\"root=/dev/none \"\nfi\ninsmod blscfg\nblscfg\n";

/// A partition of its own for `/boot`, with entries as the Boot Loader Specification wants them.
fn bls(tree: &Path, options: &str, environment: &str) {
    for (version, seed) in [("6.8.5-301.fc40.x86_64", 301), ("6.10.3-200.fc40.x86_64", 200)] {
        write(&tree.join(format!("vmlinuz-{version}")), kernel(seed));
        write(&tree.join(format!("initramfs-{version}.img")), noise(seed + 1, 30_000));
        let entry = format!(
            "title Linux ({version})\nversion {version}\nlinux /vmlinuz-{version}\ninitrd /initramfs-{version}.img\n\
             options {options}\ngrub_users $grub_users\n"
        );
        write(&tree.join(format!("loader/entries/0123456789abcdef-{version}.conf")), entry);
    }
    write(&tree.join("vmlinuz-0-rescue-0123456789abcdef"), kernel(7));
    write(
        &tree.join("loader/entries/0123456789abcdef-0-rescue.conf"),
        "title rescue\nlinux /vmlinuz-0-rescue-0123456789abcdef\n",
    );
    write(&tree.join("grub2/grub.cfg"), FEDORA_GRUB);
    write(&tree.join("grub2/grubenv"), format!("# GRUB Environment Block\n{environment}{}", "#".repeat(900)));
}

/// GRUB takes `next_entry` off the disk when it starts it; here the caller remembers it.
#[test]
fn an_entry_for_one_start_is_taken_unless_it_was_before() {
    let Some(folder) = Folder::with_tools(&["mke2fs"]) else { return };
    let tree = folder.folder("root");
    root(&tree, "debian");
    for (seed, name) in ["a", "b", "c"].into_iter().enumerate() {
        write(&tree.join(format!("boot/{name}")), kernel(seed as u64));
    }
    let entries = ["a", "b", "c"].map(|name| format!("menuentry {name} {{ linux /boot/{name} }}\n")).concat()
        + "submenu more { menuentry 'd e' { linux /boot/c } }\n";
    write(&tree.join("boot/grub2/grub.cfg"), format!("{}\n{entries}", FEDORA_GRUB.replace("blscfg\n", "")));
    // The block, what was started once before, what starts now, what stands in the block.
    let cases: [(&str, Option<&str>, &str, Option<&str>); 9] = [
        ("saved_entry=b\n", None, "b", None),
        ("saved_entry=b\nnext_entry=c\n", None, "c", Some("c")),
        ("saved_entry=b\nnext_entry=c\n", Some("c"), "b", Some("c")),
        ("saved_entry=b\nnext_entry=a\n", Some("c"), "a", Some("a")),
        ("saved_entry=b\nnext_entry=\n", Some("c"), "b", None),
        ("saved_entry=b\n", Some("c"), "b", None),
        // As GRUB does with a name that no entry has.
        ("saved_entry=b\nnext_entry=gone\n", None, "a", Some("gone")),
        ("next_entry=2\n", None, "c", Some("2")),
        ("saved_entry=more>d e\nnext_entry=more>d e\n", None, "c", Some("more>d e")),
    ];
    for (block, done, kernel, next) in cases {
        write(
            &tree.join("boot/grub2/grubenv"),
            format!("# GRUB Environment Block\n{block}{}", "#".repeat(900)),
        );
        let _ = fs::remove_file(folder.path("root.ext4"));
        let disk = folder.ext4("root.ext4", &tree, 12 * MIB, "");
        let boot = find_boot(FileDisk::open(&disk), Architecture::X86_64, done).unwrap();
        assert_eq!(boot.kernel.path, format!("/boot/{kernel}"), "{block} {done:?} {boot:?}");
        assert_eq!(boot.next_entry.as_deref(), next, "{block} {done:?}");
    }
}

#[test]
fn fedora_by_bls_with_btrfs() {
    let Some(folder) = Folder::with_tools(&["mke2fs", "mkfs.btrfs", "sfdisk"]) else { return };
    let tree = folder.folder("root");
    root(&tree, "fedora");
    let root = folder.btrfs("root.btrfs", &tree, 120 * MIB, &format!("-U {ROOT_UUID}"));
    let tree = folder.folder("boot");
    let options = format!(
        "root=UUID={ROOT_UUID} ro rootflags=subvol=root no_timer_check console=tty1 console=ttyS0,115200n8"
    );
    bls(&tree, &options, "");
    let boot = folder.ext4("boot.ext4", &tree, 16 * MIB, &format!("-U {BOOT_UUID}"));
    let parts = [Part::new(3, XBOOTLDR, &boot), Part::new(4, ROOT_X86, &root)];
    let disk = gpt(&folder, &parts);
    let source =
        "/loader/entries/0123456789abcdef-6.10.3-200.fc40.x86_64.conf: Linux (6.10.3-200.fc40.x86_64)";
    let boot = assert_boots(&disk, &kernel(200), &noise(201, 30_000), &options, source);
    assert_eq!(boot.root.unwrap().kind, FsKind::Btrfs);

    // The entry that was chosen last, and one that starts a kernel which is gone.
    bls(&tree, &options, "saved_entry=0123456789abcdef-6.8.5-301.fc40.x86_64\n");
    let boot = folder.ext4("boot.ext4", &tree, 16 * MIB, "");
    let disk = gpt(&folder, &[Part::new(3, XBOOTLDR, &boot), Part::new(4, ROOT_X86, &root)]);
    let source = "/loader/entries/0123456789abcdef-6.8.5-301.fc40.x86_64.conf: Linux (6.8.5-301.fc40.x86_64)";
    assert_boots(&disk, &kernel(301), &noise(302, 30_000), &options, source);
    fs::remove_file(tree.join("vmlinuz-6.8.5-301.fc40.x86_64")).unwrap();
    let boot = folder.ext4("boot.ext4", &tree, 16 * MIB, "");
    let disk = gpt(&folder, &[Part::new(3, XBOOTLDR, &boot), Part::new(4, ROOT_X86, &root)]);
    let source =
        "/loader/entries/0123456789abcdef-6.10.3-200.fc40.x86_64.conf: Linux (6.10.3-200.fc40.x86_64)";
    let boot = assert_boots(&disk, &kernel(200), &noise(201, 30_000), &options, source);
    assert!(boot.notes.iter().any(|note| note.contains("there is no /vmlinuz-6.8.5")), "{:?}", boot.notes);
}

#[test]
fn rocky_with_xfs_and_kernelopts() {
    let Some(folder) = Folder::with_tools(&["mkfs.xfs", "sfdisk"]) else { return };
    let tree = folder.folder("root");
    root(&tree, "rocky");
    write(
        &tree.join("etc/fstab"),
        format!("UUID={ROOT_UUID} / xfs defaults 0 0\nUUID={BOOT_UUID} /boot xfs defaults 0 0\n"),
    );
    let root = folder.xfs("root.xfs", &tree, 320 * MIB, &format!("-m uuid={ROOT_UUID}"));
    let tree = folder.folder("boot");
    bls(
        &tree,
        "$kernelopts $tuned_params",
        &format!("kernelopts=root=UUID={ROOT_UUID} ro crashkernel=auto \n"),
    );
    let boot = folder.xfs("boot.xfs", &tree, 320 * MIB, &format!("-m uuid={BOOT_UUID}"));
    let disk = mbr(&folder, &[(1, &boot), (5, &root)]);
    let boot = assert_boots(
        &disk,
        &kernel(200),
        &noise(201, 30_000),
        &format!("root=UUID={ROOT_UUID} ro crashkernel=auto console=ttyS0"),
        "/loader/entries/0123456789abcdef-6.10.3-200.fc40.x86_64.conf: Linux (6.10.3-200.fc40.x86_64)",
    );
    let root = boot.root.unwrap();
    assert_eq!((root.partition, root.partition_uuid.as_deref()), (Some(5), Some("1234abcd-05")));
}

#[test]
fn alpine_by_extlinux_on_a_bare_file_system() {
    let Some(folder) = Folder::with_tools(&["mke2fs"]) else { return };
    let tree = folder.folder("root");
    root(&tree, "alpine");
    write(&tree.join("boot/vmlinuz-virt"), kernel(1));
    write(&tree.join("boot/initramfs-virt"), noise(2, 10_000));
    write(
        &tree.join("boot/extlinux.conf"),
        format!(
            "DEFAULT virt\nTIMEOUT 10\nLABEL virt\n  MENU DEFAULT\n  LINUX vmlinuz-virt\n  INITRD initramfs-virt\n  \
             APPEND root=UUID={ROOT_UUID} modules=sd-mod,usb-storage,ext4 console=ttyS0,115200n8\n"
        ),
    );
    let disk = folder.ext4("disk", &tree, 16 * MIB, &format!("-U {ROOT_UUID}"));
    let cmdline = format!("root=UUID={ROOT_UUID} modules=sd-mod,usb-storage,ext4 console=ttyS0,115200n8");
    let boot = assert_boots(&disk, &kernel(1), &noise(2, 10_000), &cmdline, "/boot/extlinux.conf: virt");
    assert_eq!(boot.kernel.partition, None);

    // Without the file, the newest kernel.
    fs::remove_file(tree.join("boot/extlinux.conf")).unwrap();
    write(
        &tree.join("etc/default/grub"),
        "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"console=tty0\"\n",
    );
    let disk = folder.ext4("disk", &tree, 16 * MIB, &format!("-U {ROOT_UUID}"));
    let cmdline = format!("root=UUID={ROOT_UUID} ro console=tty0 quiet console=ttyS0");
    let boot =
        assert_boots(&disk, &kernel(1), &noise(2, 10_000), &cmdline, "the newest kernel, /boot/vmlinuz-virt");
    assert_eq!(boot.notes.len(), 2, "{:?}", boot.notes);
}

/// A unified kernel image of these sections.
pub fn unified(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut headers = vec![0; 0x400];
    headers[..2].copy_from_slice(b"MZ");
    headers[0x3C] = 0x80;
    headers[0x80..0x84].copy_from_slice(b"PE\0\0");
    headers[0x84..0x86].copy_from_slice(&0x8664_u16.to_le_bytes());
    headers[0x86] = sections.len() as u8;
    headers[0x94] = 0xF0;
    let mut bodies = Vec::new();
    for (index, (name, body)) in sections.iter().enumerate() {
        let at = 0x80 + 24 + 0xF0 + index * 40;
        headers[at..at + name.len()].copy_from_slice(name.as_bytes());
        let raw_len = body.len().next_multiple_of(512);
        for (field, value) in [(8, body.len()), (16, raw_len), (20, 0x400 + bodies.len())] {
            headers[at + field..at + field + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        bodies.extend_from_slice(body);
        bodies.resize(bodies.len().next_multiple_of(512), 0xEE);
    }
    headers.extend_from_slice(&bodies);
    headers
}

#[test]
fn arch_by_systemd_boot() {
    let Some(folder) = Folder::with_tools(&["mke2fs", "mkfs.vfat", "mcopy", "sfdisk"]) else { return };
    let tree = folder.folder("root");
    root(&tree, "arch");
    let root = folder.ext4("root.ext4", &tree, 16 * MIB, &format!("-U {ROOT_UUID}"));
    let tree = folder.folder("esp");
    write(&tree.join("vmlinuz-linux"), kernel(5));
    write(&tree.join("vmlinuz-linux-lts"), kernel(6));
    write(&tree.join("amd-ucode.img"), noise(8, 1001));
    write(&tree.join("initramfs-linux.img"), noise(7, 9000));
    write(&tree.join("loader/loader.conf"), "timeout 3\ndefault Arch-*\n");
    write(
        &tree.join("loader/entries/arch-linux.conf"),
        format!(
            "title Arch Linux\nlinux /vmlinuz-linux\ninitrd /amd-ucode.img\ninitrd /initramfs-linux.img\n\
             options root=UUID={ROOT_UUID} rw\noptions console=ttyS0\n"
        ),
    );
    write(&tree.join("loader/entries/zz.conf"), "title other\nsort-key aa\nlinux /vmlinuz-linux-lts\n");
    let esp = folder.vfat("esp.vfat", &tree, 34 * MIB, "-F 32");
    let disk = gpt(&folder, &[Part::new(1, ESP, &esp), Part::new(2, ROOT_X86, &root)]);
    let mut initrds = noise(8, 1001);
    initrds.extend_from_slice(&[0; 3]);
    initrds.extend_from_slice(&noise(7, 9000));
    let cmdline = format!("root=UUID={ROOT_UUID} rw console=ttyS0");
    assert_boots(&disk, &kernel(5), &initrds, &cmdline, "/loader/entries/arch-linux.conf: Arch Linux");

    // Unified kernel images, of which the newest counts.
    fs::remove_dir_all(tree.join("loader")).unwrap();
    let release = b"ID=arch\nPRETTY_NAME=\"Arch Linux\"\n";
    for (version, seed) in [("6.9", 69), ("6.10", 70)] {
        let (kernel, initrd, line) = (kernel(seed), noise(seed + 1, 5003), b"root=LABEL=x rw\0".as_slice());
        let image =
            unified(&[(".osrel", release), (".cmdline", line), (".linux", &kernel), (".initrd", &initrd)]);
        write(&tree.join(format!("EFI/Linux/arch-{version}.efi")), image);
    }
    let esp = folder.vfat("esp.vfat", &tree, 34 * MIB, "-F 32");
    let disk = gpt(&folder, &[Part::new(1, ESP, &esp), Part::new(2, ROOT_X86, &root)]);
    let boot = assert_boots(
        &disk,
        &kernel(70),
        &noise(71, 5003),
        "root=LABEL=x rw console=ttyS0",
        "/EFI/Linux/arch-6.10.efi: Arch Linux",
    );
    assert_eq!(boot.kernel.section, Some(".linux"));
}

/// Two systems of the same distribution: each kernel gets its own root, by whatever name it has there.
#[test]
fn each_of_two_systems_has_its_own_root() {
    for (named, expected) in [
        ("root=/dev/sda2", format!("root=UUID={BOOT_UUID}")),
        ("root=/dev/vda2", "root=/dev/vda2".to_owned()),
        ("root=LABEL=second", "root=LABEL=second".to_owned()),
        ("", format!("root=UUID={BOOT_UUID} ro")),
    ] {
        let Some(folder) = Folder::with_tools(&["mke2fs", "sfdisk"]) else { return };
        for name in ["first", "second"] {
            let tree = folder.folder(name);
            root(&tree, name);
            write(&tree.join("boot/k"), kernel(1));
            write(&tree.join("boot/i"), noise(2, 1000));
        }
        let config = format!(
            "search --fs-uuid --set=root {BOOT_UUID}\nmenuentry x {{ linux /boot/k {named} console=ttyS0\ninitrd /boot/i\n}}"
        );
        write(&folder.path("first").join("boot/grub/grub.cfg"), config);
        let first = folder.ext4("1", &folder.path("first"), 8 * MIB, &format!("-U {ROOT_UUID}"));
        let second = folder.ext4("2", &folder.path("second"), 8 * MIB, &format!("-U {BOOT_UUID} -L second"));
        let boot =
            boot(&gpt(&folder, &[Part::new(1, ROOT_X86, &first), Part::new(2, ROOT_X86, &second)])).unwrap();
        assert_eq!(boot.cmdline, format!("{expected} console=ttyS0"), "{named}");
        assert_eq!(boot.root.and_then(|root| root.partition), Some(2), "{named}");
        assert_eq!(boot.os_release.unwrap().id, "second", "{named}");
    }
}

#[test]
fn what_cannot_be_booted_is_said() {
    let Some(folder) = Folder::with_tools(&["mke2fs", "sfdisk"]) else { return };
    let tree = folder.folder("root");
    root(&tree, "debian");
    let image = folder.ext4("root.ext4", &tree, 8 * MIB, "");
    let disk = gpt(&folder, &[Part::new(1, ROOT_X86, &image)]);
    assert_eq!(
        boot(&disk).unwrap_err().to_string(),
        "the disk has no kernel that could be started without firmware (looked in /boot of partition 1 (ext4), \
         / of partition 1 (ext4))"
    );
    write(&tree.join("boot/vmlinuz-1"), "not a kernel");
    let image = folder.ext4("root.ext4", &tree, 8 * MIB, "");
    let text = boot(&image).unwrap_err().to_string();
    assert!(
        text.ends_with(
            ": the newest kernel, /boot/vmlinuz-1: /boot/vmlinuz-1 is not a kernel that could be loaded"
        ),
        "{text}"
    );

    let marked = |name: &str, at: usize, mark: &[u8]| {
        let mut bytes = vec![0; 2 << 20];
        bytes[at..at + mark.len()].copy_from_slice(mark);
        write(&folder.path(name), bytes);
        folder.path(name)
    };
    let ufs = marked("ufs", 65536 + 1372, &0x1954_0119_u32.to_le_bytes());
    let freebsd = "516e7cb6-6ecf-11d6-8ff8-00022d09712b";
    for (disk, expected) in [
        (
            gpt(&folder, &[Part::new(3, freebsd, &ufs)]),
            "partition 3 holds UFS2: FreeBSD needs firmware to boot, it cannot be started from its disk without",
        ),
        (
            marked("ntfs", 3, b"NTFS    "),
            "the disk holds NTFS: Windows needs firmware to boot, it cannot be started from its disk without",
        ),
        (
            marked("lvm", 512, b"LABELONE"),
            "the disk has no file system that can be read without firmware (the disk holds an LVM physical volume); \
             ext4, xfs, btrfs and vfat can be",
        ),
        (
            marked("zeros", 0, b""),
            "the disk has neither a partition table nor a file system that is known: it is empty, or in a format of \
             its own",
        ),
    ] {
        assert_eq!(boot(&disk).unwrap_err().to_string(), expected);
    }
}
