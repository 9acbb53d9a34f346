//! Whatever is behind a name that a person gives, at each place where one is given: nothing is waited for, and what it
//! is is said.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{Files, fault, run};

/// Places for a file that is read.
const READ: &[&str] = &[
    "run --kernel PATH",
    "run --kernel DIR/good --initrd PATH",
    "run --kernel DIR/good --module PATH",
    "run --kernel DIR/good --disk path=PATH",
    "run --kernel DIR/good --disk path=PATH,readonly",
    "run --kernel DIR/good --disk path=PATH,format=qcow2",
    "disk info PATH --disk-format raw",
    "disk info PATH --disk-format qcow2",
    "disk map PATH --disk-format raw",
    "disk check PATH",
    "disk resize PATH 20G --disk-format raw",
    "disk create DIR/new --backing PATH --backing-format raw",
    "disk convert PATH DIR/new --from raw --to qcow2",
    "disk convert PATH DIR/new --from qcow2 --to raw",
    "disk convert PATH DIR/new --from vmdk --to raw",
    "disk convert PATH DIR/new --from vhdx --to qcow2",
    "image import PATH --format raw",
    "image import PATH --format qcow2",
    "image import PATH --format vmdk",
    "image import PATH --format raw.gz",
    "image import PATH --format raw.xz",
    "image import PATH --format oci",
    "image pull PATH --format raw",
];

/// Places for text, which may also come out of a pipe.
const TEXT: &[&str] = &[
    "run --config PATH",
    "run --image no/such --user-data PATH",
    "run --image no/such --network-config PATH",
    "run --image no/such --ssh-key PATH",
    "image build --recipe PATH",
];

/// Places for a file that is written to.
const WRITTEN: &[&str] = &["run --kernel DIR/good --console file=PATH"];

/// What is there, and a word for it.
const KINDS: &[(&str, &[&str])] = &[
    ("DIR/folder", &["folder", "directory"]),
    ("DIR/fifo", &["a pipe"]),
    ("DIR/socket", &["a socket"]),
    ("DIR/link-to-fifo", &["a pipe"]),
    ("DIR/loop", &["symbolic links", "does not exist"]),
    ("DIR/missing", &["No such file", "does not exist"]),
    ("DIR/good/below", &["Not a directory", "does not exist"]),
    ("/dev/zero", &["a character device"]),
    ("/dev/ptmx", &["a character device"]),
];

#[test]
fn what_is_no_file_is_refused_in_words_everywhere() {
    let files = Files::new();
    std::fs::create_dir(files.path("folder")).unwrap();
    mknodat(CWD, files.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _listener = UnixListener::bind(files.path("socket")).unwrap();
    symlink("fifo", files.path("link-to-fifo")).unwrap();
    symlink("loop", files.path("loop")).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for place in READ.iter().chain(TEXT).chain(WRITTEN) {
        for (path, words) in KINDS {
            let makes_it = WRITTEN.contains(place) && (path.starts_with("/dev") || *path == "DIR/missing");
            if makes_it {
                continue;
            }
            count += 1;
            let text = place.replace("PATH", path);
            let output = run(&files, &text);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let told = words.iter().any(|word| said.contains(word));
            let fault = fault(&files, &output, &[]);
            let fault = fault.or_else(|| (!told).then(|| format!("says none of {words:?}\n    {said}")));
            wrong.extend(fault.map(|fault| format!("`yagura {text}` {fault}")));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(!files.path("new").exists());
}
