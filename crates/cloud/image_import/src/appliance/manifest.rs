//! The manifest: a digest for each file, `SHA256(name)= hex` in lines.

use std::collections::BTreeMap;
use std::io::{self, Read};

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{ApplianceError, damaged, unsupported};
use crate::text::printable;

/// Longest manifest that is read, in bytes.
pub(super) const BYTES_MAX: u64 = 1 << 20;
const CHUNK_BYTES: usize = 256 << 10;

/// How a digest is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sha1,
    Sha256,
    Sha512,
}

/// A file's digest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileDigest {
    kind: Kind,
    hex: String,
}

/// Said of an appliance without one.
pub(super) fn missing() -> String {
    "it has no manifest: its files are taken as they are".to_owned()
}

/// A file is not what the manifest says.
pub(super) fn differs(name: &str) -> ApplianceError {
    damaged(format!("its file {} is not what its manifest says", printable(name)))
}

/// The digests of a manifest by the names of their files.
pub(super) fn parse(text: &[u8]) -> Result<BTreeMap<String, FileDigest>, ApplianceError> {
    let text = std::str::from_utf8(text).map_err(|_| damaged("its manifest is no text"))?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse_line(line)
                .ok_or_else(|| damaged(format!("its manifest has a line '{}'", printable(line))))
                .and_then(|(kind, name, hex)| {
                    let kind = match &*kind.to_ascii_uppercase() {
                        "SHA1" => Kind::Sha1,
                        "SHA256" => Kind::Sha256,
                        "SHA512" => Kind::Sha512,
                        other => return Err(unsupported(format!("digests by {}", printable(other)))),
                    };
                    Ok((name.to_owned(), FileDigest { kind, hex: hex.to_ascii_lowercase() }))
                })
        })
        .collect()
}

fn parse_line(line: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = line.split_once('(')?;
    let (name, hex) = rest.rsplit_once('=')?;
    let name = name.trim_end().strip_suffix(')')?;
    let hex = hex.trim();
    let right = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then_some((kind.trim(), name.strip_prefix("./").unwrap_or(name), hex))
}

impl FileDigest {
    /// Whether what is read has this digest; `told` hears of the bytes read.
    pub(super) fn is_of(&self, file: impl Read, told: &mut dyn FnMut(u64)) -> io::Result<bool> {
        let found = match self.kind {
            Kind::Sha1 => digest::<Sha1>(file, told)?,
            Kind::Sha256 => digest::<Sha256>(file, told)?,
            Kind::Sha512 => digest::<Sha512>(file, told)?,
        };
        Ok(found == self.hex)
    }
}

fn digest<D: Digest>(mut file: impl Read, told: &mut dyn FnMut(u64)) -> io::Result<String> {
    let mut state = D::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                state.update(&chunk[..length]);
                told(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(image_model::hex(&state.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_programs_write_them_and_compared() {
        let abc1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let abc256 = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let text = format!("SHA1(a b(1).vmdk)= {abc1}\r\nSHA256 (./x.ovf) = {abc256}\n\n");
        let found = parse(text.as_bytes()).unwrap();
        let mut read = 0;
        assert!(found["a b(1).vmdk"].is_of(&b"abc"[..], &mut |bytes| read += bytes).unwrap());
        assert!(found["x.ovf"].is_of(&b"abc"[..], &mut |_| ()).unwrap());
        assert!(!found["x.ovf"].is_of(&b"abd"[..], &mut |_| ()).unwrap());
        assert_eq!((found.len(), read), (2, 3));
        for (bad, words) in [
            ("MD5(a)= 00", "digests by MD5"),
            ("SHA1(a)= xyz", "a line 'SHA1(a)= xyz'"),
            ("SHA1 a = 00", "a line"),
            ("SHA1(a)=", "a line"),
            ("nonsense", "a line"),
        ] {
            let error = parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{bad}: {error}");
        }
        assert!(parse(&[0xff]).is_err());
    }
}
