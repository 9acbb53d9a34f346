//! `yagura image` and machines made of images, as a person uses them.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use test_guests::{entries, linux_image};
use vm_spec::MachineRecord;

/// What the guest finds in its initrd and writes to the exit port.
const FOUND: u8 = 0x5a;
/// The exit status of a machine whose guest wrote that.
const FOUND_STATUS: i32 = ((FOUND as i32) << 1) | 1;

/// The same for an entry that is to be started once.
const ONCE: u8 = 0x33;
const ONCE_STATUS: i32 = ((ONCE as i32) << 1) | 1;

/// A folder with a store of its own, and no home to take keys from.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn yagura(&self, text: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
        command.args(text.split_whitespace()).current_dir(self.0.path()).env_remove("YAGURA_LOG");
        command.env("YAGURA_DIR", self.path("store")).env("HOME", self.path("home"));
        command.env_remove("XDG_CONFIG_HOME").output().unwrap()
    }

    #[track_caller]
    fn good(&self, text: &str) -> String {
        let output = self.yagura(text);
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, text: &str) -> Value {
        serde_json::from_str(&self.good(text)).unwrap()
    }

    /// One line of complaint, with these words in it.
    #[track_caller]
    fn bad(&self, text: &str, status: i32, words: &[&str]) {
        let output = self.yagura(text);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}: {line}");
        assert_eq!(line.lines().count(), 1, "{text}: {line}");
        for word in words {
            assert!(line.contains(word), "{text}: {word} is not in {line}");
        }
    }

    /// A file system with a kernel that ends its machine, or nothing where there is no mke2fs.
    fn disk(&self, name: &str) -> Option<PathBuf> {
        let tree = self.path("tree");
        fs::create_dir_all(tree.join("boot")).unwrap();
        fs::create_dir_all(tree.join("etc/kernel")).unwrap();
        fs::write(tree.join("boot/vmlinuz-1.0"), linux_image(entries::linux_entry_64(), true)).unwrap();
        fs::write(tree.join("boot/initrd.img-1.0"), [FOUND; 5000]).unwrap();
        fs::write(tree.join("etc/os-release"), "ID=tiny\nVERSION_ID=7\nPRETTY_NAME=\"Tiny 7\"\n").unwrap();
        let disk = self.path(name);
        let path = std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin";
        let mut command = Command::new("mke2fs");
        command.env("PATH", path).args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&disk).arg("16M");
        let made = command.status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mke2fs here");
            return None;
        }
        Some(disk)
    }
}

fn room(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.map(|file| file.blocks() * 512).sum()
}

#[test]
fn an_image_comes_is_shown_goes_out_and_goes() {
    let place = Place::new();
    let Some(disk) = place.disk("tiny.raw") else { return };
    assert!(place.good("image list").contains("no images yet"));
    place.good("image import tiny.raw --alias my/tiny --first-boot none");
    let list = place.json("image list -f json");
    assert_eq!((&list[0]["names"], &list[0]["disk_bytes"]), (&"my/tiny".into(), &(16 << 20).into()));
    assert_eq!(list[0]["description"], "Tiny 7");
    let about = &place.json("image show my/tiny -f json")["metadata"];
    assert_eq!(
        (&about["description"]["os"], &about["description"]["release"]),
        (&"tiny".into(), &"7".into())
    );
    assert_eq!(about["boot"]["way"], "from-disk");
    // The same disk again is the same blob, whatever it was packed in; another name is another name.
    assert!(
        Command::new("gzip").args(["-k", "tiny.raw"]).current_dir(place.0.path()).status().unwrap().success()
    );
    place.good("image import tiny.raw.gz --alias my/packed --first-boot none");
    let blob = |name: &str| place.json(&format!("image show {name} -f json"))["metadata"]["disk"].clone();
    assert_eq!(blob("my/packed"), blob("my/tiny"));
    place.good("image delete my/packed");
    place.good("image alias other my/tiny");
    assert_eq!(place.json("image list -f json")[0]["names"], "my/tiny, other");
    place.good("image export my/tiny out.qcow2");
    place.good("disk convert out.qcow2 back.raw --from qcow2 --to raw");
    assert_eq!(fs::read(place.path("back.raw")).unwrap(), fs::read(disk).unwrap());
    place.good("image export my/tiny out.raw --disk-format raw");
    place.bad("image export my/tiny out.raw", 1, &["out.raw exists already"]);
    place.good("image verify");
    place.good("image delete my/tiny");
    place.good("image gc");
    assert!(place.good("image list -f csv").lines().count() == 1);
    assert_eq!(fs::read_dir(place.path("store/blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn a_machine_of_an_image_keeps_its_disk_until_it_is_deleted() {
    let place = Place::new();
    let Some(_) = place.disk("tiny.raw") else { return };
    place.good("image import tiny.raw --alias my/tiny --first-boot none");
    let run = "run --image my/tiny --engine soft --net none --console none --debug-exit 0xf4 --on-reset exit";
    let output = place.yagura(&format!("{run} --name web1 --disk-size 64M"));
    assert_eq!(output.status.code(), Some(FOUND_STATUS), "{output:?}");
    let list = place.json("list -f json");
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"web1".into(), &"stopped".into()));
    assert_eq!(list[0]["disk_bytes"], 64 << 20);
    let folder = place.path("store/instances/web1");
    assert!(room(&folder) <= 64 << 10, "{} bytes", room(&folder));
    // A second time with the same disk; a third that is gone afterwards.
    assert_eq!(place.yagura(&format!("{run} --name web1")).status.code(), Some(FOUND_STATUS));
    place.bad(&format!("{run} --name web1 --disk-size 1G"), 1, &["web1 is there already", "--disk-size"]);
    assert_eq!(place.yagura(&format!("{run} --name gone --rm")).status.code(), Some(FOUND_STATUS));
    assert_eq!(place.json("list -f json").as_array().unwrap().len(), 1);
    // Its image's blob stays as long as the machine needs it.
    place.good("image delete my/tiny");
    place.good("image gc");
    assert_eq!(fs::read_dir(place.path("store/blobs/sha256")).unwrap().count(), 1);
    assert_eq!(place.yagura(&format!("{run} --name web1")).status.code(), Some(FOUND_STATUS));
    place.good("delete web1");
    place.good("image gc");
    assert_eq!(fs::read_dir(place.path("store/blobs/sha256")).unwrap().count(), 0);
    place.bad("delete web1", 3, &["web1"]);
}

impl Place {
    /// What is recorded of a VM's machine.
    fn machine(&self, name: &str) -> MachineRecord {
        let path = self.path("store/instances").join(name).join("machine.json");
        MachineRecord::from_json(&fs::read(path).unwrap()).unwrap()
    }
}

/// Slots of the devices, as `3 disk2`.
fn slots(record: &MachineRecord) -> Vec<String> {
    record.blueprint.devices.iter().map(|device| format!("{} {}", device.slot, device.id)).collect()
}

#[test]
fn an_instance_is_the_same_machine_at_each_start() {
    let place = Place::new();
    let Some(_) = place.disk("tiny.raw") else { return };
    place.good("image import tiny.raw --alias my/tiny --first-boot none");
    for name in ["a.img", "b.img"] {
        fs::File::create(place.path(name)).unwrap().set_len(1 << 20).unwrap();
    }
    let run = "run --image my/tiny --engine soft --net none --console none --debug-exit 0xf4 --on-reset exit --name web1";
    let start = |disks: &str| {
        let output = place.yagura(&format!("{run} {disks}"));
        assert_eq!(output.status.code(), Some(FOUND_STATUS), "{output:?}");
        place.machine("web1")
    };
    let whole = start("--disk path=a.img --disk path=b.img");
    assert_eq!(slots(&whole), ["1 disk-root", "2 disk1", "3 disk2", "4 rng0"]);
    assert!(whole.ended.is_some() && whole.spec.disks.iter().all(|disk| disk.path.is_absolute()));
    let identity = || fs::read_to_string(place.path("store/instances/web1/instance.json")).unwrap();
    let record = identity();
    for _ in 0..2 {
        let less = start("--disk path=b.img");
        assert_eq!(slots(&less), ["1 disk-root", "3 disk2", "4 rng0"]);
        assert_eq!(less.blueprint.cpuid, whole.blueprint.cpuid);
    }
    assert_eq!(slots(&start("--disk path=a.img --disk path=b.img")).len(), 4);
    assert_eq!(identity(), record);
    // What cannot be used is told, and left as it is.
    let machine = place.path("store/instances/web1/machine.json");
    let good = fs::read(&machine).unwrap();
    fs::write(&machine, &good[..good.len() / 2]).unwrap();
    place.bad(run, 1, &["VM web1", "machine.json", "move it away", "damaged"]);
    assert_eq!(fs::read(&machine).unwrap(), good[..good.len() / 2]);
    fs::write(&machine, good).unwrap();
    let path = place.path("store/instances/web1/instance.json");
    fs::write(&path, record.replace("web1", "web2")).unwrap();
    place.bad(run, 1, &["VM web1", "instance.json", "is of instance web2", "move it away"]);
    // As an earlier version left it.
    fs::remove_file(&path).unwrap();
    fs::remove_file(&machine).unwrap();
    assert_eq!(slots(&start("")), ["1 disk-root", "2 rng0"]);
    assert_ne!(identity(), record);
}

/// As with firmware, where GRUB takes `next_entry` off the disk when it starts it.
#[test]
fn an_entry_for_one_start_is_started_once() {
    let place = Place::new();
    let grub = place.path("tree/boot/grub");
    fs::create_dir_all(&grub).unwrap();
    let config = "load_env\nif [ \"${next_entry}\" ]; then\n set default=\"${next_entry}\"\n set next_entry=\n \
        save_env next_entry\nfi\nmenuentry usual { linux /boot/vmlinuz-1.0\n initrd /boot/initrd.img-1.0 }\n\
        menuentry rescue { linux /boot/vmlinuz-1.0\n initrd /boot/once.img }\n";
    fs::write(grub.join("grub.cfg"), config).unwrap();
    fs::write(grub.join("grubenv"), "# GRUB Environment Block\nnext_entry=rescue\n#######").unwrap();
    fs::write(place.path("tree/boot/once.img"), [ONCE; 5000]).unwrap();
    let Some(_) = place.disk("tiny.raw") else { return };
    place.good("image import tiny.raw --alias my/tiny --first-boot none");
    let run = "run --engine soft --net none --console none --debug-exit 0xf4 --on-reset exit --image my/tiny";
    for name in ["a", "b"] {
        let once = place.yagura(&format!("{run} --name {name}"));
        assert_eq!(once.status.code(), Some(ONCE_STATUS), "{once:?}");
        let said = String::from_utf8(once.stderr).unwrap();
        assert!(
            said.contains(&format!("VM {name}: ")) && said.contains("'rescue' is started this once"),
            "{said}"
        );
        for _ in 0..2 {
            let again = place.yagura(&format!("{run} --name {name}"));
            assert_eq!(again.status.code(), Some(FOUND_STATUS), "{again:?}");
            assert!(again.stderr.is_empty(), "{again:?}");
        }
    }
}

/// A machine of an image and one without: whoever has the name keeps it, and nothing is made for the other.
#[test]
fn a_name_that_runs_is_refused_before_anything_is_made() {
    let place = Place::new();
    let Some(_) = place.disk("tiny.raw") else { return };
    place.good("image import tiny.raw --alias my/tiny --first-boot none");
    let sleeper = test_guests::pvh_elf(test_guests::guests::sleeper(), test_guests::guests::LOAD_ADDRESS);
    fs::write(place.path("sleeper"), sleeper).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
    command.args(["run", "--engine", "soft", "--memory", "8M", "--name", "web1", "--console", "file=log"]);
    command.arg("--kernel").arg(place.path("sleeper")).current_dir(place.0.path());
    let mut child = command.env("YAGURA_DIR", place.path("store")).spawn().unwrap();
    while !fs::read(place.path("log")).is_ok_and(|log| log == b"!") {
        assert!(child.try_wait().unwrap().is_none(), "it runs");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let run = "run --image my/tiny --engine soft --net none --console none --name web1";
    place.bad(run, 1, &["VM web1 runs already; --name gives another one a name of its own"]);
    place.bad(&format!("{run} --rm"), 1, &["VM web1 runs already"]);
    assert!(!place.path("store/instances/web1").exists());
    let list = place.json("list -f json");
    assert_eq!(
        (&list[0]["name"], &list[0]["state"], &list[0]["image"]),
        (&"web1".into(), &"running".into(), &Value::Null)
    );
    place.good("stop --force web1");
    assert_eq!(child.wait().unwrap().code(), Some(10));
    let run = "run --image my/tiny --engine soft --net none --console none --debug-exit 0xf4 --on-reset exit";
    assert_eq!(place.yagura(&format!("{run} --name web1")).status.code(), Some(FOUND_STATUS));
}

#[test]
fn an_instance_becomes_an_image() {
    let place = Place::new();
    let Some(_) = place.disk("tiny.raw") else { return };
    place.good("image import tiny.raw --alias my/tiny --first-boot none");
    let run = "run --engine soft --net none --console none --debug-exit 0xf4 --on-reset exit";
    assert_eq!(place.yagura(&format!("{run} --image my/tiny --name a")).status.code(), Some(FOUND_STATUS));
    place.good("image publish a --alias mine");
    assert_eq!(place.yagura(&format!("{run} --image mine --name b")).status.code(), Some(FOUND_STATUS));
    place.bad("image publish nobody", 3, &["nobody"]);
}

#[test]
fn damage_is_found() {
    let place = Place::new();
    let Some(_) = place.disk("tiny.raw") else { return };
    place.good("image import tiny.raw --alias my/tiny --first-boot none");
    let blob = fs::read_dir(place.path("store/blobs/sha256")).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[5 << 20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let output = place.yagura("image verify");
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("has changed") && words.contains("make it again"), "{words}");
    place.bad("run --image my/tiny --name web1", 1, &["web1"]);
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let place = Place::new();
    fs::write(place.path("noise.qcow2"), [7; 70000]).unwrap();
    fs::write(place.path("noise.vmdk"), [7; 70000]).unwrap();
    fs::write(place.path("noise.vhdx"), [7; 70000]).unwrap();
    fs::write(place.path("noise.tar"), [7; 70000]).unwrap();
    fs::write(place.path("noise.raw.xz"), [7; 70000]).unwrap();
    fs::write(place.path("recipe.toml"), "name = 1\n").unwrap();
    fs::write(place.path("user.yaml"), "#cloud-config\nsnap: {}\n").unwrap();
    place.good("disk create base.qcow2 --size 1M");
    place.good("disk create front.qcow2 --backing base.qcow2 --backing-format qcow2");
    let cases: [(&str, i32, &[&str]); 20] = [
        ("run --image a --disk-on-error puase", 2, &["did you mean 'pause'?"]),
        ("run --kernel a --disk-on-error report", 2, &["--image"]),
        ("image import noise.qcow2", 1, &["noise.qcow2"]),
        ("image import noise.vmdk", 1, &["noise.vmdk"]),
        ("image import noise.vhdx", 1, &["noise.vhdx"]),
        ("image import noise.tar", 1, &["OCI"]),
        ("image import noise.raw.xz", 1, &["noise.raw.xz"]),
        ("image import front.qcow2", 1, &["front.qcow2", "backing file", "disk convert"]),
        ("image import missing.raw", 1, &["missing.raw"]),
        ("image import file.img", 1, &["file.img"]),
        ("image import noise.qcow2 --alias ../x", 2, &["../x"]),
        ("image show nothing/1", 3, &["nothing/1"]),
        ("image show /etc/passwd", 2, &["/etc/passwd"]),
        ("image pull debain/12", 3, &["debain/12", "debian/12"]),
        ("image pull ftp://127.0.0.1/x.raw", 1, &["ftp"]),
        ("image pull oci:", 1, &["oci:"]),
        ("image build nothing", 3, &["nothing", "debian/12"]),
        ("image build --recipe recipe.toml", 1, &["recipe.toml", "line 1"]),
        ("run --image nothing/1", 1, &["nothing/1"]),
        ("run --user-data user.yaml --kernel x", 2, &["--image"]),
    ];
    for (text, status, words) in cases {
        place.bad(text, status, words);
    }
    let output = place.yagura("image pull http://127.0.0.1:1/x.raw");
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words.contains("attempt 2 comes") && words.lines().last().unwrap().contains("refuses"),
        "{words}"
    );
    assert!(place.good("image list").contains("no images yet"), "nothing half-made stays");
}

#[test]
fn user_data_is_refused_before_there_is_a_machine() {
    let place = Place::new();
    let Some(_) = place.disk("tiny.raw") else { return };
    fs::write(place.path("user.yaml"), "#cloud-config\nsnap: {}\n").unwrap();
    place.good("image import tiny.raw --alias my/tiny --first-boot service");
    place.bad("run --image my/tiny --name a --user-data user.yaml", 1, &["line 2", "'snap'"]);
    place.bad("run --image my/tiny --name a --disk-size 1M", 1, &["a"]);
    place.bad("run --image my/tiny --name Web_1", 2, &["Web_1"]);
    assert_eq!(place.json("list -f json").as_array().unwrap().len(), 0);
}

/// Both readers of the first boot: an image with cloud-init, and one with the service of ours.
const READERS: [&str; 2] = ["my/cloud", "my/service"];
const RUN: &str = "--engine soft --net none --console none --debug-exit 0xf4 --on-reset exit";

impl Place {
    fn with_readers() -> Option<Place> {
        let place = Place::new();
        place.disk("tiny.raw")?;
        place.good("image import tiny.raw --alias my/cloud --first-boot cloud-init");
        place.good("image import tiny.raw --alias my/service --first-boot service --user ann");
        Some(place)
    }
}

#[test]
fn secrets_in_the_wrong_place_are_neither_handed_on_nor_repeated() {
    let Some(place) = Place::with_readers() else { return };
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n";
    let cases: [(&str, &str, &str); 8] = [
        ("--ssh-key", private, "this is a private key"),
        ("--ssh-key", "PuTTY-User-Key-File-3: ssh-ed25519\nhunter2\n", "this is a private key"),
        ("--ssh-key", "hunter2\n", "line 1 is not an SSH public key"),
        ("--ssh-key", "ssh-ed25519 hunter2 me\n", "line 1 is not an SSH public key"),
        ("--user-data", private, "this is a private key"),
        ("--user-data", "password: hunter2\n", "put the line '#cloud-config'"),
        ("--user-data", "#cloud-config\npassword: [hunter2\n", "line "),
        ("--user-data", "#cloud-config\n- hunter2\n", "the document is a list"),
    ];
    for image in READERS {
        for (option, text, expected) in cases {
            fs::write(place.path("secret"), text).unwrap();
            let output =
                place.yagura(&format!("run --image {image} --name a {option} secret {RUN} --log trace"));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(expected) && !said.contains("hunter2"), "{image} {option}: {said}");
        }
    }
    fs::write(place.path("secret.pub"), "x").unwrap();
    fs::write(place.path("secret"), private).unwrap();
    place.bad("run --image my/cloud --name a --ssh-key secret", 1, &["did you mean secret.pub?"]);
    assert_eq!(place.json("list -f json").as_array().unwrap().len(), 0);
}

#[test]
fn user_data_of_all_kinds_reaches_the_machine_and_comes_by_standard_input_too() {
    use std::io::Write;
    let Some(place) = Place::with_readers() else { return };
    let message = "From x\nMIME-Version: 1.0\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho\n";
    let large = format!("#!/bin/sh\n# {}\n", "x".repeat(3 << 20));
    let kinds = [
        "#Cloud-Config\r\nhostname: a\r\n",
        "#!/bin/sh\r\necho\r\n",
        message,
        &large,
        "#cloud-config\nhostname: 10\n",
    ];
    for image in READERS {
        for (index, text) in kinds.iter().enumerate() {
            let line = format!("run --image {image} --name m{index} --rm --user-data - {RUN}");
            let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
            command.args(line.split_whitespace()).current_dir(place.0.path()).env_remove("YAGURA_LOG");
            command.env("YAGURA_DIR", place.path("store")).env("HOME", place.path("home"));
            command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(FOUND_STATUS), "{said}");
            assert!(said.contains("nobody will be able to log in"), "{said}");
        }
    }
}

#[test]
fn no_password_in_an_address_is_shown_or_kept() {
    let place = Place::new();
    for (text, expected) in [
        ("image pull http://me:hunter2@127.0.0.1:1/x.raw", "image http://127.0.0.1:1/x.raw: "),
        (
            "image pull http://me:hunter2@127.0.0.1:1/x.raw?token=hunter2",
            "image http://127.0.0.1:1/x.raw?...: ",
        ),
        ("image pull http://me:hunter2@127.0.0.1:99999/x.raw", "127.0.0.1:99999"),
        ("image pull http://me:hunter2@127.0.0.1:1/x.img", "image http://127.0.0.1:1/x.img: "),
        ("image pull oci:me:hunter2@127.0.0.1:1/x:1", "before the host no user or password"),
    ] {
        let output = place.yagura(text);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && !said.contains("hunter2") && said.contains(expected),
            "{text}: {said}"
        );
    }
    // What ps shows while it waits for the next attempt.
    let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
    command
        .args(["image", "pull", "http://me:hunter2@127.0.0.1:1/x.raw"])
        .env("YAGURA_DIR", place.path("store"));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut first).unwrap();
    let shown = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("127.0.0.1") && !shown.contains("hunter2"), "{shown}");
    let kept =
        Command::new("grep").args(["-r", "hunter2", "store"]).current_dir(place.0.path()).output().unwrap();
    assert!(kept.stdout.is_empty(), "{kept:?}");
}
