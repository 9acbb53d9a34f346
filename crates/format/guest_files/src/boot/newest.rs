//! Where no boot loader says anything: the newest kernel there is, and the initial RAM disk that belongs to it.

use super::entry::{Entry, Files, Place, System, file};
use super::version;
use crate::{DirEntry, FileKind, read_small};

const ENTRY_LIMIT: usize = 100_000;
const CONFIG_LIMIT_BYTES: u64 = 256 << 10;

/// What kernels are called, without their version.
const KERNELS: &[&str] = &["vmlinuz", "vmlinux", "bzImage", "Image", "kernel"];

/// The kernels of each place, the newest first; those for rescue come last.
pub(super) fn entries(system: &System<'_>, _passed_over: &mut Vec<String>) -> Vec<Entry> {
    system.places.iter().flat_map(|place| at(system, place)).collect()
}

fn at(system: &System<'_>, place: &Place) -> Vec<Entry> {
    let fs = system.fs(place);
    let Ok(names) = fs.list(if place.folder.is_empty() { "/" } else { place.folder }, ENTRY_LIMIT) else {
        return Vec::new();
    };
    let mut kernels: Vec<(&str, &str)> = names.iter().filter_map(kernel_version).collect();
    kernels.sort_by(|(left_name, left), (right_name, right)| {
        let rescue = |name: &str| name.contains("rescue");
        let rank = rescue(left_name).cmp(&rescue(right_name));
        rank.then_with(|| version::compare(right, left)).then_with(|| left_name.cmp(right_name))
    });
    let cmdline = configured_cmdline(system);
    let to_entry = |(name, version): (&str, &str)| {
        let kernel = file(system.volumes, place.volume, &format!("{}/{name}", place.folder))?;
        let initrd = initrd_names(version)
            .into_iter()
            .filter(|initrd| names.iter().any(|entry| entry.name == *initrd))
            .find_map(|initrd| file(system.volumes, place.volume, &format!("{}/{initrd}", place.folder)));
        let source = format!("the newest kernel, {kernel}");
        let files = Files::Known(std::iter::once(kernel).chain(initrd).collect());
        Some(Entry { source, files, cmdline: cmdline.clone() })
    };
    kernels.into_iter().filter_map(to_entry).collect()
}

/// A kernel's name and its version; the version may be empty.
fn kernel_version(entry: &DirEntry) -> Option<(&str, &str)> {
    if !matches!(entry.kind, FileKind::Regular | FileKind::Symlink) {
        return None;
    }
    let rest = KERNELS.iter().find_map(|kernel| entry.name.strip_prefix(kernel))?;
    let is_one =
        rest.is_empty() || rest.starts_with('-') && !rest.ends_with(".old") && !rest.ends_with(".hmac");
    is_one.then(|| (entry.name.as_str(), rest.trim_start_matches('-')))
}

/// What the initial RAM disk of a kernel may be called: Debian's, Fedora's, openSUSE's, Arch's and Alpine's ways.
fn initrd_names(version: &str) -> Vec<String> {
    if version.is_empty() {
        return ["initrd.img", "initrd", "initramfs", "initramfs.img"].map(str::to_owned).to_vec();
    }
    let mut names = vec![
        format!("initrd.img-{version}"),
        format!("initramfs-{version}.img"),
        format!("initrd-{version}"),
        format!("initrd-{version}.img"),
        format!("initramfs-{version}"),
        format!("initrd.img-{version}.gz"),
    ];
    if let Some(plain) = version.strip_suffix(".gz").or_else(|| version.strip_suffix(".xz")) {
        names.extend(initrd_names(plain));
    }
    names
}

/// The command line that the system keeps for kernels to come: systemd's, or GRUB's.
fn configured_cmdline(system: &System<'_>) -> String {
    let Some(root) = system.root else { return String::new() };
    let fs = &*system.volumes.list[root.volume].fs;
    let read = |path: &str| {
        read_small(fs, path, CONFIG_LIMIT_BYTES).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    if let Some(line) = read("/etc/kernel/cmdline") {
        return line.trim().to_owned();
    }
    let mut names: Vec<String> = fs.list("/etc/default/grub.d", ENTRY_LIMIT).map_or(Vec::new(), |entries| {
        let configs = entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".cfg"));
        configs.map(|name| format!("/etc/default/grub.d/{name}")).collect()
    });
    names.sort();
    names.insert(0, "/etc/default/grub".to_owned());
    let mut grub = GrubDefaults::default();
    names.iter().take(64).filter_map(|name| read(name)).for_each(|text| grub.add(&text));
    format!("{} {}", grub.always, grub.normally).trim().to_owned()
}

/// What `/etc/default/grub` says of the command line.
#[derive(Default)]
struct GrubDefaults {
    always: String,
    normally: String,
}

impl GrubDefaults {
    /// The longest line that is kept: a file may add to itself.
    const LINE_LIMIT: usize = 4096;

    fn add(&mut self, text: &str) {
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']);
            let value = value
                .replace("${GRUB_CMDLINE_LINUX}", &self.always)
                .replace("$GRUB_CMDLINE_LINUX_DEFAULT", &self.normally)
                .replace("${GRUB_CMDLINE_LINUX_DEFAULT}", &self.normally)
                .replace("$GRUB_CMDLINE_LINUX", &self.always);
            if value.len() > Self::LINE_LIMIT || value.contains(['`', '$']) {
                continue;
            }
            match name {
                "GRUB_CMDLINE_LINUX" => self.always = value,
                "GRUB_CMDLINE_LINUX_DEFAULT" => self.normally = value,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_add_to_one_another_and_do_not_explode() {
        let mut grub = GrubDefaults::default();
        grub.add("# GRUB_CMDLINE_LINUX=no\nGRUB_CMDLINE_LINUX=\"console=tty1\"\nGRUB_CMDLINE_LINUX_DEFAULT='quiet'\n");
        grub.add("GRUB_CMDLINE_LINUX_DEFAULT=\"${GRUB_CMDLINE_LINUX_DEFAULT} splash\"\nGRUB_TIMEOUT=5\n");
        assert_eq!((grub.always.as_str(), grub.normally.as_str()), ("console=tty1", "quiet splash"));
        let doubled = "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX$GRUB_CMDLINE_LINUX\"\n".repeat(100);
        grub.add(&doubled);
        assert!(grub.always.len() <= GrubDefaults::LINE_LIMIT);
        grub.add("GRUB_CMDLINE_LINUX=\"$(cat /etc/passwd)\"");
        assert!(!grub.always.contains("passwd"));
    }

    #[test]
    fn names_of_initial_ram_disks() {
        let entry = |name: &str| DirEntry { name: name.to_owned(), kind: FileKind::Regular };
        for (kernel, initrd) in [
            ("vmlinuz-6.1.0-18-cloud-amd64", "initrd.img-6.1.0-18-cloud-amd64"),
            ("vmlinuz-6.8.5-301.fc40.x86_64", "initramfs-6.8.5-301.fc40.x86_64.img"),
            ("vmlinuz-linux", "initramfs-linux.img"),
            ("vmlinuz-lts", "initramfs-lts"),
            ("vmlinuz-6.4.0-default", "initrd-6.4.0-default"),
            ("vmlinuz", "initrd.img"),
        ] {
            let entry = entry(kernel);
            let (_, version) = kernel_version(&entry).unwrap();
            assert!(initrd_names(version).contains(&initrd.to_owned()), "{kernel}");
        }
        for name in ["vmlinuz-1.old", "System.map-6.1", "vmlinuzx", "config-6.1"] {
            assert_eq!(kernel_version(&entry(name)), None);
        }
    }
}
