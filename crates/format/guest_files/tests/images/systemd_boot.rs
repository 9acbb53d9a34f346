//! systemd-boot's menu: one for the EFI system partition and XBOOTLDR, in the specification's order.

use std::fs;
use std::path::PathBuf;

use crate::boots::{boot, kernel, root, unified, write};
use crate::disks::{ESP, Part, ROOT_X86, XBOOTLDR, gpt};
use crate::tools::{Folder, MIB};

/// A menu's files, `esp:` or `xbootldr:` in front of their paths, and what is started: `partition path|command line`.
struct Case {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    expected: &'static str,
}

const C: &str = "root=/dev/vda3 console=ttyS0";

/// `C` stands for a root and a console; a `.efi` is a unified kernel image with the text as its command line.
const CASES: &[Case] = &[
    Case {
        name: "the loader.conf of the EFI system partition rules both",
        files: &[
            ("esp:loader/loader.conf", "default old*\n"),
            ("xbootldr:loader/loader.conf", "default new*\n"),
            ("xbootldr:loader/entries/new.conf", "linux /k\noptions C new\n"),
            ("xbootldr:loader/entries/old-1.conf", "linux /k\noptions C old\n"),
        ],
        expected: "2 /k|old",
    },
    Case {
        name: "entries of both stand in one order",
        files: &[
            ("esp:loader/entries/a-1.conf", "linux /k\noptions C esp\nsort-key a\nversion 1\n"),
            ("xbootldr:loader/entries/a-2.conf", "linux /k\noptions C boot\nsort-key a\nversion 2\n"),
        ],
        expected: "2 /k|boot",
    },
    Case {
        name: "paths are those of the partition that the entry is on",
        files: &[
            ("esp:loader/entries/z.conf", "linux /k\noptions C esp\n"),
            ("xbootldr:loader/entries/a.conf", "linux /k\noptions C boot\n"),
        ],
        expected: "1 /k|esp",
    },
    Case {
        name: "nothing is replaced in options",
        files: &[("xbootldr:loader/entries/a.conf", "linux /k\noptions C a=$b ${c} $\n")],
        expected: "2 /k|a=$b ${c} $",
    },
    Case {
        name: "an image whose tries are used up comes last",
        files: &[
            ("esp:EFI/Linux/linux-7+0-3.efi", "C bad"),
            ("esp:EFI/Linux/linux-6+2-1.efi", "C tried"),
            ("esp:EFI/Linux/linux-5.efi", "C good"),
        ],
        expected: "1 /EFI/Linux/linux-6+2-1.efi|tried",
    },
    Case {
        name: "an image is named without its tries",
        files: &[
            ("esp:loader/loader.conf", "default linux-5.efi\n"),
            ("esp:EFI/Linux/linux-6.efi", "C six"),
            ("esp:EFI/Linux/linux-5+3.efi", "C five"),
        ],
        expected: "1 /EFI/Linux/linux-5+3.efi|five",
    },
    Case {
        name: "what firmware would have saved is not known",
        files: &[
            ("esp:loader/loader.conf", "default @saved\n"),
            ("esp:loader/entries/a-2.conf", "linux /k\noptions C two\n"),
            ("esp:loader/entries/a-1.conf", "linux /k\noptions C one\n"),
        ],
        expected: "1 /k|two",
    },
    Case {
        name: "options of an entry take the place of its image's",
        files: &[
            ("esp:loader/entries/a.conf", "efi /EFI/x.efi\noptions C given\n"),
            ("esp:EFI/x.efi", "C own"),
        ],
        expected: "1 /EFI/x.efi|given",
    },
    Case {
        name: "an entry for other processors",
        files: &[
            ("esp:loader/entries/b.conf", "architecture aa64\nlinux /k\noptions C arm\n"),
            ("esp:loader/entries/a.conf", "architecture x64\nlinux /k\noptions C x86\n"),
        ],
        expected: "1 /k|x86",
    },
    Case {
        name: "a path of the other partition is not looked up here",
        files: &[
            ("esp:loader/entries/b.conf", "linux /only\noptions C only\n"),
            ("esp:loader/entries/a.conf", "linux /k\noptions C both\n"),
            ("xbootldr:only", "kernel"),
        ],
        expected: "1 /k|both",
    },
];

fn disk(folder: &Folder, case: &Case) -> PathBuf {
    let system = folder.folder("root");
    root(&system, "arch");
    for (seed, tree) in ["esp", "xbootldr"].into_iter().enumerate() {
        write(&folder.path(tree).join("k"), kernel(seed as u64));
    }
    for (path, text) in case.files {
        let (tree, path) = path.split_once(':').unwrap();
        let text = text.replace("C ", &format!("{C} "));
        let file = folder.path(tree).join(path);
        match path.rsplit_once('.') {
            Some((_, "efi")) => {
                write(&file, unified(&[(".linux", &kernel(9)), (".cmdline", text.as_bytes())]));
            }
            None => write(&file, kernel(8)),
            Some(_) => write(&file, text),
        }
    }
    let esp = folder.vfat("esp.vfat", &folder.path("esp"), 34 * MIB, "-F 32");
    let xbootldr = folder.ext4("xbootldr.ext4", &folder.path("xbootldr"), 8 * MIB, "");
    let system = folder.ext4("root.ext4", &system, 8 * MIB, "");
    let parts = [Part::new(1, ESP, &esp), Part::new(2, XBOOTLDR, &xbootldr), Part::new(3, ROOT_X86, &system)];
    gpt(folder, &parts)
}

#[test]
fn the_entry_that_systemd_boot_would_start() {
    let mut wrong = Vec::new();
    for case in CASES {
        let Some(folder) = Folder::with_tools(&["mke2fs", "mkfs.vfat", "mcopy", "sfdisk"]) else { return };
        let found = match boot(&disk(&folder, case)) {
            Ok(boot) => format!(
                "{} {}|{}",
                boot.kernel.partition.unwrap_or(0),
                boot.kernel.path,
                boot.cmdline.trim_start_matches(C).trim_start()
            ),
            Err(error) => error.to_string(),
        };
        if found != case.expected {
            wrong.push(format!("{}: {found} is not {}", case.name, case.expected));
        }
        drop(fs::remove_file(folder.path("disk")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
