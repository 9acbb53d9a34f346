//! Files and interfaces of the host that cannot be used, and what another machine uses.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Case, Files, LIMIT, check, complaint, output, run, yagura};

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
    ("run --kernel DIR", 1, &["DIR", "it is a folder, and a regular file is needed"]),
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
    ("run --kernel DIR/good --control DIR/LONG", 1, &["a socket's path has at most 107 bytes"]),
    ("run --kernel DIR/good --console socket=DIR/LONG", 1, &["a socket's path has at most 107 bytes"]),
    ("run --kernel DIR/LONG", 1, &["DIR/xx", "No such file"]),
    ("run --kernel DIR/LONGLONGLONG", 1, &["File name too long"]),
    ("run --kernel DIR/good --control DIR/none/socket", 1, &["DIR/none/socket", "No such file"]),
    ("run --kernel DIR/good --debug-exit 0x3f8", 1, &["0x3f8"]),
];

#[test]
fn a_host_without_kvm() {
    check(KVM);
}

#[test]
fn files_and_interfaces_that_cannot_be_used() {
    check(HOST);
}

#[test]
fn doctor_says_whether_vms_can_run() {
    let files = Files::new();
    let output = run(&files, "doctor -f json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), json["can_run"] == true);
    assert!(json["kvm"]["hardware"].is_boolean() && json["rows"].as_array().unwrap().len() > 10);
    let table = run(&files, "doctor --kvm-device /nowhere/kvm");
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
        let mut command = yagura(&arguments);
        command.env("YAGURA_DIR", files.path("store")).stdin(Stdio::piped());
        let child = command.spawn().unwrap();
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
        (
            "run --name sleeper --kernel DIR/good --console file=DIR/other",
            1,
            &["VM sleeper runs already; --name gives another one a name of its own"],
        ),
    ];
    let wrong: Vec<String> = cases.iter().filter_map(|case| complaint(&files, case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_good_guest_ends_well() {
    let files = Files::new();
    fs::write(files.path("vm.toml"), "kernel = \"good\"\nmemory = \"8M\"\nconsole = \"file=log\"\n").unwrap();
    let output = run(&files, "run --config DIR/vm.toml");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(fs::read(files.path("log")).unwrap(), b"!");
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
