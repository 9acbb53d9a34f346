//! Another name for the file behind an image, which is the same file or one of the same contents.

use guest_memory::IoBuffers;

use super::header::{FormatError, Header};
use super::spec::{BACKING_LENGTH, BACKING_NAME_MAX, BACKING_OFFSET};
use crate::image_file::{ImageFile, read_vec};

/// Writes `name` in the place of the name that the header has. An image without one has no place for it.
pub(crate) fn rename_backing(file: &dyn ImageFile, name: &str) -> Result<(), FormatError> {
    let header = Header::read(file)?;
    let Some(former) = header.backing else {
        return Err(FormatError::unsupported("another backing file, where there is none,"));
    };
    let cluster = read_vec(file, 0, header.geometry.cluster_bytes() as usize)?;
    let offset = cluster[BACKING_OFFSET].iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
    let (old_end, new_end) = (offset + former.path.len(), offset + name.len());
    let room = cluster.get(old_end..new_end.max(old_end));
    if name.len() > BACKING_NAME_MAX || room.is_none_or(|room| room.iter().any(|byte| *byte != 0)) {
        return Err(FormatError::unsupported("a backing file's name for which its header has no room"));
    }
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(bytes.len().max(former.path.len()), 0);
    file.write(IoBuffers::from_vec(bytes), offset as u64)?;
    let length = (name.len() as u32).to_be_bytes();
    file.write(IoBuffers::from_vec(length.to_vec()), BACKING_LENGTH.start as u64)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::qcow2::{BackingName, CreateOptions};
    use crate::{DiskFormat, OfflineError, RawContents, create_qcow2, info};

    #[test]
    fn names_may_be_shorter_and_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("overlay");
        let backing = BackingName { path: "../b".to_owned(), format: Some("raw".to_owned()) };
        let options =
            CreateOptions { backing: Some(backing), cluster_bytes: 512, ..CreateOptions::new(1 << 20) };
        create_qcow2(&path, &options).unwrap();
        let named = || {
            let info = info(&path, DiskFormat::Qcow2, RawContents::Any).unwrap();
            let backing = info.qcow2.unwrap().backing.unwrap();
            (backing.path, backing.format.unwrap())
        };
        for name in ["/a/longer/name", "x", "../../blobs/sha256/0123456789abcdef"] {
            crate::rename_backing(&path, name).unwrap();
            assert_eq!(named(), (name.to_owned(), "raw".to_owned()));
        }
        let error = crate::rename_backing(&path, &"x".repeat(600)).unwrap_err();
        assert!(matches!(error, OfflineError::Open(_)), "{error}");
        assert_eq!(named().0, "../../blobs/sha256/0123456789abcdef", "nothing is changed");
        let alone = folder.path().join("alone");
        create_qcow2(&alone, &CreateOptions::new(1 << 20)).unwrap();
        assert!(crate::rename_backing(&alone, "x").is_err());
    }
}
