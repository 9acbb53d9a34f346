//! What a system says of itself: os-release(5).

use crate::{FileSystem, read_small};

const LIMIT_BYTES: u64 = 64 << 10;

/// A system's own words about itself. Fields that it does not have are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `debian`, `fedora`.
    pub id: String,
    /// `12`, `40`.
    pub version_id: String,
    /// `bookworm`.
    pub version_codename: String,
    /// `Debian GNU/Linux`.
    pub name: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: String,
    /// Identifiers of systems that it is like: `rhel centos fedora`.
    pub id_like: String,
}

/// Reads it from a root file system.
pub(super) fn read(fs: &dyn FileSystem) -> Option<OsRelease> {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(|path| read_small(fs, path, LIMIT_BYTES).ok())?;
    Some(parse(&String::from_utf8_lossy(&text)))
}

pub(super) fn parse(text: &str) -> OsRelease {
    let mut release = OsRelease::default();
    for line in text.lines() {
        let Some((name, value)) = line.trim().split_once('=') else { continue };
        let field = match name {
            "ID" => &mut release.id,
            "VERSION_ID" => &mut release.version_id,
            "VERSION_CODENAME" => &mut release.version_codename,
            "NAME" => &mut release.name,
            "PRETTY_NAME" => &mut release.pretty_name,
            "ID_LIKE" => &mut release.id_like,
            _ => continue,
        };
        *field = unquoted(value.trim());
    }
    release
}

/// A value as a shell would read it, without what would control a terminal.
fn unquoted(value: &str) -> String {
    let inner = match value.as_bytes() {
        [b'"', .., b'"'] | [b'\'', .., b'\''] => &value[1..value.len() - 1],
        _ => value,
    };
    let mut text = String::new();
    let mut escaped = false;
    for c in inner.chars().filter(|c| !c.is_control()).take(256) {
        escaped = c == '\\' && !escaped && !value.starts_with('\'');
        if !escaped {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_a_shell_reads_them() {
        let release = parse(
            "# a comment\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n\
             NAME='It'\nID_LIKE=\"a \\\"b\\\" \\\\ c\x1b[2J\"\nnonsense\nVERSION_CODENAME=\"\n",
        );
        assert_eq!(release.pretty_name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!((release.id.as_str(), release.version_id.as_str()), ("debian", "12"));
        assert_eq!((release.name.as_str(), release.id_like.as_str()), ("It", "a \"b\" \\ c[2J"));
        assert_eq!(release.version_codename, "\"");
    }
}
