//! Children that do not do as they should.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use disk::SourceFormat;
use image_import::{DiskFile, ImportError, Importer, Limits};

/// Asks a child for something that is a shell script.
fn ask(script: &str) -> ImportError {
    let limits = Limits { time: Duration::from_secs(1), ..Limits::default() };
    let importer = Importer::new("/bin/sh".into(), vec!["-c".into(), script.into()]).with_limits(limits);
    let file = File::open("/dev/null").unwrap();
    let disk = DiskFile::new(file.as_fd(), SourceFormat::Raw, Path::new("some\nimage"));
    importer.describe(disk).unwrap_err()
}

#[test]
fn a_child_that_dies_is_told_of_in_one_line() {
    for (script, words) in [
        ("kill -SYS $$", "killed by seccomp"),
        ("kill -SEGV $$", "it crashed"),
        ("kill -KILL $$", "ran out of memory"),
        ("kill -XCPU $$", "processor time"),
        ("kill -XFSZ $$", "wrote more"),
        ("kill -ABRT $$", "needs more than 1 GiB of memory"),
        ("kill -TERM $$", "ended by a signal"),
        ("exit 0", "ended without an answer"),
        ("exit 3", "ended without an answer"),
    ] {
        let line = ask(script).to_string();
        assert!(line.contains(words) && line.contains("get it again"), "{script}: {line}");
        assert!(line.contains("some\\nimage") && !line.contains('\n'), "{line}");
    }
}

#[test]
fn a_child_that_hangs_is_ended() {
    for script in ["exec sleep 1000", "exec 0<&-; exec sleep 1000", "while :; do printf '\\5' >&0; done"] {
        let begun = Instant::now();
        let error = ask(script);
        assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
        let expected = match script.starts_with("exec 0") {
            true => matches!(error, ImportError::Died { .. }),
            false => matches!(error, ImportError::TimedOut { .. } | ImportError::Impossible { .. }),
        };
        assert!(expected, "{script}: {error:?}");
    }
}

#[test]
fn answers_that_cannot_be_are_not_believed() {
    for script in [
        // No length that there is.
        r"printf '\377\377\377\377' >&0; exec sleep 1",
        // No answer that there is.
        r"printf '\1\0\0\0\77' >&0; exec sleep 1",
        // Another job's outcome: Done(Converted { 5, 5 }).
        r"printf '\4\0\0\0\3\1\5\5' >&0; exec sleep 1",
        // A description that is longer than it says.
        r"printf '\7\0\0\0\3\0\5\0\0\0\0' >&0; exec sleep 1",
    ] {
        let error = ask(script);
        assert!(matches!(error, ImportError::Impossible { .. }), "{script}: {error:?}");
    }
    // What a child complains of is text, whatever it is.
    let error = ask(r"printf '\5\0\0\0\4\3a\33b' >&0; exec sleep 1");
    assert!(matches!(&error, ImportError::Refused(text) if text == "a\\u{1b}b"), "{error:?}");
}

#[test]
fn a_program_that_is_not_there_is_told_of() {
    let importer = Importer::new("/does/not/exist".into(), Vec::new());
    let file = File::open("/dev/null").unwrap();
    let disk = DiskFile::new(file.as_fd(), SourceFormat::Raw, Path::new("x"));
    let error = importer.describe(disk).unwrap_err();
    assert!(matches!(error, ImportError::Child { operation: "start", .. }), "{error:?}");
}
