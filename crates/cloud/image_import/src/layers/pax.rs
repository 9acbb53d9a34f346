//! Records of extended headers (POSIX.1-2001 pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`.

use super::error::LayerError;
use crate::inputs::Dropped;

/// Longest value of an extended attribute (xattr(7)), in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;
/// Longest name of one (`XATTR_NAME_MAX`).
const ATTRIBUTE_NAME_MAX: usize = 255;
/// Where GNU tar, star and Go keep attributes, and where libarchive does.
pub(super) const ATTRIBUTE_PREFIX: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_PREFIX: &[u8] = b"LIBARCHIVE.xattr.";
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";
/// Attributes that are kept.
const CAPABILITY: &[u8] = b"security.capability";
const USER_PREFIX: &[u8] = b"user.";

/// Name and value of an extended attribute.
pub(crate) type Attribute = (Box<[u8]>, Box<[u8]>);

/// What extended headers say of the entry behind them.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<u64>,
    pub(super) attributes: Vec<Attribute>,
}

impl Extended {
    /// Takes the records of an extended header.
    pub(super) fn read(&mut self, mut records: &[u8], dropped: &mut Dropped) -> Result<(), LayerError> {
        while !records.is_empty() {
            let (key, value, rest) =
                first(records).ok_or(LayerError::Damaged("an extended header makes no sense"))?;
            records = rest;
            self.take(key, value, dropped)?;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8], dropped: &mut Dropped) -> Result<(), LayerError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            // Seconds, perhaps with a fraction; before 1970 with a sign.
            b"mtime" => self.mtime = whole_seconds(value),
            key if key.starts_with(SPARSE_PREFIX) => return Err(LayerError::Unsupported("sparse files")),
            key if key.starts_with(LIBARCHIVE_PREFIX) => dropped.attributes += 1,
            key => {
                if let Some(name) = key.strip_prefix(ATTRIBUTE_PREFIX) {
                    self.take_attribute(name, value, dropped)?;
                }
            }
        }
        Ok(())
    }

    fn take_attribute(&mut self, name: &[u8], value: &[u8], dropped: &mut Dropped) -> Result<(), LayerError> {
        if name != CAPABILITY && !name.starts_with(USER_PREFIX) {
            dropped.attributes += 1;
            return Ok(());
        }
        if name.len() > ATTRIBUTE_NAME_MAX || name.contains(&0) || value.len() > ATTRIBUTE_BYTES_MAX {
            return Err(LayerError::Damaged("an extended attribute is longer than any"));
        }
        self.attributes.retain(|(other, _)| **other != *name);
        self.attributes.push((name.into(), value.into()));
        Ok(())
    }
}

/// The first record, and what is behind it.
fn first(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[length..]))
}

fn number(value: &[u8]) -> Result<u64, LayerError> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or(LayerError::Damaged("an extended header has no number where one belongs"))
}

fn whole_seconds(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.split('.').next()?.parse().ok()
}

/// A record.
pub(super) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits.
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend(key);
    record.push(b'=');
    record.extend(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_are_written() {
        for length in [0, 1, 85, 86, 87, 88, 89, 90, 987, 988, 989, 990, 5000] {
            let (key, value) = (b"SCHILY.xattr.user.x", vec![b'\n'; length]);
            let record = record(key, &value);
            let (found_key, found, rest) = first(&record).unwrap();
            assert_eq!((found_key, found, rest), (&key[..], &value[..], &b""[..]));
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in
            [&b"9999999999999999999999 path=x\n"[..], b"5 a\n", b"0 a=b\n", b"7 a=bc\n\0", b"x", b"8 a=bcd "]
        {
            let mut extended = Extended::default();
            extended.read(bytes, &mut Dropped::default()).unwrap_err();
        }
        let sparse = record(b"GNU.sparse.realsize", b"1152921504606846976");
        let error = Extended::default().read(&sparse, &mut Dropped::default()).unwrap_err();
        assert!(error.to_string().contains("sparse"), "{error}");
    }

    #[test]
    fn only_harmless_attributes_are_kept() {
        let mut records = record(b"SCHILY.xattr.security.capability", b"\x01\x00\n\x02");
        records.extend(record(b"SCHILY.xattr.trusted.overlay.opaque", b"y"));
        records.extend(record(b"SCHILY.xattr.security.selinux", b"x"));
        records.extend(record(b"LIBARCHIVE.xattr.user.a", b"eA=="));
        let (mut extended, mut dropped) = (Extended::default(), Dropped::default());
        extended.read(&records, &mut dropped).unwrap();
        assert_eq!(dropped.attributes, 3);
        assert_eq!(extended.attributes.len(), 1);
        assert_eq!(*extended.attributes[0].1, *b"\x01\x00\n\x02");
    }
}
