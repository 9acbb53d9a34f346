//! Where images and instances are kept.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, bail};
use cloud_ops::Images;

/// The store of whoever runs this.
pub fn images() -> anyhow::Result<Images> {
    let folder = folder(|name| std::env::var_os(name), rustix::process::geteuid().is_root())?;
    Images::open(&folder).context("images")
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
}
