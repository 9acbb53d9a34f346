use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::fs::{CWD, mknodat};

use super::*;

/// A folder with one of each kind.
fn all_kinds() -> (tempfile::TempDir, UnixListener) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "words").unwrap();
    fs::create_dir(path("folder")).unwrap();
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let listener = UnixListener::bind(path("socket")).unwrap();
    for name in ["file", "folder", "fifo", "socket", "missing"] {
        std::os::unix::fs::symlink(name, path(&format!("link-to-{name}"))).unwrap();
    }
    std::os::unix::fs::symlink("loop", path("loop")).unwrap();
    (folder, listener)
}

fn said(path: &Path, accepts: Accepts) -> String {
    match open_named(path, accepts) {
        Ok(NamedFile { kind, .. }) => format!("opened {kind}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_behind_a_name_is_seen_before_it_is_opened() {
    let (folder, _listener) = all_kinds();
    let file = "and a regular file is needed";
    let disk = "and a disk image or block device is needed";
    let stream = "and a file or a pipe is needed";
    for (name, as_file, as_disk, as_stream) in [
        ("file", "opened a file".into(), "opened a file".into(), "opened a file".into()),
        (
            "folder",
            format!("it is a folder, {file}"),
            format!("it is a folder, {disk}"),
            format!("it is a folder, {stream}"),
        ),
        (
            "fifo",
            format!("it is a pipe, {file}"),
            format!("it is a pipe, {disk}"),
            "it is a pipe that nobody writes to".into(),
        ),
        (
            "socket",
            format!("it is a socket, {file}"),
            format!("it is a socket, {disk}"),
            format!("it is a socket, {stream}"),
        ),
    ] {
        for name in [name.to_owned(), format!("link-to-{name}")] {
            let path = folder.path().join(&name);
            assert_eq!(said(&path, Accepts::File), as_file, "{name}");
            assert_eq!(said(&path, Accepts::Disk), as_disk, "{name}");
            assert_eq!(said(&path, Accepts::Stream), as_stream, "{name}");
        }
    }
    for accepts in [Accepts::File, Accepts::Disk, Accepts::Stream] {
        for (name, kind) in [
            ("missing", io::ErrorKind::NotFound),
            ("link-to-missing", io::ErrorKind::NotFound),
            ("file/below", io::ErrorKind::NotADirectory),
            ("file/", io::ErrorKind::NotADirectory),
            (&"x".repeat(256), io::ErrorKind::InvalidFilename),
            (&"x/".repeat(2048), io::ErrorKind::InvalidFilename),
        ] {
            let error = open_named(&folder.path().join(name), accepts).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}");
        }
        let error = open_named(&folder.path().join("loop"), accepts).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }
}

#[test]
fn devices_are_not_opened() {
    for name in ["/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx"] {
        for accepts in [Accepts::File, Accepts::Disk, Accepts::Stream] {
            // A terminal at the standard input is opened already.
            if Path::new(name).exists() && !name.starts_with("/dev/tty") {
                assert!(said(Path::new(name), accepts).starts_with("it is a character device"), "{name}");
            }
        }
    }
    assert_eq!(said(Path::new("/dev/null"), Accepts::Stream), "opened a character device");
    assert!(said(Path::new("/dev/null"), Accepts::File).starts_with("it is a character device"));
    assert_eq!(read_named(Path::new("/dev/null"), 10).unwrap(), b"");
}

#[test]
fn a_pipe_with_a_writer_is_read_to_its_end() {
    let (folder, _listener) = all_kinds();
    let fifo = folder.path().join("fifo");
    for early in ["", "early "] {
        // Who opens both ends waits for nobody, and is there for the writer's opening and its first words.
        let both = File::options().read(true).write(true).open(&fifo).unwrap();
        let mut writer = File::options().write(true).open(&fifo).unwrap();
        writer.write_all(early.as_bytes()).unwrap();
        drop(both);
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || read_named(&fifo, 100)
        });
        // Until the reader is there, nobody takes what is written.
        while let Err(error) = writer.write_all(b"words") {
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            std::thread::yield_now();
        }
        drop(writer);
        assert_eq!(reader.join().unwrap().unwrap(), format!("{early}words").as_bytes());
        assert_eq!(said(&fifo, Accepts::Stream), "it is a pipe that nobody writes to");
    }
}

#[test]
fn a_pipe_of_a_shell_is_read_once_even_if_nothing_is_in_it() {
    for text in ["", "words"] {
        let (read, write) = rustix::pipe::pipe().unwrap();
        File::from(write).write_all(text.as_bytes()).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", read.as_raw_fd()));
        assert_eq!(read_named(&path, 100).unwrap(), text.as_bytes());
        assert!(said(&path, Accepts::File).starts_with("it is a pipe"));
    }
}

#[test]
fn what_is_too_long_is_not_read() {
    let (folder, _listener) = all_kinds();
    let path = folder.path().join("file");
    assert_eq!(read_named(&path, 5).unwrap(), b"words");
    let error = read_named(&path, 4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn files_are_opened_as_files_are() {
    let (folder, _listener) = all_kinds();
    let path = folder.path().join("file");
    for file in [
        open_named(&path, Accepts::Disk).unwrap().file,
        open_named_for_writing(&path, Accepts::Disk).unwrap().file,
    ] {
        let flags = fcntl_getfl(&file).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK) && !flags.contains(OFlags::PATH));
        assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
    let mut file = open_named_for_writing(&path, Accepts::File).unwrap().file;
    file.write_all(b"W").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"Words");
}

#[test]
fn every_name_has_a_folder_that_can_be_opened() {
    for (name, folder) in [
        ("a", "."),
        ("./a", "."),
        ("a/", "."),
        ("-a", "."),
        ("a b", "."),
        ("a\nb", "."),
        ("..", "."),
        ("../a", ".."),
        ("a/b", "a"),
        ("a//b", "a"),
        ("a/../b", "a/.."),
        ("/a", "/"),
        ("/a/b", "/a"),
        ("/", "/"),
        ("", "."),
    ] {
        assert_eq!(folder_of(Path::new(name)), Path::new(folder), "{name}");
        let full = Path::new(folder_of(Path::new(name)));
        assert!(!full.as_os_str().is_empty());
    }
    let bytes = Path::new(OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(folder_of(bytes), Path::new("."));
    assert_eq!(folder_of(&Path::new("x").join(bytes)), Path::new("x"));
}
