//! What a person gets to see who gives `yagura` something that it cannot use: one clear line, an exit status
//! that is not 0, and files as they were.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use test_guests::{guests, pvh_elf};

/// Longer than any of these commands takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(20);
/// A file that nobody may write, root neither, and that is not empty.
const UNWRITABLE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

/// What cannot be understood, the exit status, and what the line has to say. `DIR` stands for a folder with
/// the files of [`Files`].
type Case = (&'static str, u8, &'static [&'static str]);

/// Mistakes on the command line.
const USAGE: &[Case] = &[
    ("docter", 2, &["'docter'", "'doctor'"]),
    ("run", 2, &["--kernel"]),
    ("run --kernel", 2, &["--kernel"]),
    ("run --kernel DIR/good --memry 1G", 2, &["'--memry'", "'--memory'"]),
    ("run --kernel DIR/good extra", 2, &["'extra'"]),
    ("run --kernel DIR/good --cpus 0", 2, &["--cpus", "0 CPUs: a VM has 1 to 64"]),
    ("run --kernel DIR/good --cpus 65", 2, &["65 CPUs: a VM has 1 to 64"]),
    ("run --kernel DIR/good --cpus -1", 2, &["'-1' is not a number of CPUs"]),
    ("run --kernel DIR/good --memory 512", 2, &["'512' has no unit; write 512M or 4G"]),
    ("run --kernel DIR/good --memory 12X", 2, &["'12X' is not a memory size"]),
    ("run --kernel DIR/good --memory 0M", 2, &["0M of memory", "at least 1M"]),
    ("run --kernel DIR/good --memory 99999999T", 2, &["more than any machine has"]),
    ("run --kernel DIR/good --name a/b", 2, &["'a/b' is not a name for a VM"]),
    ("run --kernel DIR/good --disk readonly", 2, &["has no path=FILE"]),
    ("run --kernel DIR/good --disk path=DIR/disk,readnly", 2, &["'readnly'", "did you mean 'readonly'"]),
    ("run --kernel DIR/good --disk path=DIR/disk,format=qcow", 2, &["'qcow'", "did you mean 'qcow2'"]),
    ("disk create", 2, &["<PATH>"]),
    ("disk create DIR/new", 2, &["--size"]),
    ("disk create DIR/new --size 10", 2, &["'10' has no unit"]),
    ("disk create DIR/new --size 10G --disk-format vmdk", 2, &["'vmdk' is not a disk format"]),
    ("disk create DIR/new --size 10G --backing DIR/disk", 2, &["--backing-format"]),
    ("disk info DIR/disk", 2, &["--disk-format"]),
    ("disk convert DIR/disk DIR/new --from raw", 2, &["--to"]),
    ("disk resize DIR/disk --disk-format raw", 2, &["<SIZE>"]),
    ("run --kernel DIR/good --net tap=t,mac=52:54", 2, &["'52:54' is not a MAC address"]),
    ("run --kernel DIR/good --net tap=t,mac=ff:ff:ff:ff:ff:ff", 2, &["is not that of one card"]),
    ("run --kernel DIR/good --net tap=a-name-that-is-too-long", 2, &["not a name for a network interface"]),
    ("run --kernel DIR/good --console tty", 2, &["write stdio, file=PATH[,mode=MODE], socket=PATH or none"]),
    ("run --kernel DIR/good --engine hard", 2, &["'hard' is not an engine"]),
    ("run --kernel DIR/good --cpu-model pentium", 2, &["unknown CPU model 'pentium'", "x86-64-v3"]),
    ("run --kernel DIR/good --on-reset explode", 2, &["'explode'", "restart, exit"]),
    (
        "run --kernel DIR/good --boot-protocol multibot",
        2,
        &["'multibot' is not a boot protocol", "did you mean 'multiboot'"],
    ),
    ("run --kernel DIR/good --module =x", 2, &["module '=x' names no file"]),
    ("run --kernel DIR/good --debug-exit 0x10000", 2, &["'0x10000' is not a port"]),
    ("run --kernel DIR/good --merge maybe", 2, &["'maybe' is neither on nor off"]),
    ("--log loud doctor", 2, &["--log", "'loud'"]),
    ("doctor -f yaml", 2, &["'yaml'", "json"]),
];

/// Mistakes in a configuration file, or between settings.
const SETTINGS: &[Case] = &[
    ("run --config DIR/none.toml", 1, &["DIR/none.toml cannot be read", "No such file"]),
    ("run --config DIR", 1, &["DIR cannot be read", "directory"]),
    (
        "run --config DIR/key.toml",
        1,
        &["DIR/key.toml, line 2", "unknown key 'memry'", "did you mean 'memory'"],
    ),
    ("run --config DIR/type.toml", 1, &["DIR/type.toml, line 3", "memory", "write memory = \"512M\""]),
    ("run --config DIR/value.toml", 1, &["DIR/value.toml, line 2", "0 CPUs: a VM has 1 to 64"]),
    ("run --config DIR/syntax.toml", 1, &["DIR/syntax.toml, line 1"]),
    ("run --config DIR/nokernel.toml", 1, &["no kernel is given", "DIR/nokernel.toml"]),
    ("run --config DIR/text", 1, &["DIR/text, line 1"]),
    ("run --config DIR/zeros", 1, &["DIR/zeros is longer than 1 MiB"]),
    ("run --kernel DIR/good --disk path=DIR/disk --disk path=DIR/disk", 1, &["DIR/disk is given twice"]),
    ("run --kernel DIR/good --net tap=a --net tap=a", 1, &["tap a is given twice"]),
    ("run --kernel DIR/good --net none --net tap=a", 1, &["leave one of them out"]),
    (
        "run --kernel DIR/good --net tap=a,mac=52:54:00:00:00:01 --net tap=b,mac=52:54:00:00:00:01",
        1,
        &["tap b: two network cards with one MAC address"],
    ),
    ("run --kernel DIR/good --memory 15T", 1, &["15360G of memory: this host has", "less with --memory"]),
];

/// A host without a usable KVM.
const KVM: &[Case] = &[
    ("run --engine kvm --kernel DIR/good --kvm-device DIR/none", 1, &["DIR/none is not there", "kvm_amd"]),
    (
        "run --engine kvm --kernel DIR/good --kvm-device UNWRITABLE",
        1,
        &["may not be opened by this user", "group kvm"],
    ),
    ("run --engine kvm --kernel DIR/good --kvm-device /dev/null", 1, &["/dev/null does not answer as KVM"]),
];

/// Files and interfaces of the host that cannot be used. These are found out after KVM is opened.
const HOST: &[Case] = &[
    ("run --kernel DIR/none", 1, &["DIR/none", "No such file"]),
    ("run --kernel DIR/empty", 1, &["DIR/empty", "empty"]),
    ("run --kernel DIR", 1, &["DIR", "not a regular file"]),
    ("run --kernel DIR/text", 1, &["DIR/text", "not an x86 kernel"]),
    ("run --kernel DIR/zeros", 1, &["DIR/zeros", "not an x86 kernel"]),
    ("run --kernel DIR/truncated", 1, &["DIR/truncated", "truncated"]),
    ("run --kernel DIR/bzimage", 1, &["DIR/bzimage"]),
    ("run --kernel DIR/good --initrd DIR/none", 1, &["initrd DIR/none", "No such file"]),
    ("run --kernel DIR/good --initrd DIR/empty", 1, &["initrd DIR/empty", "empty"]),
    ("run --kernel DIR/good --memory 32M --initrd DIR/zeros", 1, &["initrd DIR/zeros", "free for it"]),
    ("run --kernel DIR/good --module DIR/none=x", 1, &["module DIR/none", "No such file"]),
    ("run --kernel DIR/good --memory 32M --module DIR/zeros", 1, &["module DIR/zeros", "free for it"]),
    ("run --kernel DIR/good --boot-protocol multiboot2", 1, &["DIR/good", "it has no Multiboot2 header"]),
    ("run --kernel DIR/good --boot-protocol linux --module DIR/text", 1, &["DIR/good takes no modules"]),
    ("run --kernel DIR/good --disk path=DIR/none", 1, &["disk DIR/none does not exist"]),
    ("run --kernel DIR/good --disk path=DIR", 1, &["disk DIR is a directory"]),
    ("run --kernel DIR/good --disk path=DIR/empty", 1, &["disk DIR/empty is empty", "truncate"]),
    ("run --kernel DIR/good --disk path=DIR/text", 1, &["disk DIR/text", "not a multiple of 512"]),
    ("run --kernel DIR/good --disk path=UNWRITABLE", 1, &["cannot be written", "readonly"]),
    (
        "run --kernel DIR/good --disk path=DIR/disk,format=qcow2",
        1,
        &["disk DIR/disk", "not begin as a qcow2"],
    ),
    (
        "run --kernel DIR/good --disk path=DIR/behind.qcow2,format=qcow2",
        1,
        &["DIR/behind.qcow2 names the backing file disk without saying"],
    ),
    ("run --kernel DIR/good --net tap=lo", 1, &["cannot open tap interface lo"]),
    ("run --kernel DIR/good --console file=DIR/none/log", 1, &["DIR/none/log", "No such file"]),
    ("run --kernel DIR/good --console socket=DIR/text", 1, &["DIR/text"]),
    ("run --kernel DIR/good --control DIR/text", 1, &["DIR/text"]),
    ("run --kernel DIR/good --control DIR/none/socket", 1, &["DIR/none/socket", "No such file"]),
    ("run --kernel DIR/good --debug-exit 0x3f8", 1, &["0x3f8"]),
];

/// Images that cannot be made or used.
const DISKS: &[Case] = &[
    ("disk create DIR/disk --size 10G", 1, &["DIR/disk exists already"]),
    ("disk create DIR/none/new --size 10G", 1, &["cannot make DIR/none/new", "No such file"]),
    ("disk create DIR/new --size 10G --cluster-size 1000B", 2, &["--cluster-size", "512 bytes"]),
    ("disk create DIR/new --size 10G --cluster-size 1536B", 1, &["DIR/new", "a cluster size of 1536 bytes"]),
    ("disk create DIR/new --size 10G --cluster-size 4M", 1, &["DIR/new", "512 to 2M"]),
    ("disk create DIR/new --size 10G --qcow2-version 2 --compression zstd", 1, &["DIR/new", "version 2"]),
    ("disk create DIR/new --size 10G --disk-format raw --compression zstd", 1, &["raw", "--compression"]),
    ("disk create DIR/new --size 900P", 1, &["DIR/new", "a disk of"]),
    ("disk create DIR/new --backing DIR/none --backing-format raw", 1, &["DIR/none does not exist"]),
    ("disk create DIR/new --backing DIR/disk --backing-format qcow2", 1, &["DIR/disk", "as a qcow2 image"]),
    ("disk info DIR/none --disk-format raw", 1, &["DIR/none does not exist"]),
    ("disk info DIR/disk --disk-format qcow2", 1, &["DIR/disk", "not begin as a qcow2 image does"]),
    ("disk check DIR/disk", 1, &["DIR/disk", "not begin as a qcow2 image does"]),
    ("disk check DIR/sound.qcow2 --repair leaks --kvm", 2, &["'--kvm'"]),
    ("disk resize DIR/disk 1K --disk-format raw", 1, &["DIR/disk has 4096 bytes", "smaller"]),
    ("disk resize DIR/sound.qcow2 1K --disk-format qcow2", 1, &["DIR/sound.qcow2 has", "smaller"]),
    ("disk convert DIR/disk DIR/text --from raw --to qcow2", 1, &["DIR/text exists already"]),
    ("disk convert DIR/disk DIR/new --from qcow2 --to raw", 1, &["DIR/disk", "as a qcow2 image"]),
    ("disk convert DIR/disk DIR/new --from raw --to raw --compress", 1, &["raw", "--compress"]),
    ("disk convert DIR/behind.qcow2 DIR/new --from qcow2 --to raw", 1, &["without saying"]),
    ("disk map DIR --disk-format raw", 1, &["DIR is a directory"]),
];

/// A folder of things that are no good, and a kernel and a disk that are.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files { folder: tempfile::tempdir().unwrap() };
        let write = |name: &str, bytes: &[u8]| fs::write(files.path(name), bytes).unwrap();
        let good = pvh_elf(guests::hello(), guests::LOAD_ADDRESS);
        write("good", &good);
        write("sleeper", &pvh_elf(guests::sleeper(), guests::LOAD_ADDRESS));
        write("truncated", &good[..100]);
        write("bzimage", &truncated_bzimage());
        write("empty", b"");
        write("text", b"This is not a kernel.\n");
        write("disk", &[0; 4096]);
        let options = disk::CreateOptions::new(1 << 20);
        disk::create_qcow2(&files.path("sound.qcow2"), &options).unwrap();
        let backing = Some(disk::BackingName { path: "disk".into(), format: None });
        disk::create_qcow2(&files.path("behind.qcow2"), &disk::CreateOptions { backing, ..options }).unwrap();
        write("key.toml", b"kernel = \"good\"\nmemry = \"1G\"\n");
        write("type.toml", b"kernel = \"good\"\n\nmemory = 512\n");
        write("value.toml", b"kernel = \"good\"\ncpus = 0\n");
        write("syntax.toml", b"kernel = \n");
        write("nokernel.toml", b"cpus = 2\n");
        File::create(files.path("zeros")).unwrap().set_len(64 << 20).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts real paths into what a case says.
    fn fill_in(&self, text: &str) -> String {
        text.replace("DIR", self.folder.path().to_str().unwrap()).replace("UNWRITABLE", UNWRITABLE)
    }

    /// Name, length and time of last change of everything.
    fn state(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| {
                let metadata = entry.metadata().unwrap();
                (entry.path(), (metadata.len(), metadata.modified().unwrap()))
            })
            .collect()
    }
}

/// The first sector and a setup header that promises more (Linux, `Documentation/arch/x86/boot.rst`).
fn truncated_bzimage() -> Vec<u8> {
    let mut image = vec![0; 0x280];
    image[0x1f1] = 4;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    image
}

fn yagura(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("YAGURA_LOG");
    command
}

/// Waits for the end, for no longer than [`LIMIT`].
fn output(mut child: Child) -> Output {
    let end = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("it hangs: {output:?}");
        }
        sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// Runs a command line; a VM runs on the engine that is everywhere, unless it asks for another.
fn run(text: &str) -> Output {
    let mut arguments: Vec<&str> = text.split_whitespace().collect();
    if text.starts_with("run --") && !text.contains("--engine") && !text.contains("--help") {
        arguments.splice(1..1, ["--engine", "soft"]);
    }
    output(yagura(&arguments).spawn().unwrap())
}

/// Runs a case and answers what is wrong with how it was taken.
fn complaint(files: &Files, case: &Case) -> Option<String> {
    let (text, status, fragments) = case;
    let before = files.state();
    let Output { status: ended, stdout, stderr } = run(&files.fill_in(text));
    let said = String::from_utf8_lossy(&stderr);
    let missing: Vec<String> = fragments.iter().map(|fragment| files.fill_in(fragment)).collect();
    let missing: Vec<&String> = missing.iter().filter(|fragment| !said.contains(*fragment)).collect();
    let wrong = match () {
        () if ended.code() != Some((*status).into()) => format!("ended with {ended}, not {status}"),
        () if said.contains("panicked") => "panicked".to_owned(),
        () if said.lines().count() != 1 || !said.starts_with("yagura: ") => "is not one line".to_owned(),
        () if !missing.is_empty() => format!("does not say {missing:?}"),
        () if !stdout.is_empty() => format!("wrote to stdout: {}", String::from_utf8_lossy(&stdout)),
        () if files.state() != before => "changed a file".to_owned(),
        () => return None,
    };
    Some(format!("`yagura {text}` {wrong}\n    {said}"))
}

fn check(cases: &[Case]) {
    let files = Files::new();
    let wrong: Vec<String> = cases.iter().filter_map(|case| complaint(&files, case)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn mistakes_on_the_command_line() {
    check(USAGE);
}

#[test]
fn mistakes_in_settings() {
    check(SETTINGS);
}

#[test]
fn a_host_without_kvm() {
    check(KVM);
}

#[test]
fn files_and_interfaces_that_cannot_be_used() {
    check(HOST);
}

#[test]
fn images_that_cannot_be_made_or_used() {
    check(DISKS);
}

#[test]
fn a_log_level_that_is_none() {
    let output = output(yagura(&["doctor"]).env("YAGURA_LOG", "loud").spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("YAGURA_LOG: 'loud' is not a log level") && said.lines().count() == 1);
}

#[test]
fn help_and_version_are_no_errors() {
    for (text, fragment) in
        [("--version", "yagura 0."), ("--help", "Examples:"), ("run --help", "console=ttyS0 panic=-1")]
    {
        let output = run(text);
        assert!(output.status.success() && output.stderr.is_empty(), "{text}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(fragment), "{text}");
    }
}

#[test]
fn without_a_subcommand_there_is_help() {
    let output = run("");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && String::from_utf8(output.stderr).unwrap().contains("Examples:"));
}

#[test]
fn doctor_says_whether_vms_can_run() {
    let output = run("doctor -f json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), json["can_run"] == true);
    assert!(json["kvm"]["hardware"].is_boolean() && json["rows"].as_array().unwrap().len() > 10);
    let table = run("doctor --kvm-device /nowhere/kvm");
    assert_eq!(table.status.code(), Some(0), "the software engine runs without it");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("/nowhere/kvm is not there") && table.contains("software engine"), "{table}");
}

/// A VM that is running; killed at the end.
struct Sleeper(Child);

impl Sleeper {
    fn start(files: &Files, more: &str) -> Sleeper {
        let text = format!("run --engine soft --name sleeper --memory 8M --kernel DIR/sleeper {more}");
        let text = files.fill_in(&text);
        let arguments: Vec<&str> = text.split_whitespace().collect();
        let child = yagura(&arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut sleeper = Sleeper(child);
        let end = Instant::now() + LIMIT;
        while fs::read(files.path("log")).is_ok_and(|log| log != b"!") || !files.path("log").exists() {
            if let Some(status) = sleeper.0.try_wait().unwrap() {
                let mut said = String::new();
                let stderr = sleeper.0.stderr.as_mut().unwrap();
                std::io::Read::read_to_string(stderr, &mut said).unwrap();
                panic!("the VM ended with {status}: {said}");
            }
            assert!(Instant::now() < end, "the VM does not start");
            sleep(Duration::from_millis(2));
        }
        sleeper
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_another_vm_uses() {
    let files = Files::new();
    let sleeper = Sleeper::start(&files, "--console file=DIR/log --disk path=DIR/disk --control DIR/control");
    let proc = Path::new("/proc").join(sleeper.0.id().to_string());
    let title = fs::read(proc.join("cmdline")).unwrap();
    assert_eq!(String::from_utf8_lossy(&title).trim_end_matches('\0'), "yagura: sleeper");
    assert_eq!(fs::read_to_string(proc.join("comm")).unwrap(), "yagura: sleeper\n");
    assert!(fs::metadata(files.path("control")).unwrap().file_type().is_socket());
    let cases: &[Case] = &[
        ("run --kernel DIR/good --disk path=DIR/disk", 1, &["disk DIR/disk is in use by another"]),
        ("run --kernel DIR/good --disk path=DIR/disk,readonly", 1, &["disk DIR/disk is in use by another"]),
        (
            "run --kernel DIR/good --control DIR/control",
            1,
            &["control socket DIR/control", "another process listens there"],
        ),
    ];
    let wrong: Vec<String> = cases.iter().filter_map(|case| complaint(&files, case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_good_guest_ends_well() {
    let files = Files::new();
    fs::write(files.path("vm.toml"), "kernel = \"good\"\nmemory = \"8M\"\nconsole = \"file=log\"\n").unwrap();
    let output = run(&files.fill_in("run --config DIR/vm.toml"));
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(fs::read(files.path("log")).unwrap(), b"!");
}

/// A configuration that comes out of a pipe, of which each byte is there once.
#[test]
fn a_configuration_may_come_from_a_pipe() {
    use std::io::Write;
    for (text, words) in [
        ("kernel = \"/does/not/exist\"\nengine = \"soft\"\n", "cannot use kernel /does/not/exist"),
        ("image = \"no/such\"\n", "no image is called no/such"),
    ] {
        let folder = TempDir::new().unwrap();
        let mut command = yagura(&["run", "--config", "/dev/stdin"]);
        let mut child = command.stdin(Stdio::piped()).env("YAGURA_DIR", folder.path()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = output(child);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains(words), "{line}");
    }
}

/// Two files are installed, and one is typed.
#[test]
fn half_an_installation_says_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let alone = folder.path().join("yagura");
    fs::copy(env!("CARGO_BIN_EXE_yagura"), &alone).unwrap();
    let said = |arguments: &[&str]| {
        let mut command = Command::new(&alone);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = output(command.spawn().unwrap());
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        line
    };
    for arguments in [&["run", "--image", "debian/12"][..], &["image", "list"], &["list"]] {
        assert!(said(arguments).contains("yagura-cloud is missing; it belongs beside"));
    }
    let order = folder.path().join("order");
    fs::write(&order, "of another build").unwrap();
    assert!(said(&["run-order", order.to_str().unwrap()]).contains("of different builds"));
    assert!(said(&["run-order", "/does/not/exist"]).contains("cannot be read"));
}
