//! The kernel's command line: the entry's, and what a machine of this kind needs beside.

use super::root::partition_of;
use super::{Architecture, RootFs};

/// What x86's kernels take (`COMMAND_LINE_SIZE`), the closing zero left out.
const LINE_LIMIT: usize = 2047;

/// A command line that is to be finished.
pub(super) struct Line<'a> {
    pub(super) given: &'a str,
    pub(super) root: Option<&'a RootFs>,
    pub(super) has_initrd: bool,
    /// The numbers of all partitions of the disk.
    pub(super) partitions: &'a [u32],
}

impl Line<'_> {
    /// Adds what is missing, and says so in `notes`.
    pub(super) fn finish(&self, architecture: Architecture, notes: &mut Vec<String>) -> String {
        let given = self.given.replace(|c: char| c.is_control(), " ");
        let mut words = words(&given);
        if let Some(root) = self.root {
            self.set_root(root, &mut words, notes);
        } else if !words.iter().any(|word| word.starts_with("root=")) {
            notes.push("no root file system was found, and the command line names none".to_owned());
        }
        let console = match architecture {
            Architecture::X86_64 | Architecture::Riscv64 => "console=ttyS0",
            Architecture::Aarch64 => "console=ttyAMA0",
        };
        let serial = ["console=ttyS", "console=ttyAMA", "console=hvc"];
        if !words.iter().any(|word| serial.iter().any(|console| word.starts_with(console))) {
            // The arguments of `init` begin behind `--`.
            let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
            words.insert(end, console.to_owned());
            notes.push(format!("{console} was added to the command line, which had no serial console"));
        }
        let line = words.join(" ");
        if line.len() > LINE_LIMIT {
            notes.push(format!("the command line has {} bytes; kernels cut it at {LINE_LIMIT}", line.len()));
        }
        line
    }

    fn set_root(&self, root: &RootFs, words: &mut Vec<String>, notes: &mut Vec<String>) {
        let source = self.root_source(root);
        // Of several, kernels take the last.
        let at = words.iter().rposition(|word| word.starts_with("root="));
        match at {
            Some(at) if self.is_on_another_partition(&words[at]["root=".len()..], root) => {
                let number = partition_of(&words[at]["root=".len()..]).unwrap_or(0);
                let source = format!("root=/dev/vda{number}");
                if words[at] != source {
                    notes.push(format!("{} on the command line became {source}", words[at]));
                    words[at] = source;
                }
            }
            Some(at) if self.is_usable(&words[at]["root=".len()..], root) => {}
            Some(at) => {
                notes.push(format!("{} on the command line became root={source}", words[at]));
                words[at] = format!("root={source}");
            }
            None => {
                words.insert(0, format!("root={source}"));
                if !words.iter().any(|word| matches!(word.as_str(), "ro" | "rw")) {
                    words.insert(1, "ro".to_owned());
                }
                notes.push(format!("root={source} was added to the command line, which named no root"));
            }
        }
        let has_subvolume =
            words.iter().any(|word| word.starts_with("rootflags=") && word.contains("subvol"));
        if let (Some(subvolume), false) = (&root.subvolume, has_subvolume) {
            words.push(format!("rootflags=subvol={subvolume}"));
            notes.push(format!("rootflags=subvol={subvolume} was added to the command line"));
        }
    }

    /// How to name the root: only an initial RAM disk knows UUIDs of file systems.
    fn root_source(&self, root: &RootFs) -> String {
        match (&root.uuid, &root.partition_uuid, root.partition) {
            (Some(uuid), ..) if self.has_initrd => format!("UUID={uuid}"),
            (_, Some(uuid), _) => format!("PARTUUID={uuid}"),
            (_, _, Some(number)) => format!("/dev/vda{number}"),
            _ => "/dev/vda".to_owned(),
        }
    }

    /// Whether a root that the entry names will be found here, where disks are virtio's.
    fn is_usable(&self, source: &str, root: &RootFs) -> bool {
        let unusable = ["/dev/sd", "/dev/hd", "/dev/xvd", "/dev/nvme", "/dev/mmcblk"];
        let needs_initrd = ["UUID=", "LABEL=", "/dev/disk/", "/dev/mapper/"];
        let by_device = unusable.iter().any(|device| source.starts_with(device));
        let unknown = !self.has_initrd && needs_initrd.iter().any(|tag| source.starts_with(tag));
        let other_place = source.starts_with("/dev/vda") && source != self.device(root);
        !source.is_empty() && !by_device && !unknown && !other_place
    }

    /// Whether it names a partition of this disk that is not the root which was found: one that is not read here.
    fn is_on_another_partition(&self, source: &str, root: &RootFs) -> bool {
        let number = partition_of(source);
        number.is_some_and(|number| self.partitions.contains(&number)) && number != root.partition
    }

    fn device(&self, root: &RootFs) -> String {
        root.partition.map_or_else(|| "/dev/vda".to_owned(), |number| format!("/dev/vda{number}"))
    }
}

/// Splits at spaces, but not inside of quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        quoted ^= c == '"';
        match words.last_mut() {
            Some(word) if quoted || !c.is_whitespace() => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FsKind;

    fn root() -> RootFs {
        RootFs {
            kind: FsKind::Ext4,
            partition: Some(1),
            uuid: Some("1234".to_owned()),
            partition_uuid: Some("abcd".to_owned()),
            subvolume: None,
        }
    }

    fn finish(given: &str, root: &RootFs, has_initrd: bool) -> (String, usize) {
        let mut notes = Vec::new();
        let line = Line { given, root: Some(root), has_initrd, partitions: &[1, 2] };
        let line = line.finish(Architecture::X86_64, &mut notes);
        (line, notes.len())
    }

    #[test]
    fn what_is_there_stays() {
        for given in [
            "root=UUID=77 ro quiet console=ttyS0,115200n8",
            "BOOT_IMAGE=/vmlinuz root=LABEL=cloudimg-rootfs ro console=tty1 console=ttyS0 dyndbg=\"file a +p\"",
            "root=/dev/vda1 console=hvc0",
            "root=PARTUUID=1 console=ttyS1 -- one two",
        ] {
            assert_eq!(finish(given, &root(), true), (given.to_owned(), 0));
        }
    }

    #[test]
    fn what_is_missing_is_added_and_said() {
        let console = "console=ttyS0";
        assert_eq!(finish("", &root(), true), (format!("root=UUID=1234 ro {console}"), 2));
        assert_eq!(finish("quiet rw", &root(), false), (format!("root=PARTUUID=abcd quiet rw {console}"), 2));
        assert_eq!(finish("root=/dev/sda1 ro", &root(), true), (format!("root=UUID=1234 ro {console}"), 2));
        assert_eq!(finish("root=UUID=1234", &root(), false), (format!("root=PARTUUID=abcd {console}"), 2));
        // What is on the disk and cannot be read is a root all the same.
        assert_eq!(finish("root=/dev/vda2", &root(), true), (format!("root=/dev/vda2 {console}"), 1));
        assert_eq!(finish("root=/dev/sda2", &root(), true), (format!("root=/dev/vda2 {console}"), 2));
        assert_eq!(
            finish("root=a root=/dev/sda1", &root(), true),
            (format!("root=a root=UUID=1234 {console}"), 2)
        );
        assert_eq!(finish("root=/dev/vda3", &root(), true), (format!("root=UUID=1234 {console}"), 2));
        assert_eq!(
            finish("root=LABEL=x a -- b", &root(), true),
            (format!("root=LABEL=x a {console} -- b"), 1)
        );
        let bare = RootFs { partition: None, uuid: None, partition_uuid: None, ..root() };
        assert_eq!(finish("a\nb", &bare, true), (format!("root=/dev/vda ro a b {console}"), 2));
        let subvolume = RootFs { subvolume: Some("@".to_owned()), ..root() };
        let (line, notes) = finish("root=UUID=1 console=hvc0", &subvolume, true);
        assert_eq!((line.as_str(), notes), ("root=UUID=1 console=hvc0 rootflags=subvol=@", 1));
    }
}
