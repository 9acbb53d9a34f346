//! The descriptor: text that says of which files a disk consists.

use disk::{FormatError, SECTOR_SIZE};

/// How a descriptor that stands alone begins.
pub(super) const START: &[u8] = b"# Disk DescriptorFile";
/// Longest descriptor, in bytes.
pub(super) const BYTES_MAX: u64 = 1 << 20;
/// Most files of a disk, 256 GiB in VMware's of 2 GiB: one message to a reader carries no more than 253 descriptors.
const EXTENTS_MAX: usize = 128;
/// Longest name of a file on Linux.
const NAME_BYTES_MAX: usize = 255;
/// A disk without one in front of which it stands.
const NO_PARENT: &str = "ffffffff";
const DISK_BYTES_MAX: u64 = 1 << 62;

/// A descriptor with its files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) kind: String,
    pub(super) size_bytes: u64,
    pub(super) extents: Vec<Extent>,
}

/// A part of the disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) length_bytes: u64,
    pub(super) place: Place,
}

/// Where a part of the disk is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: zeros.
    Zero,
    /// In a raw file, from this byte on.
    Flat { name: String, offset_bytes: u64 },
    /// In a file with grains.
    Sparse { name: String },
}

impl Descriptor {
    /// Reads a descriptor that stands alone.
    pub(super) fn parse(text: &str) -> Result<Descriptor, FormatError> {
        check_parent(text)?;
        let kind = kind(text)?;
        if !["monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse", "vmfs"].contains(&kind) {
            return Err(unsupported_kind(kind));
        }
        let lines = text.lines().filter_map(extent_words);
        let extents = lines.take(EXTENTS_MAX + 1).map(extent).collect::<Result<Vec<_>, _>>()?;
        if extents.is_empty() {
            return Err(FormatError::damaged("its descriptor has no extents"));
        }
        if extents.len() > EXTENTS_MAX {
            return Err(FormatError::unsupported(format!(
                "a VMDK image of more than {EXTENTS_MAX} extents (export the machine as OVA, which makes one file)"
            )));
        }
        let lengths = extents.iter().map(|extent| extent.length_bytes);
        let size_bytes = lengths.fold(0, u64::saturating_add);
        if size_bytes > DISK_BYTES_MAX {
            return Err(FormatError::damaged("a disk of this length is impossible"));
        }
        Ok(Descriptor { kind: kind.to_owned(), size_bytes, extents })
    }

    /// The files that it names, as often as it does.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.extents.iter().filter_map(|extent| match &extent.place {
            Place::Zero => None,
            Place::Flat { name, .. } | Place::Sparse { name } => Some(&**name),
        })
    }
}

/// What a descriptor says of which kind the image is.
pub(super) fn kind(text: &str) -> Result<&str, FormatError> {
    value(text, "createType")
        .ok_or_else(|| FormatError::damaged("its descriptor does not say of which kind it is"))
}

/// Refuses a disk that stands in front of another.
pub(super) fn check_parent(text: &str) -> Result<(), FormatError> {
    match value(text, "parentCID") {
        Some(parent) if !parent.eq_ignore_ascii_case(NO_PARENT) => Err(FormatError::unsupported(
            "a VMDK image with a parent (a snapshot: remove the snapshots, or export the machine as OVA)",
        )),
        _ => Ok(()),
    }
}

pub(super) fn unsupported_kind(kind: &str) -> FormatError {
    FormatError::unsupported(format!(
        "the VMDK kind '{}' (export the machine as OVA, which makes one file)",
        kind.escape_default()
    ))
}

/// The value of `KEY="VALUE"` or `KEY=VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim().eq_ignore_ascii_case(key)).then(|| value.trim().trim_matches('"'))
    })
}

/// A line about an extent behind the access that it grants.
fn extent_words(line: &str) -> Option<&str> {
    let (access, rest) = line.trim().split_once(' ')?;
    ["RW", "RDONLY", "NOACCESS"].contains(&access).then_some(rest)
}

/// `SECTORS KIND "NAME" OFFSET`; what VMware writes behind them is of devices.
fn extent(text: &str) -> Result<Extent, FormatError> {
    let bad = || FormatError::damaged(format!("its descriptor has an extent '{}'", shown(text)));
    let bytes = |word: &str| {
        let sectors: Option<u64> = word.parse().ok();
        sectors.and_then(|sectors| sectors.checked_mul(SECTOR_SIZE)).ok_or_else(bad)
    };
    let (sectors, rest) = text.trim().split_once(' ').ok_or_else(bad)?;
    let length_bytes = bytes(sectors)?;
    let (kind, rest) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
    if kind == "ZERO" {
        return Ok(Extent { length_bytes, place: Place::Zero });
    }
    let quoted = rest.trim().strip_prefix('"').and_then(|rest| rest.split_once('"'));
    let (name, rest) = quoted.ok_or_else(bad)?;
    if !is_name(name) {
        return Err(FormatError::unsupported(format!(
            "a VMDK extent in '{}', which is no file beside its descriptor",
            shown(name)
        )));
    }
    let name = name.to_owned();
    let place = match kind {
        "SPARSE" => Place::Sparse { name },
        "FLAT" | "VMFS" => {
            let offset_bytes = rest.split_ascii_whitespace().next().map_or(Ok(0), bytes)?;
            Place::Flat { name, offset_bytes }
        }
        other => return Err(FormatError::unsupported(format!("VMDK extents of kind '{}'", shown(other)))),
    };
    Ok(Extent { length_bytes, place })
}

/// Whether it can be a file's name in the descriptor's folder.
fn is_name(name: &str) -> bool {
    let is_file = !name.is_empty() && name != "." && name != "..";
    is_file && name.len() <= NAME_BYTES_MAX && !name.contains('/') && !name.contains(char::is_control)
}

fn shown(text: &str) -> String {
    messages::shortened(text, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(kind: &str, extents: &str) -> String {
        format!("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"{kind}\"\n{extents}\n")
    }

    #[test]
    fn extents_are_read_as_vmware_writes_them() {
        let text = descriptor(
            "vmfs",
            "RW 2048 VMFS \"web 1-flat.vmdk\" 8\nRDONLY 1 ZERO\nNOACCESS 3 SPARSE \"a.vmdk\"",
        );
        let found = Descriptor::parse(&text).unwrap();
        assert_eq!((found.size_bytes, found.kind.as_str()), (2052 * 512, "vmfs"));
        assert_eq!(found.names().collect::<Vec<_>>(), ["web 1-flat.vmdk", "a.vmdk"]);
        let flat = Place::Flat { name: "web 1-flat.vmdk".to_owned(), offset_bytes: 4096 };
        assert_eq!(found.extents[0], Extent { length_bytes: 1 << 20, place: flat });
        assert_eq!(found.extents[1], Extent { length_bytes: 512, place: Place::Zero });
    }

    #[test]
    fn names_of_other_folders_and_nonsense_are_refused() {
        let many = "RW 1 ZERO\n".repeat(EXTENTS_MAX + 1);
        for extents in [
            "",
            "RW 1 FLAT \"../a\"",
            "RW 1 FLAT \"/etc/passwd\"",
            "RW 1 FLAT \"..\"",
            "RW 1 FLAT \"\"",
            "RW 1 FLAT a",
            "RW -1 FLAT \"a\"",
            "RW 1 FLAT \"a\" x",
            "RW 1 VMFSRDM \"a\"",
            "RW 36028797018963968 ZERO",
            "RW 36028797018963967 ZERO\nRW 36028797018963967 ZERO",
            &many,
        ] {
            let error = Descriptor::parse(&descriptor("monolithicFlat", extents)).unwrap_err().to_string();
            assert!(error.contains("extent") || error.contains("length"), "{extents}: {error}");
        }
        let error = Descriptor::parse(&descriptor("fullDevice", "RW 1 FLAT \"/dev/sda\"")).unwrap_err();
        assert!(error.to_string().contains("'fullDevice'"), "{error}");
        let child = descriptor("vmfs", "RW 1 ZERO").replace("ffffffff", "12345678");
        assert!(Descriptor::parse(&child).unwrap_err().to_string().contains("with a parent"));
    }
}
