//! What a person gets to see who gives `yagura` something that it cannot use: one clear line, an exit status
//! that is not 0, and files as they were.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

mod command_line;
mod damaged;
mod disks;
mod host;
mod images;
mod names;
mod places;
mod plain;
mod settings;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
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
/// the files of [`Files`], in the line, too, and `STORE` for the store of images in it.
type Case = (&'static str, u8, &'static [&'static str]);

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
        write("bom.toml", b"\xef\xbb\xbfkernel = \"good\"\ncpus = 0\n");
        write("middle-bom.toml", b"kernel = \"good\"\n\xef\xbb\xbfcpus = 1\n");
        write("bytes.toml", b"kernel = \"good\"\nname = \"\xff\"\n");
        write("twice.toml", b"kernel = \"good\"\nkernel = \"good\"\n");
        write("table.toml", b"kernel = \"good\"\n[disk]\npath = \"disk\"\n");
        write("open.toml", b"kernel = \"good\"\ncmdline = \"never closed\n");
        write("name.toml", b"kernel = \"good\"\nname = \"Web1\"\n");
        File::create(files.path("zeros")).unwrap().set_len(64 << 20).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts real paths into what a case says.
    fn fill_in(&self, text: &str) -> String {
        let text = text.replace("LONG", &"x".repeat(120));
        text.replace("DIR", self.folder.path().to_str().unwrap()).replace("UNWRITABLE", UNWRITABLE)
    }

    /// Name, length and time of last change of everything.
    fn state(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap());
        // Looking for an image makes the store.
        entries
            .filter(|entry| entry.file_name() != "store")
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
    // No settings of whoever runs the tests.
    for variable in ["YAGURA_LOG", "YAGURA_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env_remove(variable);
    }
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

/// Runs a command line in the files' folder; a VM runs on the engine that is everywhere, unless it asks for another.
fn run(files: &Files, text: &str) -> Output {
    let text = files.fill_in(text);
    run_arguments(files, &text.split_whitespace().map(OsStr::new).collect::<Vec<_>>())
}

/// The same for arguments that words cannot say.
fn run_arguments(files: &Files, arguments: &[&OsStr]) -> Output {
    let mut arguments = arguments.to_vec();
    let given = |start: &str| {
        arguments.iter().any(|argument| argument.as_encoded_bytes().starts_with(start.as_bytes()))
    };
    if arguments.len() > 1 && arguments[0] == "run" && !given("--engine") && !given("--help") {
        arguments.splice(1..1, [OsStr::new("--engine"), OsStr::new("soft")]);
    }
    let mut command = yagura(&[]);
    command.args(arguments).current_dir(files.folder.path());
    command.env("YAGURA_DIR", files.path("store")).env("HOME", files.path("home"));
    output(command.spawn().unwrap())
}

/// What is wrong with how a bad command line was taken.
fn fault(files: &Files, Output { status, stdout, stderr }: &Output, words: &[&str]) -> Option<String> {
    let said = String::from_utf8_lossy(stderr);
    let said = plain::anonymous(&said, files.folder.path()).replace(UNWRITABLE, "UNWRITABLE");
    let missing: Vec<&&str> = words.iter().filter(|word| !said.contains(**word)).collect();
    let wrong = match plain::fault(&said) {
        _ if status.code().is_none_or(|code| code == 0) => format!("ended with {status}"),
        Some(fault) => fault,
        None if !missing.is_empty() => format!("does not say {missing:?}"),
        None if !stdout.is_empty() => format!("wrote to stdout: {}", String::from_utf8_lossy(stdout)),
        None => return None,
    };
    Some(format!("{wrong}\n    {said}"))
}

/// Runs a case and answers what is wrong with how it was taken.
fn complaint(files: &Files, case: &Case) -> Option<String> {
    let (text, status, words) = case;
    let before = files.state();
    let output = run(files, text);
    let wrong = fault(files, &output, words);
    let wrong = wrong.or_else(|| {
        let ended = output.status;
        (ended.code() != Some((*status).into())).then(|| format!("ended with {ended}, not {status}"))
    });
    let wrong = wrong.or_else(|| (files.state() != before).then(|| "changed a file".to_owned()));
    wrong.map(|wrong| format!("`yagura {text}` {wrong}"))
}

fn check(cases: &[Case]) {
    check_among(&Files::new(), cases);
}

fn check_among(files: &Files, cases: &[Case]) {
    let wrong: Vec<String> = cases.iter().filter_map(|case| complaint(files, case)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
