//! Numbers with units ("programmatic units", DMTF DSP0004 annex C), as far as they count bytes.

/// Powers of ten would be more than 64 bits behind these.
const POWER_OF_TWO_MAX: u32 = 60;
const POWER_OF_TEN_MAX: u32 = 18;

/// Bytes of one unit, such as `byte * 2^20` or `MegaBytes`; nothing for what is no unit of bytes.
pub(super) fn bytes_of(unit: &str) -> Option<u64> {
    let unit: String = unit.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let unit = unit.as_str();
    if let Some((base, factor)) = unit.split_once('*') {
        let is_bytes = matches!(base, "byte" | "bytes");
        return is_bytes.then(|| power(factor)).flatten();
    }
    Some(match unit {
        "byte" | "bytes" => 1,
        "kb" | "kilobyte" | "kilobytes" | "kib" => 1 << 10,
        "mb" | "megabyte" | "megabytes" | "mib" => 1 << 20,
        "gb" | "gigabyte" | "gigabytes" | "gib" => 1 << 30,
        "tb" | "terabyte" | "terabytes" | "tib" => 1 << 40,
        _ => return None,
    })
}

/// `2^30`, `10^9`, or a plain number.
fn power(text: &str) -> Option<u64> {
    let Some((base, exponent)) = text.split_once('^') else {
        return text.parse().ok().filter(|one| *one > 0);
    };
    let exponent: u32 = exponent.parse().ok()?;
    match base {
        "2" if exponent <= POWER_OF_TWO_MAX => Some(1 << exponent),
        "10" if exponent <= POWER_OF_TEN_MAX => Some(10u64.pow(exponent)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_programs_write_them() {
        for (text, bytes) in [
            ("byte", Some(1)),
            ("byte * 2^20", Some(1 << 20)),
            ("byte*2^30", Some(1 << 30)),
            ("Bytes * 10^9", Some(1_000_000_000)),
            ("bytes * 512", Some(512)),
            ("MegaBytes", Some(1 << 20)),
            ("GigaBytes", Some(1 << 30)),
            ("KB", Some(1 << 10)),
            ("TB", Some(1 << 40)),
            ("", None),
            ("hertz * 10^6", None),
            ("byte * 2^64", None),
            ("byte * 10^30", None),
            ("byte * 3^3", None),
            ("byte * 0", None),
            ("byte * 2^-1", None),
            ("byte * 2^20 * 2", None),
        ] {
            assert_eq!(bytes_of(text), bytes, "{text}");
        }
    }
}
