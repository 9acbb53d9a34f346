//! GRUB's configurations on disks with two systems, whose paths are the same: what is booted comes from where the
//! configuration says, or not at all. Where `grub-emu` is installed, GRUB itself says what that is.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use guest_files::{Architecture, Boot, find_boot};

use crate::boots::{kernel, root, write};
use crate::disks::{Part, ROOT_X86, gpt, mbr};
use crate::tools::{FileDisk, Folder, MIB};
use crate::trees::noise;

const FIRST_UUID: &str = "11111111-2222-3333-4444-555555555555";
const SECOND_UUID: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

/// What is booted: the partition and path of each file, and the command line.
type Chosen = (Vec<(u32, String)>, String);

/// What stands below both systems' roots.
const FILES: &[&str] = &["/boot/k", "/boot/i", "/boot/j", "/k", "/only"];

/// A configuration on the first partition.
struct Case {
    name: &'static str,
    config: &'static str,
    /// `kernel initrd …`, each as `partition:path`, and behind `|` the command line; or a part of the refusal.
    expected: Result<&'static str, &'static str>,
}

const fn boots(name: &'static str, config: &'static str, expected: &'static str) -> Case {
    Case { name, config, expected: Ok(expected) }
}

const fn refuses(name: &'static str, config: &'static str, why: &'static str) -> Case {
    Case { name, config, expected: Err(why) }
}

/// Those that GRUB's emulator can run, too. `C` stands for `console=ttyS0 root=/dev/vda1`.
const CASES: &[Case] = &[
    boots(
        "the root as it begins",
        "menuentry a { linux /boot/k C x ; initrd /boot/i }",
        "1:/boot/k 1:/boot/i|x",
    ),
    boots(
        "set root in quotes",
        "menuentry a { set root='hd0,gpt2'\n linux /boot/k C x\n initrd /boot/i }",
        "2:/boot/k 2:/boot/i|x",
    ),
    boots(
        "set root in parentheses",
        "set root=(hd0,gpt2)\nmenuentry a { linux /boot/k C\n initrd /boot/i }",
        "2:/boot/k 2:/boot/i|",
    ),
    boots(
        "the device in the path",
        "menuentry a { linux (hd0,gpt2)/boot/k C\n initrd (hd0,gpt1)/boot/i }",
        "2:/boot/k 1:/boot/i|",
    ),
    boots("a partition by its number alone", "menuentry a { linux (hd0,2)/boot/k C }", "2:/boot/k|"),
    boots(
        "a variable in parentheses",
        "set other=hd0,gpt2\nmenuentry a { linux ($other)/boot/k C\n initrd ($root)/boot/i }",
        "2:/boot/k 1:/boot/i|",
    ),
    boots(
        "several initial RAM disks",
        "menuentry a { linux /boot/k C\n initrd /boot/j (hd0,gpt2)/boot/i /boot/i }",
        "1:/boot/k 1:/boot/j 2:/boot/i 1:/boot/i|",
    ),
    boots(
        "search by UUID",
        "menuentry a { search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt1 --hint='hd0,gpt1' \
         AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee\n linux /boot/k C }",
        "2:/boot/k|",
    ),
    boots(
        "search by UUID, old",
        "search -n -u -s 11111111-2222-3333-4444-555555555555\nset x=$root\nset root=hd0,gpt2\n\
          menuentry a { linux ($x)/boot/k C }",
        "1:/boot/k|",
    ),
    boots(
        "search by label",
        "search --label --set=root second\nmenuentry a { linux /boot/k C }",
        "2:/boot/k|",
    ),
    boots(
        "search by file",
        "search --set=root --file /second\nmenuentry a { linux /boot/k C }",
        "2:/boot/k|",
    ),
    boots(
        "search by a file of both",
        "search --file --set=root /only\nmenuentry a { linux /boot/k C }",
        "2:/boot/k|",
    ),
    boots(
        "a hint decides",
        "search --file --set=root --hint hd0,gpt1 /only\nmenuentry a { linux /boot/k C }",
        "1:/boot/k|",
    ),
    boots(
        "a hint of a disk decides",
        "search --file --set=root --hint=hd0, /only\nmenuentry a { linux /boot/k C }",
        "1:/boot/k|",
    ),
    boots("search.fs_label", "search.fs_label second root\nmenuentry a { linux /boot/k C }", "2:/boot/k|"),
    boots(
        "search.fs_uuid",
        "search.fs_uuid aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee root hd0,gpt1\nmenuentry a { linux /boot/k C }",
        "2:/boot/k|",
    ),
    boots("search.file", "search.file /second dev\nmenuentry a { linux ($dev)/boot/k C }", "2:/boot/k|"),
    boots(
        "a search in vain leaves the root",
        "set root=hd0,gpt2\nsearch --fs-uuid --set=root 1234\nmenuentry a { linux /boot/k C }",
        "2:/boot/k|",
    ),
    boots("source", "source $prefix/more.cfg\nmenuentry b { linux /boot/k C b }", "2:/boot/k|more"),
    boots(
        "a dot",
        "x=1\n. ${prefix}/more.cfg\nset default=1\nmenuentry b { linux /boot/k C b$x$y }",
        "1:/boot/k|b12",
    ),
    boots(
        "configfile at the top",
        "set y=3\nconfigfile /boot/grub/more.cfg\nmenuentry b { linux /boot/k C b }",
        "2:/boot/k|more",
    ),
    boots(
        "configfile in an entry, and what is exported",
        "set a=1\nset b=2\nexport b\nmenuentry x { configfile (hd0,gpt2)/boot/grub/second.cfg }",
        "1:/boot/k|a=,b=2",
    ),
    boots("normal", "menuentry b { linux /boot/k C b }\nnormal $prefix/more.cfg", "1:/boot/k|b"),
    boots(
        "extract_entries_source",
        "set y=1\nextract_entries_source $prefix/more.cfg\nmenuentry b { linux /boot/k C b$y }\nset default=b",
        "1:/boot/k|b1",
    ),
    boots(
        "a default by number",
        "set default=1\nmenuentry a { linux /k C }\nmenuentry b { linux /boot/k C }",
        "1:/boot/k|",
    ),
    boots(
        "a default by title",
        "set default='b c'\nmenuentry a { linux /k C }\nmenuentry 'b c' { linux /boot/k C }",
        "1:/boot/k|",
    ),
    boots(
        "a default by id",
        "set default=idb\nmenuentry a --id ida { linux /k C }\nmenuentry --class x --id=idb b { linux /boot/k C }",
        "1:/boot/k|",
    ),
    boots(
        "a default that is not there",
        "set default=none\nmenuentry a { linux /boot/k C }\nmenuentry b { linux /k C }",
        "1:/boot/k|",
    ),
    boots(
        "a default in a submenu",
        "set default='s>t>1'\nmenuentry a { linux /k C }\nsubmenu s {\n menuentry b { linux /k C }\n submenu t { \
         menuentry c { linux /k C }\n menuentry d { linux /boot/k C $chosen }\n}\n}",
        "1:/boot/k|s>t>d",
    ),
    boots(
        "a title with an angle bracket",
        "set default='s >> t>b'\nsubmenu 's > t' { menuentry a { linux /k C }\n menuentry b { linux /boot/k C } }",
        "1:/boot/k|",
    ),
    boots(
        "a submenu has what is exported",
        "set a=1\nset b=2\nexport b\nset root=hd0,gpt2\nsubmenu s { menuentry x { linux /boot/k C a=$a,b=$b } }",
        "2:/boot/k|a=,b=2",
    ),
    boots(
        "an entry has what is set behind it",
        "set a=1\nmenuentry x { linux /boot/k C a=$a }\nset a=2",
        "1:/boot/k|a=2",
    ),
    boots(
        "the arguments of an entry",
        "menuentry 'a b' --class c d { linux /boot/k C \"$1\" $2 $# }",
        "1:/boot/k|a b d 2",
    ),
    boots(
        "functions",
        "function f { if [ \"$1\" = \"one\" ]; then return 1; fi; set r=$2; }\nf one two\nset s=$?\nf x three\n\
         menuentry a { linux /boot/k C $s $r$? }",
        "1:/boot/k|1 three0",
    ),
    boots(
        "loops",
        "for x in a 'b c' \"\" d; do set l=\"$l<$x\\>\"; if [ $x = d ]; then continue; fi; done\nset n=\n\
         while [ x$n != xiii ]; do set n=i$n; done\nuntil [ $n = ii$m ]; do set m=i$m; done\n\
         menuentry a { linux /boot/k C $l $n $m }",
        "1:/boot/k|<a\\\\><b c\\\\><\\\\><d\\\\> iii i",
    ),
    boots(
        "break leaves loops",
        "for x in 1 2; do for y in 3 4; do set l=$l$x$y; break; done; done\nmenuentry a { linux /boot/k C $l }",
        "1:/boot/k|1323",
    ),
    boots(
        "conditions on files",
        "if [ -f (hd0,gpt2)/second -a ! -e /second ]; then set a=1; fi\nif test -d /boot; then set b=1; fi\n\
         if [ -s /none -o -f /boot ]; then set c=1; fi\nif [ $none ]; then set d=1; fi\n\
         menuentry a { linux /boot/k C $a,$b,$c,$d }",
        "1:/boot/k|1,1,,1",
    ),
    boots(
        "conditions",
        "for t in '' '-n' '-f' '-z' '!' '( )' 'a = b -o' '! a = a -o' '( a = b ) -o a = a' '! ( a = b )' 'a = b a = a' \
         '-n \"\"' '= a' '1 -gt 0x' '2 -lt 10' '10 -le 9' 'v10 -pgt v9' 'a \\< b' 'b \\< a' '! ! a' '-o' 'a = a -a -f' \
         'a != a' '-3 -lt 2'; do eval \"if [ $t ]; then l=${l}1; else l=${l}0; fi\"; done\n\
         menuentry a { linux /boot/k C $l }",
        "1:/boot/k|111111111100111011011101",
    ),
    boots(
        "the environment block",
        "load_env\nload_env -f (hd0,gpt1)/boot/other only\nmenuentry a { linux /boot/k C $one $two $only }\n\
         set default=\"${saved_entry}\"\nmenuentry b { linux /boot/k C b $one $two$only }",
        "1:/boot/k|b 1=1 ONLY",
    ),
    boots(
        "words and quotes",
        "a='1 2'\nmenuentry x { linux /boot/k C x$a\"y z\" '' \"$a\" \\$a $none q }",
        "1:/boot/k|x1 2y z  1 2 $a q",
    ),
    boots(
        "what is loaded last counts",
        "menuentry a { linux /k C\n initrd /boot/i\n linux /boot/k C x\n initrd /boot/j }",
        "1:/boot/k 1:/boot/j|x",
    ),
    boots("without a menu", "linux /boot/k C x\ninitrd /boot/i\nboot", "1:/boot/k 1:/boot/i|x"),
    boots("eval", "eval 'set q=7'\neval \"menuentry a { linux /boot/k C $q }\"", "1:/boot/k|7"),
    boots(
        "probe",
        "probe --set=u --fs-uuid (hd0,gpt2)\nprobe -s l -l ($root)\nmenuentry a { linux /boot/k C $u $l }",
        "1:/boot/k|aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee first",
    ),
];

/// What GRUB would find elsewhere, or where its emulator, which looks at no files, cannot follow.
const OURS: &[Case] = &[
    boots(
        "fallback",
        "set default=0\nset fallback='2 1'\nmenuentry a { linux /none C }\nmenuentry b { linux /k C b }\n\
         menuentry c { linux /boot/k C c }",
        "1:/boot/k|c",
    ),
    refuses("another disk", "menuentry a { linux (hd1,gpt1)/boot/k C }", "(hd1,gpt1) is on another disk"),
    refuses(
        "another disk as root",
        "set root=hd2,1\nmenuentry a { linux /boot/k C }",
        "(hd2,1) is on another disk",
    ),
    refuses("LVM", "menuentry a { set root='lvm/vg-root'\n linux /boot/k C }", "a logical volume of LVM"),
    refuses("LVM by UUID", "menuentry a { linux (lvmid/a/b)/boot/k C }", "a logical volume of LVM"),
    refuses("RAID", "menuentry a { linux (md/0)/boot/k C }", "a RAID of several disks"),
    refuses("RAID by UUID", "menuentry a { linux (mduuid/0123)/boot/k C }", "a RAID of several disks"),
    refuses(
        "encrypted",
        "cryptomount -u 0123\nset root=cryptouuid/0123\nmenuentry a { linux /boot/k C }",
        "an encrypted disk",
    ),
    refuses("encrypted, by number", "menuentry a { linux (crypto0)/boot/k C }", "an encrypted disk"),
    refuses(
        "a disk in a file",
        "loopback loop0 /x.iso\nmenuentry a { linux (loop0)/boot/k C }",
        "the image of a disk",
    ),
    refuses("a server", "menuentry a { linux (http,192.0.2.1)/boot/k C }", "a server"),
    refuses("a name of nobody's", "menuentry a { linux (ahci0,gpt1)/boot/k C }", "no disk that is known"),
    refuses(
        "a partition that is not there",
        "menuentry a { linux (hd0,gpt7)/boot/k C }",
        "no partition (hd0,gpt7)",
    ),
    refuses("a partition 0", "menuentry a { linux (hd0,gpt0)/boot/k C }", "no name of a partition"),
    refuses(
        "another table",
        "menuentry a { linux (hd0,msdos2)/boot/k C }",
        "no partition table of that kind",
    ),
    refuses("a table inside", "menuentry a { linux (hd0,gpt2,bsd1)/boot/k C }", "no name of a partition"),
    refuses("the whole disk", "menuentry a { linux (hd0)/boot/k C }", "the whole disk"),
    refuses("no device", "menuentry a { linux ()/boot/k C }", "no device is named"),
    refuses("no parenthesis", "menuentry a { linux (hd0,gpt1/boot/k C }", "lacks a closing parenthesis"),
    refuses("a list of blocks", "menuentry a { linux (hd0,gpt1)0+100 C }", "is no path"),
    refuses("no slash", "menuentry a { linux boot/k C }", "is no path"),
    refuses(
        "what only the other has",
        "menuentry a { linux /second C }",
        "there is no /second on partition 1",
    ),
    refuses(
        "an initrd that only the other has",
        "menuentry a { linux /boot/k C\n initrd /second }",
        "there is no /second on partition 1",
    ),
    refuses(
        "an archive made by GRUB",
        "menuentry a { linux /boot/k C\n initrd newc:a:/boot/i }",
        "packed into an archive",
    ),
    refuses(
        "another loader",
        "menuentry w { chainloader /EFI/x.efi }",
        "not start a Linux kernel, but 'chainloader",
    ),
    refuses("a menu of another loader", "syslinux_configfile /x.cfg", "is of another loader"),
    refuses("without end", "while true; do set a=1; done", "goes on for too long"),
    refuses("a function that calls itself", "function f { f; }\nf", "nested too deep"),
    refuses("a file that reads itself", "source $prefix/grub.cfg", "nested too deep"),
    refuses(
        "values that double",
        "set a=xxxxxxxx\nwhile true; do set a=$a$a; done",
        "too many variables, or one that is",
    ),
    refuses(
        "a broken line inside",
        "menuentry a { if true; then linux /boot/k C | x; fi }",
        "GRUB's language does not know",
    ),
    refuses("a broken line", "menuentry a { linux /boot/k C && true }", "GRUB's language does not know"),
];

const C: &str = "console=ttyS0 root=/dev/vda1";

/// Two systems of the same paths, of which the first has a configuration.
struct Systems {
    folder: Folder,
    second: PathBuf,
}

impl Systems {
    fn new(tools: &[&str]) -> Option<Systems> {
        let folder = Folder::with_tools(tools)?;
        for (index, label) in ["first", "second"].into_iter().enumerate() {
            let tree = folder.folder(label);
            root(&tree, label);
            // Kernels by other names than those that are looked for without a loader.
            for (seed, path) in FILES.iter().enumerate() {
                write(&tree.join(&path[1..]), kernel((index * 10 + seed) as u64));
            }
            write(&tree.join(label), kernel(99));
        }
        let first = folder.path("first");
        let more = "set timeout=0\nset y=2\nmenuentry more { set root=hd0,gpt2; linux /boot/k C more }\n";
        write(&first.join("boot/grub/more.cfg"), text(more));
        let block = "# GRUB Environment Block\nsaved_entry=b\none=1=1\n####";
        write(&first.join("boot/grub/grubenv"), block);
        write(&first.join("boot/other"), "# GRUB Environment Block\nonly=ONLY\ntwo=2\n####");
        let second = text("set timeout=0\nmenuentry s { linux /boot/k C a=$a,b=$b }\n");
        write(&folder.path("second").join("boot/grub/second.cfg"), second);
        let options = format!("-U {SECOND_UUID} -L second");
        let second = folder.ext4("second.ext4", &folder.path("second"), 12 * MIB, &options);
        Some(Systems { folder, second })
    }

    /// The first system with this `grub.cfg`, as an image.
    fn first(&self, config: &str) -> PathBuf {
        let folder = &self.folder;
        write(&folder.path("first").join("boot/grub/grub.cfg"), text(config) + "\nset timeout=0\n");
        let _ = fs::remove_file(folder.path("first.ext4"));
        folder.ext4("first.ext4", &folder.path("first"), 12 * MIB, &format!("-U {FIRST_UUID} -L first"))
    }

    /// Both on a disk with a GPT.
    fn disk(&self, config: &str) -> PathBuf {
        let first = self.first(config);
        gpt(&self.folder, &[Part::new(1, ROOT_X86, &first), Part::new(2, ROOT_X86, &self.second)])
    }
}

fn text(text: &str) -> String {
    text.replace(" C", &format!(" {C}"))
}

fn boot(disk: &Path) -> Result<Boot, String> {
    find_boot(FileDisk::open(disk), Architecture::X86_64, None).map_err(|error| error.to_string())
}

fn chosen(boot: &Boot) -> Chosen {
    let files = std::iter::once(&boot.kernel).chain(&boot.initrds);
    let files = files.map(|file| (file.partition.unwrap_or(0), file.path.clone())).collect();
    (files, unquoted(boot.cmdline.trim_start_matches(C).trim_start()))
}

/// Without what keeps words together: GRUB's `echo` does not show that.
fn unquoted(line: &str) -> String {
    line.replace('"', "")
}

fn expected(text: &str) -> Chosen {
    let (files, line) = text.split_once('|').unwrap();
    let file = |file: &str| {
        let (partition, path) = file.split_once(':').unwrap();
        (partition.parse().unwrap(), path.to_owned())
    };
    (files.split(' ').map(file).collect(), line.to_owned())
}

#[test]
fn paths_are_looked_up_where_the_configuration_says() {
    let Some(systems) = Systems::new(&["mke2fs", "sfdisk"]) else { return };
    let mut wrong = Vec::new();
    for case in CASES.iter().chain(OURS) {
        let found = boot(&systems.disk(case.config));
        let is_right = match (&found, case.expected) {
            (Ok(found), Ok(text)) => in_words(chosen(found)) == in_words(expected(text)),
            (Err(error), Err(why)) => error.contains(why),
            _ => false,
        };
        if !is_right {
            wrong.push(format!(
                "{}: {:?} is not {:?}",
                case.name,
                found.map(|boot| chosen(&boot)),
                case.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With single spaces in the command line.
fn in_words((files, line): Chosen) -> Chosen {
    (files, line.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn partitions_of_an_mbr() {
    let Some(systems) = Systems::new(&["mke2fs", "sfdisk"]) else { return };
    for (device, partition) in [("hd0,msdos2", Some(2)), ("hd0,2", Some(2)), ("hd0,gpt2", None)] {
        let first = systems.first(&format!("menuentry a {{ linux ({device})/boot/k C }}"));
        let found = boot(&mbr(&systems.folder, &[(1, &first), (2, &systems.second)]));
        assert_eq!(
            found.as_ref().ok().and_then(|boot| boot.kernel.partition),
            partition,
            "{device} {found:?}"
        );
    }
}

#[test]
fn a_disk_without_partitions() {
    let Some(systems) = Systems::new(&["mke2fs"]) else { return };
    for (config, is_found) in [
        ("menuentry a { linux /boot/k C }", true),
        ("set root=(hd0)\nmenuentry a { linux /boot/k C }", true),
        ("search --label first --set=root\nmenuentry a { linux ($root)/boot/k C }", true),
        ("menuentry a { linux (hd0,1)/boot/k C }", false),
        ("menuentry a { linux (hd1)/boot/k C }", false),
    ] {
        let found = boot(&systems.first(config));
        let kernel = found.as_ref().ok().map(|boot| (boot.kernel.partition, boot.kernel.path.as_str()));
        assert_eq!(kernel, is_found.then_some((None, "/boot/k")), "{config} {found:?}");
    }
}

/// What GRUB itself would start: its emulator runs the configuration, and functions stand for the commands that it
/// lacks and tell with what they were called.
fn by_grub(folder: &Folder, disk: &Path) -> Option<Chosen> {
    const FUNCTIONS: &str = "function linux { echo \"@L|$root|$@|\"; }\nfunction initrd { echo \"@I|$root|$@|\"; }\n\
                             set root=hd0,gpt1\nset prefix=(hd0,gpt1)/boot/grub\nconfigfile $prefix/grub.cfg\n";
    write(&folder.path("emu/grub.cfg"), FUNCTIONS);
    write(&folder.path("map"), format!("(hd0) {}\n", disk.display()));
    let mut emulator = Command::new("grub-emu")
        .args(["-m".as_ref(), folder.path("map").as_os_str(), "-d".as_ref(), folder.path("emu").as_os_str()])
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = emulator.stdout.take().unwrap();
    let (sender, received) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len) = output.read(&mut buffer) {
            if len == 0 || sender.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut text = String::new();
    // What is waited for comes within half a second; the emulator does not end by itself.
    while let Ok(bytes) = received.recv_timeout(Duration::from_secs(20)) {
        text.push_str(&String::from_utf8_lossy(&bytes));
        if ["Press any key", "highlighted", "BASH-like"].iter().any(|end| text.contains(end))
            || text.len() > 1 << 20
        {
            break;
        }
    }
    drop(received);
    emulator.kill().unwrap();
    emulator.wait().unwrap();
    reader.join().unwrap();
    parse_told(&text)
}

/// The first entry's last kernel and its initial RAM disks, out of what the functions told.
fn parse_told(text: &str) -> Option<Chosen> {
    let first = text.split("  Booting `").find(|entry| entry.contains("@L|"))?;
    // The emulator breaks lines at the width of its screen.
    let joined: String = first.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let mut found: Option<Chosen> = None;
    for told in joined.split('@').skip(1) {
        let mut parts = told.split('|');
        let (kind, device, words) = (parts.next()?, parts.next()?, parts.next()?);
        let place = |word: &str| {
            let (device, path) =
                word.strip_prefix('(').and_then(|rest| rest.split_once(')')).unwrap_or((device, word));
            let number = device.trim_start_matches("hd0,").trim_start_matches(char::is_alphabetic);
            (number.parse().unwrap_or(0), path.to_owned())
        };
        match (kind, &mut found) {
            ("L", _) => {
                let (path, line) = words.split_once(' ').unwrap_or((words, ""));
                found = Some((vec![place(path)], line.trim_start_matches(C).trim_start().to_owned()));
            }
            ("I", Some((files, _))) => {
                files.truncate(1);
                files.extend(words.split(' ').map(place));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn grub_itself_agrees() {
    let Some(systems) = Systems::new(&["mke2fs", "sfdisk", "grub-emu"]) else { return };
    let mut wrong = Vec::new();
    for case in CASES {
        let disk = systems.disk(case.config);
        let (files, line) = in_words(chosen(&boot(&disk).unwrap()));
        // GRUB's `echo` shows words as they are, and a kernel's command line has them escaped.
        let found = Some((files, line.replace("\\\\", "\\")));
        let told = by_grub(&systems.folder, &disk).map(in_words);
        if found != told {
            wrong.push(format!("{}: {found:?} is not {told:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn any_words_come_to_an_end() {
    const WORDS: &[&str] = &[
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "while",
        "until",
        "for",
        "in",
        "do",
        "done",
        "function",
        "f",
        "{",
        "}",
        ";",
        "\n",
        "menuentry",
        "submenu",
        "m",
        "linux",
        "initrd",
        "/boot/k",
        "(hd0,gpt2)/boot/k",
        "(",
        ")",
        "[",
        "]",
        "true",
        "false",
        "!",
        "-f",
        "=",
        "set",
        "a=$a$a",
        "x=1",
        "$x",
        "\"$@\"",
        "'",
        "\"",
        "configfile",
        "source",
        "$prefix/grub.cfg",
        "$prefix/more.cfg",
        "eval",
        "load_env",
        "search",
        "--file",
        "--set=root",
        "/only",
        "break",
        "continue",
        "return",
        "boot",
        "default=m",
        "blscfg",
        "export",
        "é",
        "\\",
        "&",
        "#",
    ];
    let Some(systems) = Systems::new(&["mke2fs", "sfdisk"]) else { return };
    for seed in 0..24 {
        let words = noise(seed, 3000).into_iter().map(|byte| WORDS[usize::from(byte) % WORDS.len()]);
        let config = words.collect::<Vec<_>>().join(" ");
        // What comes of it is of no interest, but that it comes.
        let _ = boot(&systems.disk(&config));
    }
}
