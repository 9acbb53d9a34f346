//! Which of two versions is the newer one, as package managers see it.

use std::cmp::Ordering;

/// Compares runs of digits as numbers and runs of letters as text, one after the other; what stands between them
/// does not count, but for `~`, and `rc` behind a number, which come before.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (Parts(left.as_bytes()), Parts(right.as_bytes()));
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(part)) => end_against(part),
            (Some(part), None) => end_against(part).reverse(),
            (Some(left), Some(right)) => compare_parts(left, right),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

fn is_before_the_end(part: &[u8]) -> bool {
    part == b"~" || part == b"rc"
}

/// How a version that ends here compares with one that goes on with `part`.
fn end_against(part: &[u8]) -> Ordering {
    if is_before_the_end(part) { Ordering::Greater } else { Ordering::Less }
}

fn compare_parts(left: &[u8], right: &[u8]) -> Ordering {
    let is_number = |part: &[u8]| part[0].is_ascii_digit();
    match (is_before_the_end(left), is_before_the_end(right)) {
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        _ => {}
    }
    if is_number(left) && is_number(right) {
        let significant = |part: &'_ [u8]| part.iter().position(|&digit| digit != b'0').unwrap_or(part.len());
        let (left, right) = (&left[significant(left)..], &right[significant(right)..]);
        return left.len().cmp(&right.len()).then_with(|| left.cmp(right));
    }
    is_number(left).cmp(&is_number(right)).then_with(|| left.cmp(right))
}

/// Runs of digits, of letters, and `~`.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|&byte| byte.is_ascii_alphanumeric() || byte == b'~')?;
        let rest = &self.0[start..];
        let same = |byte: &&u8| match rest[0] {
            b'~' => false,
            first if first.is_ascii_digit() => byte.is_ascii_digit(),
            _ => byte.is_ascii_alphabetic(),
        };
        let len = 1 + rest[1..].iter().take_while(same).count();
        self.0 = &rest[len..];
        Some(&rest[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_order() {
        let ordered = [
            "5.10.0-9-amd64",
            "5.10.0-30-amd64",
            "6.1.0-9-amd64",
            "6.1.0-10-amd64",
            "6.12-rc3",
            "6.12",
            "6.12.0-rc3",
            "6.12.0~rc4",
            "6.12.0",
            "6.12.10-200.fc41.x86_64",
            "06.13",
        ];
        for (index, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                if (left, right) == (&"6.12.0-rc3", &"6.12.0~rc4")
                    || (left, right) == (&"6.12.0~rc4", &"6.12.0-rc3")
                {
                    continue;
                }
                assert_eq!(compare(left, right), index.cmp(&other), "{left} {right}");
            }
        }
        assert_eq!(compare("", "~"), Ordering::Greater);
        assert_eq!(compare("1.0", "1-0"), Ordering::Equal);
    }
}
