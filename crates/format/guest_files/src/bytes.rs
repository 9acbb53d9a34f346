//! Numbers out of bytes, where the bytes may be fewer than they should be.

use image_model::uuid_text;

use crate::FsError;

/// Bytes of a structure on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

macro_rules! numbers {
    ($($name:ident, $number:ty, $from:ident;)*) => {$(
        pub(crate) fn $name(self, at: usize) -> Result<$number, FsError> {
            const LEN: usize = size_of::<$number>();
            let bytes = at.checked_add(LEN).and_then(|end| self.0.get(at..end)).ok_or(CUT_SHORT)?;
            Ok(<$number>::$from(bytes.try_into().map_err(|_| CUT_SHORT)?))
        }
    )*};
}

const CUT_SHORT: FsError = FsError::Damaged("a structure is cut short");

impl<'a> Bytes<'a> {
    numbers! {
        u8, u8, from_le_bytes;
        le16, u16, from_le_bytes;
        le32, u32, from_le_bytes;
        le64, u64, from_le_bytes;
        be16, u16, from_be_bytes;
        be32, u32, from_be_bytes;
        be64, u64, from_be_bytes;
    }

    /// `len` bytes from `at` on.
    pub(crate) fn slice(self, at: usize, len: usize) -> Result<&'a [u8], FsError> {
        at.checked_add(len).and_then(|end| self.0.get(at..end)).ok_or(CUT_SHORT)
    }

    /// Everything from `at` on.
    pub(crate) fn from(self, at: usize) -> Result<Bytes<'a>, FsError> {
        self.0.get(at..).map(Bytes).ok_or(CUT_SHORT)
    }

    /// An array of `N` bytes from `at` on.
    pub(crate) fn array<const N: usize>(self, at: usize) -> Result<[u8; N], FsError> {
        self.slice(at, N)?.try_into().map_err(|_| CUT_SHORT)
    }
}

/// A GUID as EFI stores it: the first three fields are little-endian (UEFI appendix A).
pub(crate) fn guid_text(guid: &[u8; 16]) -> String {
    let mut uuid = *guid;
    uuid[..4].reverse();
    uuid[4..6].reverse();
    uuid[6..8].reverse();
    uuid_text(&uuid)
}

/// A text of a fixed field: up to its first zero byte, without spaces at its end.
pub(crate) fn field_text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_order_and_never_reach_beyond() {
        let bytes = Bytes(&[1, 2, 3, 4]);
        assert_eq!(bytes.le32(0).unwrap(), 0x0403_0201);
        assert_eq!(bytes.be16(2).unwrap(), 0x0304);
        assert!(bytes.le32(1).is_err());
        assert!(bytes.le16(usize::MAX).is_err());
        assert!(bytes.slice(usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn guids_are_written_as_people_know_them() {
        let esp =
            [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(guid_text(&esp), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }
}
