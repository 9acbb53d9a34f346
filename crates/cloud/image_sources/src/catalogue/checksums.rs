//! Lists of checksums, as vendors publish them beside their files.
//!
//! Three forms, line by line, whatever else is in the list (signatures, comments): `<digits>  name` and
//! `<digits> *name` (coreutils), `SHA256 (name) = <digits>` (BSD, Fedora), and digits alone, where the list
//! is of one file.

use image_model::{Checksum, ChecksumKind};

/// Finds the checksum of `name` in `list`.
///
/// # Errors
/// It is not in there, or in there twice with different digits.
pub fn find_checksum(list: &str, name: &str, kind: ChecksumKind) -> Result<Checksum, String> {
    let mut found: Option<Checksum> = None;
    for line in list.lines().map(str::trim) {
        let Some(checksum) = bsd(line, name, kind).or_else(|| gnu(line, name, kind)) else { continue };
        if found.as_ref().is_some_and(|found| *found != checksum) {
            return Err(format!("it has two checksums of {name}"));
        }
        found = Some(checksum);
    }
    found.or_else(|| alone(list, kind)).ok_or_else(|| format!("it has no {} of {name}", kind.name()))
}

fn bsd(line: &str, name: &str, kind: ChecksumKind) -> Option<Checksum> {
    let (label, rest) = line.split_once(" (")?;
    let (listed, digits) = rest.rsplit_once(") = ")?;
    let right = label.eq_ignore_ascii_case(kind.name()) && bare(listed) == name;
    if right { Checksum::new(kind, digits).ok() } else { None }
}

fn gnu(line: &str, name: &str, kind: ChecksumKind) -> Option<Checksum> {
    let (digits, listed) = line.split_once(char::is_whitespace)?;
    let listed = listed.trim_start();
    let listed = listed.strip_prefix('*').unwrap_or(listed);
    if bare(listed) == name { Checksum::new(kind, digits).ok() } else { None }
}

fn alone(list: &str, kind: ChecksumKind) -> Option<Checksum> {
    Checksum::new(kind, list.trim()).ok()
}

/// A listed name without the folder that it is in.
fn bare(listed: &str) -> &str {
    listed.rsplit_once('/').map_or(listed, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChecksumKind::{Sha256, Sha512};

    fn digits(byte: &str, kind: ChecksumKind) -> String {
        byte.repeat(kind.digits() / byte.len())
    }

    #[test]
    fn all_forms_are_read() {
        let (a, b) = (digits("a1", Sha256), digits("b2", Sha256));
        let expected = Checksum::new(Sha256, &a).unwrap();
        for list in [
            format!("{b}  x.qcow2\n{a}  y.qcow2\n"),
            format!("{b} *x.qcow2\n{a} *y.qcow2\n"),
            format!("{a}  ./y.qcow2"),
            format!("SHA256 (x.qcow2) = {b}\nSHA256 (y.qcow2) = {a}\n"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# y.qcow2: 5 bytes\nSHA256 (y.qcow2) = {a}\n-----BEGIN PGP SIGNATURE-----\n"
            ),
            format!("{}\n", a.to_uppercase()),
            format!("{a}  y.qcow2\n{a}  y.qcow2\n"),
        ] {
            assert_eq!(find_checksum(&list, "y.qcow2", Sha256), Ok(expected.clone()), "{list}");
        }
        let long = digits("c3", Sha512);
        let list = format!("SHA256 (y.qcow2) = {a}\nSHA512 (y.qcow2) = {long}\n");
        assert_eq!(find_checksum(&list, "y.qcow2", Sha512).unwrap().hex(), long);
    }

    #[test]
    fn what_is_not_listed_is_not_found() {
        let (a, b) = (digits("a1", Sha256), digits("b2", Sha256));
        for list in [
            String::new(),
            format!("{a}  other.qcow2"),
            format!("{a}  my-y.qcow2"),
            format!("SHA512 (y.qcow2) = {a}"),
            format!("MD5 (y.qcow2) = {a}"),
            "y.qcow2".to_owned(),
            format!("{}  y.qcow2", &a[1..]),
            format!("{a}\n{b}"),
            format!("{a}  y.qcow2\n{b}  y.qcow2"),
        ] {
            assert!(find_checksum(&list, "y.qcow2", Sha256).is_err(), "{list}");
        }
    }
}
