//! A disk that is one ext4 file system, out of a tar archive.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use crate::{BuildError, EPOCH_SECONDS, program};

/// How keys of extended attributes begin in archives (star's keywords, which GNU tar writes).
const ATTRIBUTE: &str = "SCHILY.xattr.";

/// What the file system is like.
pub struct FileSystem {
    /// Its length in bytes; the file has holes where nothing is stored.
    pub size_bytes: u64,
    /// Its label.
    pub label: &'static str,
    /// What its identifiers are made of: equal ones give equal bytes.
    pub identity: [u8; 32],
}

/// Makes the disk `image` of what the archive `tree` holds. Without root rights owners are kept by fakeroot.
///
/// The archive is unpacked in an empty folder below `work`: it has to be one that a program of ours wrote.
///
/// # Errors
/// A program fails.
pub fn from_tar(tree: &Path, work: &Path, image: &Path, options: &FileSystem) -> Result<(), BuildError> {
    // fakeroot forgets of which kind a file is that is given an attribute: those are set at the end.
    const STEPS: &str = "mkdir \"$2/tree\" && tar -xf \"$1\" -C \"$2/tree\" --numeric-owner --no-xattrs && \
        mke2fs -q -t ext4 -L \"$5\" -U \"$6\" -E \"hash_seed=$6,root_owner=0:0\" \
        -O ^metadata_csum_seed,^orphan_file -d \"$2/tree\" \"$3\" \"$4\" && rm -rf \"$2/tree\"";
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "sh" } else { "fakeroot" });
    if !root {
        command.arg("sh");
    }
    command.args(["-c", STEPS, "sh"]).args([tree, work, image]);
    command.arg(format!("{}K", options.size_bytes >> 10)).arg(options.label).arg(uuid(&options.identity));
    command.env("E2FSPROGS_FAKE_TIME", EPOCH_SECONDS);
    program::with_system_folders(&mut command);
    program::run(&mut command)?;
    let attributes = attribute_lines(tree, work)?;
    finish(image, work, &attributes)
}

/// Extended attributes of the archive's files, such as `security.capability`, as lines for debugfs.
fn attribute_lines(tree: &Path, work: &Path) -> Result<String, BuildError> {
    let failed = || crate::io("read", tree);
    let mut archive = tar::Archive::new(File::open(tree).map_err(failed())?);
    let mut lines = String::new();
    let mut count = 0;
    for entry in archive.entries_with_seek().map_err(failed())? {
        let mut entry = entry.map_err(failed())?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(extensions) = entry.pax_extensions().map_err(failed())? else { continue };
        for extension in extensions {
            let extension = extension.map_err(failed())?;
            let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(ATTRIBUTE)) else {
                continue;
            };
            let value = work.join(format!("attribute-{count}"));
            std::fs::write(&value, extension.value_bytes()).map_err(crate::io("write", &value))?;
            count += 1;
            let place = format!("/{}", path.trim_start_matches("./"));
            let words = [quoted(&place), quoted(name), "-f".to_owned(), quoted(&value.display().to_string())];
            // What cannot stand in a line is left out: debugfs would take its rest for another command.
            if words.iter().all(|word| !word.contains('\n')) {
                lines += &format!("ea_set {}\n", words.join(" "));
            }
        }
    }
    Ok(lines)
}

/// A word as debugfs reads it.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// Sets attributes, and the times that unpacking left and no program lets one choose: those of reading and of changing
/// an inode.
fn finish(image: &Path, work: &Path, attributes: &str) -> Result<(), BuildError> {
    let mut header = Vec::new();
    let mut command = Command::new(program::path("dumpe2fs"));
    program::watch(command.arg("-h").arg(image), |line| {
        header.push(line.to_owned());
        ControlFlow::Continue(())
    })?;
    let number = |key: &str| -> Result<u64, BuildError> {
        let value = header.iter().find_map(|line| line.strip_prefix(key));
        value.and_then(|value| value.trim().parse().ok()).ok_or_else(|| BuildError::Failed {
            program: "dumpe2fs".to_owned(),
            words: format!("no {key} in what it says"),
        })
    };
    // A new file system's inodes are used in order.
    let used = number("Inode count:")? - number("Free inodes:")?;
    let inodes = std::iter::once(ROOT_INODE).chain(FIRST_INODE..=used);
    let lines = inodes.map(|inode| {
        let set = |field: &str| format!("set_inode_field <{inode}> {field} @{EPOCH_SECONDS}\n");
        set("atime") + &set("ctime")
    });
    // What is written now has a time, too, and how often the file was written to is counted.
    let head = format!("set_current_time @{EPOCH_SECONDS}\nset_super_value kbytes_written 0\n");
    let script = head + attributes + &lines.collect::<String>();
    let path = work.join("times");
    std::fs::write(&path, script).map_err(crate::io("write", &path))?;
    let mut command = Command::new(program::path("debugfs"));
    let output = command.arg("-w").arg("-f").arg(&path).arg(image).output();
    let output = output.map_err(crate::io("change by debugfs", image))?;
    // It goes on after a command that it cannot do, and ends as if it had done all. First of all it says its version.
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| !line.is_empty() && !line.starts_with("debugfs ")) {
        None if output.status.success() => Ok(()),
        complaint => {
            let words = complaint.map_or_else(|| output.status.to_string(), str::to_owned);
            Err(BuildError::Failed { program: "debugfs".to_owned(), words })
        }
    }
}

/// Inodes of an ext4 file system: the root's, and the first that is not reserved.
const ROOT_INODE: u64 = 2;
const FIRST_INODE: u64 = 11;

/// A UUID of version 8 (RFC 9562, section 5.8).
fn uuid(identity: &[u8; 32]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&identity[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    image_model::uuid_text(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_its_version() {
        assert_eq!(uuid(&[0xff; 32]), "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        if program::require(crate::PROGRAMS).is_err() {
            eprintln!("skipped: no mke2fs here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree.tar");
        let mut archive = tar::Builder::new(std::fs::File::create(&tree).unwrap());
        for name in ["a", "b/", "b/c", "b/d"] {
            let folder = name.ends_with('/');
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(if folder { tar::EntryType::Directory } else { tar::EntryType::Regular });
            header.set_size(if folder { 0 } else { 5000 });
            header.set_mode(if folder { 0o755 } else { 0o644 });
            header.set_uid(1000);
            header.set_mtime(7);
            let contents = vec![b'x'; header.size().unwrap() as usize];
            archive.append_data(&mut header, name, &contents[..]).unwrap();
        }
        archive.finish().unwrap();
        let options = FileSystem { size_bytes: 64 << 20, label: "root", identity: [7; 32] };
        let image = |name: &str| {
            let (work, image) = (folder.path().join(format!("{name}.work")), folder.path().join(name));
            std::fs::create_dir(&work).unwrap();
            from_tar(&tree, &work, &image, &options).unwrap();
            std::fs::read(image).unwrap()
        };
        let one = image("one");
        // Times count in seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let two = image("two");
        let differing = one.iter().zip(&two).filter(|(a, b)| a != b).count();
        assert_eq!((one.len(), differing), (64 << 20, 0));
    }

    /// Of root and of others alike, whose fakeroot loses them.
    #[test]
    fn attributes_and_kinds_of_files_are_kept() {
        if program::require(crate::PROGRAMS).is_err() {
            eprintln!("skipped: no mke2fs here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree.tar");
        let mut archive = tar::Builder::new(File::create(&tree).unwrap());
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for name in ["./plain", "./with \"quotes\" and words"] {
            let extensions = [("SCHILY.xattr.security.capability", &capability[..]), ("mtime", b"7")];
            archive.append_pax_extensions(extensions).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            header.set_mode(0o755);
            archive.append_data(&mut header, name, &b"abc"[..]).unwrap();
        }
        archive.finish().unwrap();
        let (work, image) = (folder.path().join("work"), folder.path().join("image"));
        std::fs::create_dir(&work).unwrap();
        from_tar(
            &tree,
            &work,
            &image,
            &FileSystem { size_bytes: 64 << 20, label: "root", identity: [7; 32] },
        )
        .unwrap();
        for name in ["/plain", "/with \"\"quotes\"\" and words"] {
            let out = folder.path().join("value");
            let script =
                format!("ea_get -f {} \"{name}\" security.capability\nstat \"{name}\"\n", out.display());
            let commands = folder.path().join("commands");
            std::fs::write(&commands, script).unwrap();
            let mut command = Command::new(program::path("debugfs"));
            let shown = command.arg("-f").arg(commands).arg(&image).output().unwrap();
            let shown = String::from_utf8_lossy(&shown.stdout);
            assert!(shown.contains("Type: regular    Mode:  0755"), "{shown}");
            assert_eq!(std::fs::read(&out).unwrap(), capability, "{shown}");
            std::fs::remove_file(out).unwrap();
        }
    }

    #[test]
    fn attributes_that_find_no_room_are_told_of() {
        if program::require(crate::PROGRAMS).is_err() {
            eprintln!("skipped: no mke2fs here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree.tar");
        let mut archive = tar::Builder::new(File::create(&tree).unwrap());
        archive.append_pax_extensions([("SCHILY.xattr.user.long", &[b'x'; 60_000][..])]).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        archive.append_data(&mut header, "a", &[][..]).unwrap();
        archive.finish().unwrap();
        let options = FileSystem { size_bytes: 64 << 20, label: "root", identity: [7; 32] };
        let error = from_tar(&tree, folder.path(), &folder.path().join("image"), &options).unwrap_err();
        assert!(error.to_string().starts_with("debugfs failed: "), "{error}");
    }
}
