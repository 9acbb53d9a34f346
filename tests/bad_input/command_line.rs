//! What is typed wrongly.

use crate::{Case, Files, check, output, run, yagura};

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
    ("run --kernel DIR/good --memory 512", 2, &["'512' has no unit; did you mean 512M?"]),
    ("run --kernel DIR/good --memory 12X", 2, &["'12X' is not a memory size"]),
    ("run --kernel DIR/good --memory 0M", 2, &["0M of memory", "at least 1M"]),
    ("run --kernel DIR/good --memory 99999999T", 2, &["more than any machine has"]),
    ("run --kernel DIR/good --name a/b", 2, &["'a/b' is not a name for a VM"]),
    ("run --kernel DIR/good --disk readonly", 2, &["has no path=FILE"]),
    ("run --kernel DIR/good --disk path=DIR/disk,readnly", 2, &["'readnly'", "did you mean 'readonly'"]),
    ("run --kernel DIR/good --disk path=DIR/disk,format=qcow", 2, &["'qcow'", "did you mean 'qcow2'"]),
    ("disk create", 2, &["<PATH>"]),
    ("disk create DIR/new", 2, &["--size"]),
    ("disk create DIR/new --size 10", 2, &["'10' has no unit; did you mean 10G?"]),
    ("disk create DIR/new --size 50B", 2, &["whole sectors of 512 bytes", "did you mean 50G?"]),
    (
        "disk create DIR/new --size 4K",
        2,
        &["smaller than any system", "did you mean 4G? (4096B, if it is meant)"],
    ),
    ("disk create DIR/new --size 10737418240", 2, &["did you mean 10737418240B, for bytes?"]),
    ("disk create DIR/new 50", 2, &["unexpected argument '50'", "did you mean --size 50G?"]),
    ("disk create DIR/new 20G", 2, &["did you mean --size 20G?"]),
    ("disk resize DIR/disk 20 --disk-format raw", 2, &["'20' has no unit; did you mean 20G?"]),
    ("run --image debian/12 --disk-size 50", 2, &["--disk-size", "did you mean 50G?"]),
    ("run --kernel DIR/good --memory 4", 2, &["did you mean 4G?"]),
    ("run --kernel DIR/good --memory 1.5G", 2, &["'1.5G' is not a memory size"]),
    ("run --kernel DIR/good --disk path=DIR/disk,path=DIR/zeros", 2, &["path is given twice"]),
    ("run --kernel DIR/good --disk path=DIR/disk,b.img", 2, &["'b.img'", "a comma within a name is doubled"]),
    ("run --kernel DIR/good --disk path=DIR/disk,", 2, &["unknown option ''", "doubled"]),
    ("run --kernel DIR/good --console file=DIR/a,b", 2, &["unknown option 'b'", "doubled"]),
    ("run --kernel DIR/good --net tap=t,queues=99", 2, &["queues takes 1 to 8, not '99'"]),
    ("run --kernel DIR/good --name Web1", 2, &["'Web1' is not a name for a VM", "did you mean 'web1'?"]),
    ("run --image debian/12 --name Web1", 2, &["'Web1' is not a name for a VM", "did you mean 'web1'?"]),
    ("delete Web1", 2, &["'Web1' is not a name for a VM", "did you mean 'web1'?"]),
    ("image publish 1web", 2, &["did you mean 'vm-1web'?"]),
    ("run --image Debian/12", 2, &["'Debian/12' cannot be an image's alias"]),
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
    ("run --kernel DIR/good --on-panic explode", 2, &["'explode'", "guest, restart, exit, pause"]),
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

#[test]
fn mistakes_on_the_command_line() {
    check(USAGE);
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
        let output = run(&Files::new(), text);
        assert!(output.status.success() && output.stderr.is_empty(), "{text}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(fragment), "{text}");
    }
}

#[test]
fn without_a_subcommand_there_is_help() {
    let output = run(&Files::new(), "");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && String::from_utf8(output.stderr).unwrap().contains("Examples:"));
}

#[test]
fn arguments_that_are_not_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new();
    let bytes = OsStr::from_bytes(b"\xff");
    let output = crate::run_arguments(
        &files,
        &["run".as_ref(), "--kernel".as_ref(), "good".as_ref(), "--name".as_ref(), bytes],
    );
    assert_eq!(output.status.code(), Some(2));
    let fault = crate::fault(&files, &output, &["is not text in UTF-8"]);
    assert!(fault.is_none(), "{fault:?}");
}
