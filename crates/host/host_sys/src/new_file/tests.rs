//! Both ways to make a file: without a name, and with a hidden one.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;

const CHILD: &str = "YAGURA_NEW_FILE_TEST";

/// A folder of a test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("yagura-new-file-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What [`NewFile::create`] makes where there are no nameless files.
fn hidden(target: &Path) -> NewFile {
    let (file, hidden) = Hidden::create(folder_of(target)).unwrap();
    NewFile { file, target: target.to_owned(), hidden: Some(hidden) }
}

fn both_ways(target: &Path) -> [NewFile; 2] {
    [NewFile::create(target, PRIVATE).unwrap(), hidden(target)]
}

#[test]
fn a_file_is_whole_or_absent() {
    let folder = Folder::new("whole");
    for index in 0..2 {
        let target = folder.0.join("image");
        let new = both_ways(&target).into_iter().nth(index).unwrap();
        new.file().write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(new);
        assert_eq!(folder.names(), [""; 0], "dropped");
        let new = both_ways(&target).into_iter().nth(index).unwrap();
        new.file().write_all(b"whole").unwrap();
        new.keep().unwrap();
        assert_eq!(folder.names(), ["image"]);
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        fs::remove_file(&target).unwrap();
    }
}

#[test]
fn what_has_the_name_stays() {
    let folder = Folder::new("taken");
    let target = folder.0.join("image");
    let taken = [
        Box::new(|path: &Path| fs::write(path, "kept").unwrap()) as Box<dyn Fn(&Path)>,
        Box::new(|path: &Path| std::os::unix::fs::symlink("nowhere", path).unwrap()),
        Box::new(|path: &Path| fs::create_dir(path).unwrap()),
    ];
    for take in taken {
        for index in 0..2 {
            let new = both_ways(&target).into_iter().nth(index).unwrap();
            take(&target);
            assert_eq!(new.keep().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(NewFile::create(&target, PRIVATE).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(folder.names(), ["image"]);
            let is_folder = target.symlink_metadata().unwrap().is_dir();
            if is_folder { fs::remove_dir(&target).unwrap() } else { fs::remove_file(&target).unwrap() }
        }
    }
}

#[test]
fn permissions_are_those_that_were_asked_for() {
    let folder = Folder::new("modes");
    for mode in [PRIVATE, 0o640, 0o666, 0o400] {
        let target = folder.0.join(format!("{mode:o}"));
        NewFile::create(&target, mode).unwrap().keep().unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, mode, "{mode:o}");
    }
    assert_eq!(nameless(&folder.0).unwrap().metadata().unwrap().permissions().mode() & 0o777, PRIVATE);
    let staged = staged(&folder.0.join("staged")).unwrap();
    assert_eq!(staged.metadata().unwrap().permissions().mode() & 0o777, PRIVATE);
}

#[test]
fn a_folder_that_is_not_there_or_has_no_room_says_so() {
    let folder = Folder::new("refused");
    let missing = NewFile::create(&folder.0.join("none/image"), PRIVATE).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    fs::write(folder.0.join("file"), "").unwrap();
    let not_a_folder = NewFile::create(&folder.0.join("file/image"), PRIVATE).unwrap_err();
    assert_eq!(not_a_folder.kind(), io::ErrorKind::NotADirectory);
}

/// Every signal that can end a process, while a file is in the making in either way; `SIGKILL` for the one without a
/// name.
#[test]
fn whatever_ends_the_process_leaves_nothing() {
    let signals = endings::ending_signals().filter(|signal| *signal != libc::SIGPIPE);
    let nameless = [libc::SIGKILL, libc::SIGTERM].map(|signal| ("nameless", signal));
    for (way, signal) in signals.map(|signal| ("hidden", signal)).chain(nameless) {
        let folder = Folder::new(&format!("{way}-{signal}"));
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "new_file::tests::runs_as_child", "--nocapture"]);
        let status = child.env(CHILD, format!("{way} {signal} {}", folder.0.display())).status().unwrap();
        assert_eq!(status.signal(), Some(signal), "{way}: {status}");
        assert_eq!(folder.names(), [""; 0], "{way}, signal {signal}");
    }
}

/// The child's half: does nothing when run as an ordinary test.
#[test]
fn runs_as_child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let mut words = order.splitn(3, ' ');
    let (way, signal, folder) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let target = Path::new(folder).join("image");
    let new = if way == "hidden" { hidden(&target) } else { NewFile::create(&target, PRIVATE).unwrap() };
    new.file().write_all(b"half").unwrap();
    // SAFETY: takes plain numbers.
    unsafe { libc::kill(libc::getpid(), signal.parse().unwrap()) };
    std::thread::sleep(std::time::Duration::from_secs(30));
}

#[test]
fn what_is_replaced_is_whole_at_any_time() {
    let folder = Folder::new("replace");
    let target = folder.0.join("record");
    replace(&target, b"one").unwrap();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, PRIVATE);
    let reader = File::open(&target).unwrap();
    replace(&target, b"another").unwrap();
    assert_eq!(
        (fs::read(&target).unwrap(), io::read_to_string(reader).unwrap()),
        (b"another".into(), "one".into())
    );
    assert_eq!(folder.names(), ["record"]);
    fs::remove_file(&target).unwrap();
    fs::create_dir(&target).unwrap();
    assert!(replace(&target, b"more").is_err());
    assert_eq!(folder.names(), ["record"]);
    assert!(replace(&folder.0.join("none/record"), b"more").is_err());
}
