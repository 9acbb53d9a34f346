//! Folders of files to make images of.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// Bytes that do not repeat and do not pack well, the same each time.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// What every file system can hold.
pub fn plain(folder: &Path, many_count: usize) {
    fs::create_dir_all(folder.join("deep/er/and/deeper/still")).unwrap();
    fs::create_dir_all(folder.join("empty folder")).unwrap();
    fs::write(folder.join("empty"), b"").unwrap();
    fs::write(folder.join("one"), b"1").unwrap();
    fs::write(folder.join("deep/er/and/deeper/still/Mixed Case Name.Conf"), b"mixed").unwrap();
    fs::write(
        folder.join("A name that is longer than what eight and three characters hold, by far.txt"),
        b"long",
    )
    .unwrap();
    for (seed, len) in [(1, 511), (2, 4096), (3, 4097), (4, 65_536), (5, 1_000_001), (6, 5 << 20)] {
        fs::write(folder.join(format!("noise-{len}")), noise(seed, len)).unwrap();
    }
    many(&folder.join("many"), many_count);
}

/// A folder with many files.
pub fn many(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let name = format!("file number {number} of a folder that has a great many of them");
        fs::write(folder.join(name), format!("this is {number}")).unwrap();
    }
}

/// What Unix has beside: symbolic links, names in other scripts, small letters and capitals side by side.
pub fn unix(folder: &Path) {
    fs::create_dir_all(folder.join("links/inner")).unwrap();
    fs::write(folder.join("Größe"), b"size").unwrap();
    fs::write(folder.join("ONE"), b"another one").unwrap();
    symlink("one", folder.join("links/dangling")).unwrap();
    symlink("../one", folder.join("links/up")).unwrap();
    symlink("/one", folder.join("links/absolute")).unwrap();
    symlink("inner/../../links/up", folder.join("links/twice")).unwrap();
    symlink("circle-2", folder.join("links/circle-1")).unwrap();
    symlink("circle-1", folder.join("links/circle-2")).unwrap();
    symlink("../deep/er", folder.join("links/folder")).unwrap();
    symlink("../../../../../../one", folder.join("links/inner/above the root")).unwrap();
    for len in [59, 60, 61, 200, 400, 900] {
        // `./` again and again, up to the length.
        let target = format!("{}../one", "./".repeat((len - 6) / 2) + if len % 2 == 1 { "/" } else { "" });
        symlink(target, folder.join(format!("links/long-{len}"))).unwrap();
    }
}

/// Files with holes: one with a little here and there, one that is cut into a great many extents.
pub fn sparse(folder: &Path, pieces: u64) {
    let file = File::create(folder.join("sparse")).unwrap();
    file.set_len(40 << 20).unwrap();
    for at in [0, 100_000, 9 << 20, (39 << 20) + 1234] {
        file.write_all_at(&noise(at, 3000), at).unwrap();
    }
    File::create(folder.join("all hole")).unwrap().set_len(3 << 20).unwrap();
    let file = File::create(folder.join("pieces")).unwrap();
    for piece in 0..pieces {
        file.write_all_at(&noise(piece, 4096), piece * 8192).unwrap();
    }
}
