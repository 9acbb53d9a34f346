//! Names of entries, made safe.

use super::error::LayerError;
use crate::inputs::Dropped;

/// Longest part of a path that Linux takes (`NAME_MAX`), in bytes.
pub(super) const PART_BYTES_MAX: usize = 255;
/// Longest path (`PATH_MAX`), in bytes.
pub(super) const PATH_BYTES_MAX: usize = 4096;
/// Prefix of a whiteout's name, and the name of an opaque one (image-spec, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of what AUFS kept for itself.
const RESERVED: &[u8] = b".wh..wh.";

/// A path below the root: no `..`, nothing empty. Without parts it is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Box<[u8]>>);

/// What a name says beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// Nothing.
    None,
    /// What lower layers have of this name is not there.
    Whiteout,
    /// What lower layers have in this folder is not there.
    Opaque,
    /// It is not for us.
    Ignored,
}

impl Path {
    /// The path that a name in an archive means; `None` for one that climbs, which is counted and left out.
    pub(super) fn parse(name: &[u8], dropped: &mut Dropped) -> Result<Option<Path>, LayerError> {
        if name.contains(&0) {
            return Err(LayerError::Name("not text"));
        }
        if name.len() > PATH_BYTES_MAX {
            return Err(LayerError::Name("longer than 4096 bytes"));
        }
        let mut parts = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    dropped.outside += 1;
                    return Ok(None);
                }
                part if part.len() > PART_BYTES_MAX => {
                    return Err(LayerError::Name("longer than 255 bytes between two slashes"));
                }
                part => parts.push(part.into()),
            }
        }
        dropped.made_relative += u64::from(name.first() == Some(&b'/'));
        Ok(Some(Path(parts)))
    }

    /// Whether the path is a marker, and what it is about.
    pub(super) fn marker(mut self) -> (Marker, Path) {
        let Some((last, parents)) = self.0.split_last_mut() else { return (Marker::None, self) };
        if parents.iter().any(|part| is_reserved(part)) {
            return (Marker::Ignored, self);
        }
        if !is_reserved(last) {
            return (Marker::None, self);
        }
        if **last == *OPAQUE {
            self.0.pop();
            return (Marker::Opaque, self);
        }
        let hidden = &last[WHITEOUT.len()..];
        if last.starts_with(RESERVED) || matches!(hidden, b"" | b"." | b"..") {
            return (Marker::Ignored, self);
        }
        *last = hidden.into();
        (Marker::Whiteout, self)
    }
}

/// Whether a part of a name is one that only markers have.
pub(super) fn is_reserved(part: &[u8]) -> bool {
    part.starts_with(WHITEOUT)
}

/// What a symbolic link leads to, if that is something that a link can hold.
pub(super) fn target(link: &[u8]) -> Result<Box<[u8]>, LayerError> {
    if link.contains(&0) {
        return Err(LayerError::Name("not text"));
    }
    // The NUL at its end counts.
    if link.len() >= PATH_BYTES_MAX {
        return Err(LayerError::Name("longer than 4096 bytes"));
    }
    Ok(link.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &[u8]) -> (Option<String>, Dropped) {
        let mut dropped = Dropped::default();
        let path = Path::parse(name, &mut dropped).unwrap();
        let text = path.map(|path| {
            path.0.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>().join("/")
        });
        (text, dropped)
    }

    #[test]
    fn names_stay_below_the_root() {
        for (name, path) in [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("", Some("")),
            ("./", Some("")),
            ("a/../b", None),
            ("..", None),
            ("..a/b..", Some("..a/b..")),
        ] {
            assert_eq!(parse(name.as_bytes()).0.as_deref(), path, "{name}");
        }
        assert_eq!(parse(b"//x").1.made_relative, 1);
        assert_eq!(parse(b"x/..").1.outside, 1);
        let mut dropped = Dropped::default();
        Path::parse(b"a\0b", &mut dropped).unwrap_err();
        Path::parse(&[b'x'; 256], &mut dropped).unwrap_err();
        Path::parse(&b"x/".repeat(3000), &mut dropped).unwrap_err();
    }

    #[test]
    fn markers_are_about_others() {
        let marker = |name: &str| {
            let path = Path::parse(name.as_bytes(), &mut Dropped::default()).unwrap().unwrap();
            let (marker, path) = path.marker();
            (marker, path.0.last().map(|part| String::from_utf8_lossy(part).into_owned()))
        };
        assert_eq!(marker("a/.wh.b"), (Marker::Whiteout, Some("b".into())));
        assert_eq!(marker("a/.wh..wh..opq"), (Marker::Opaque, Some("a".into())));
        assert_eq!(marker("a/.wh..wh.plnk").0, Marker::Ignored);
        for name in ["a/.wh.", "a/.wh..", "a/.wh..."] {
            assert_eq!(marker(name).0, Marker::Ignored, "{name}");
        }
        assert_eq!(marker("a/.wh.b/c").0, Marker::Ignored, "what is marked has nothing in it");
        assert_eq!(marker("a/.whb").0, Marker::None);
    }
}
