//! Names of files that are unusual, and good.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;

use crate::{Files, fault, run_arguments};

/// Names in the folder that a command runs in.
const NAMES: &[&[u8]] = &[
    b"bare",
    b"-dash",
    b"--size",
    b"with space",
    b" ",
    b"new\nline",
    b"bytes\xff\xfe",
    b"a,b",
    b"a,readonly",
    b"a=b",
    b"a:b",
    b"quote'\"",
    b"\xe6\xab\x93",
    b"folder/below",
    b"folder/../below",
    b"./here",
    b"folder//twice",
];

fn doubled(name: &OsStr, mark: u8) -> OsString {
    let mut all = Vec::new();
    for byte in name.as_bytes() {
        all.extend(std::iter::repeat_n(*byte, if *byte == mark { 2 } else { 1 }));
    }
    OsStr::from_bytes(&all).to_owned()
}

fn joined(start: &str, name: &OsStr, end: &str) -> OsString {
    let mut all = OsString::from(start);
    all.push(name);
    all.push(end);
    all
}

#[track_caller]
fn good(files: &Files, name: &OsStr, arguments: &[&OsStr]) -> Output {
    let output = run_arguments(files, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {arguments:?}: {said}", name.display());
    output
}

#[test]
fn every_name_can_be_given_for_a_machine() {
    let files = Files::new();
    fs::create_dir(files.path("folder")).unwrap();
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        let path = files.folder.path().join(name);
        let word = OsStr::new;
        fs::copy(files.path("good"), &path).unwrap();
        let flag = joined("--kernel=", name, "");
        good(&files, name, &[word("run"), &flag]);
        let flag = joined("--initrd=", name, "");
        good(&files, name, &[word("run"), word("--kernel"), word("good"), &flag]);
        let flag = joined("--module=", &doubled(name, b'='), "=x y");
        good(&files, name, &[word("run"), word("--kernel"), word("good"), &flag]);
        fs::write(&path, [0; 4096]).unwrap();
        let disk = joined("--disk=path=", &doubled(name, b','), ",readonly");
        good(&files, name, &[word("run"), word("--kernel"), word("good"), &disk]);
        fs::remove_file(&path).unwrap();
        let console = joined("--console=file=", &doubled(name, b','), "");
        good(&files, name, &[word("run"), word("--kernel"), word("good"), &console]);
        assert_eq!(fs::read(&path).unwrap(), b"!", "{}", name.display());
        fs::write(&path, "kernel = \"good\"\nconsole = \"none\"\nengine = \"soft\"\n").unwrap();
        if path.parent() == Some(files.folder.path()) || name.as_bytes().starts_with(b"./") {
            good(&files, name, &[word("run"), &joined("--config=", name, "")]);
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn every_name_can_be_given_for_a_disk() {
    let files = Files::new();
    fs::create_dir(files.path("folder")).unwrap();
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        let path = files.folder.path().join(name);
        let word = OsStr::new;
        good(&files, name, &[word("disk"), word("create"), word("--size"), word("1M"), word("--"), name]);
        good(
            &files,
            name,
            &[word("disk"), word("info"), word("--disk-format"), word("qcow2"), word("--"), name],
        );
        good(&files, name, &[word("disk"), word("check"), word("--"), name]);
        let formats = [word("--from"), word("qcow2"), word("--to"), word("raw")];
        let convert =
            [word("disk"), word("convert"), formats[0], formats[1], formats[2], formats[3], word("--"), name];
        good(&files, name, &[&convert[..], &[word("copy")]].concat());
        fs::remove_file(files.path("copy")).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

/// A descriptor and the file beside it, as VMware writes them.
fn write_vmdk(files: &Files, folder: &str) {
    let folder = files.path(folder);
    fs::create_dir_all(&folder).unwrap();
    let text = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
                RW 2048 FLAT \"v-flat.vmdk\" 0\n";
    fs::write(folder.join("v.vmdk"), text).unwrap();
    fs::write(folder.join("v-flat.vmdk"), vec![7; 1 << 20]).unwrap();
}

#[test]
fn files_beside_a_disk_are_found_whatever_way_leads_there() {
    let files = Files::new();
    write_vmdk(&files, "");
    write_vmdk(&files, "folder");
    for name in ["v.vmdk", "./v.vmdk", "folder/v.vmdk", "folder/../v.vmdk", "DIR/v.vmdk"] {
        let text = format!("disk convert {name} copy --from vmdk --to raw");
        let output = crate::run(&files, &text);
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read(files.path("copy")).unwrap(), vec![7; 1 << 20], "{text}");
        fs::remove_file(files.path("copy")).unwrap();
        // It has no kernel, of which a person is told.
        let text = format!("image import {name}");
        let output = crate::run(&files, &text);
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_file(files.path("v-flat.vmdk")).unwrap();
    for text in ["disk convert v.vmdk copy --from vmdk --to raw", "image import v.vmdk"] {
        let output = crate::run(&files, text);
        let fault = fault(&files, &output, &["v.vmdk", "'v-flat.vmdk'", "No such file"]);
        assert!(fault.is_none(), "{text} {fault:?}");
    }
}

#[test]
fn a_comma_that_may_be_meant_two_ways_is_refused() {
    let files = Files::new();
    let disk = |name: &str| fs::write(files.path(name), [0; 4096]).unwrap();
    for name in ["x", "x,readonly", "m=1"] {
        disk(name);
    }
    for (text, words) in [
        ("run --kernel good --disk path=x,readonly", ["there is a file 'x,readonly'", "path=x,,readonly"]),
        (
            "run --kernel good --disk path=x,readonly,serial=S",
            ["there is a file 'x,readonly'", "put path= last"],
        ),
        ("run --kernel good --module m=1", ["there is a file 'm=1'", "(m==1)"]),
        ("run --kernel good --module m=1=x", ["there is a file 'm=1'", "(m==1)"]),
    ] {
        let output = crate::run(&files, text);
        let fault = fault(&files, &output, &words);
        assert!(fault.is_none(), "{text} {fault:?}");
    }
    for text in [
        "run --kernel good --disk readonly,path=x",
        "run --kernel good --disk path=x,,readonly",
        "run --kernel good --disk path=x,serial=S",
        "run --kernel good --module m==1=x",
    ] {
        let output = crate::run(&files, text);
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
