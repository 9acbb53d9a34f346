//! Where images and instances are kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use image_ops::Images;
use image_store::place_in_words;

/// The store of whoever runs this.
pub fn images() -> anyhow::Result<Images> {
    Images::open(&data_folder()?).context("images")
}

/// Where images, VMs and snapshots of whoever runs this are kept.
pub fn data_folder() -> anyhow::Result<PathBuf> {
    let folder = folder(|name| std::env::var_os(name), rustix::process::geteuid().is_root())?;
    std::path::absolute(&folder).with_context(|| format!("cannot find {}", folder.display()))
}

/// `YAGURA_DIR`, the system's folder for root, the user's own for others.
fn folder(variable: impl Fn(&str) -> Option<OsString>, root: bool) -> anyhow::Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("YAGURA_DIR") {
        return Ok(folder);
    }
    if root {
        return Ok(PathBuf::from("/var/lib/yagura"));
    }
    match set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share"))) {
        Some(data) if data.is_absolute() => Ok(data.join("yagura")),
        Some(data) => {
            bail!("{} is not an absolute path; set YAGURA_DIR to a folder for images", data.display())
        }
        None => bail!("neither HOME nor XDG_DATA_HOME is set; set YAGURA_DIR to a folder for images"),
    }
}

/// Without the names of what lies inside of the store: they say nothing to a person.
pub fn without_store_paths(line: &str) -> String {
    let root = folder(|name| std::env::var_os(name), rustix::process::geteuid().is_root());
    match root.and_then(|root| Ok(std::path::absolute(root)?)) {
        Ok(root) => places_in_words(line, &format!("{}/", root.display())),
        Err(_) => line.to_owned(),
    }
}

/// The same for a store at `root`, which ends with a slash.
fn places_in_words(line: &str, root: &str) -> String {
    let mut words = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once(root) {
        // Names in the store have none of these.
        let end = behind.find(|c: char| " ':;,()\"".contains(c)).unwrap_or(behind.len());
        words.push_str(before);
        words.push_str(&place_in_words(&Path::new(root).join(&behind[..end])));
        rest = &behind[end..];
    }
    words.push_str(rest);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_place() {
        let at = |set: &'static [(&'static str, &'static str)], root| {
            let find =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            folder(find, root)
        };
        assert_eq!(at(&[], true).unwrap(), PathBuf::from("/var/lib/yagura"));
        assert_eq!(at(&[("HOME", "/h")], false).unwrap(), PathBuf::from("/h/.local/share/yagura"));
        assert_eq!(
            at(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")], false).unwrap(),
            PathBuf::from("/d/yagura")
        );
        assert_eq!(at(&[("YAGURA_DIR", "/y")], true).unwrap(), PathBuf::from("/y"));
        assert!(at(&[], false).unwrap_err().to_string().contains("set YAGURA_DIR"));
        assert!(at(&[("XDG_DATA_HOME", "d")], false).is_err());
    }

    #[test]
    fn paths_of_the_store_are_said_in_words() {
        let root = "/var/lib/yagura/";
        let blob = format!("{root}blobs/sha256/{}", "ab".repeat(32));
        for (line, words) in [
            (
                format!("disk {root}staging/0123456789abcdef/disk cannot be read: no"),
                "disk a new file of the store of images cannot be read: no",
            ),
            (
                format!("'{blob}', {root}aliases.json"),
                "'the file abababababab of the store of images', the list of images' names",
            ),
            ("disk /srv/a.raw: no".to_owned(), "disk /srv/a.raw: no"),
        ] {
            assert_eq!(places_in_words(&line, root), words);
        }
    }
}
