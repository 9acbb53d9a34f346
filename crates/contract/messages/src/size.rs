//! Numbers of bytes.

use std::fmt;

/// A number of bytes as people read it, in the unit that they type: `10 GiB`, `1.5 MiB`, `512 bytes`.
///
/// It is exact below 1 MiB and where the unit goes into it, and rounded to a tenth elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(u32, &str); 5] = [(50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        // Rounding must not bring forth 1024.0 of a unit.
        let fits = |shift: u32| bytes >= (1 << shift) - (1 << shift) / 2048;
        match UNITS.iter().find(|(shift, _)| fits(*shift)) {
            Some((shift, unit)) if bytes.trailing_zeros() >= *shift => write!(f, "{} {unit}", bytes >> shift),
            Some((shift, unit)) if *shift >= 20 => {
                write!(f, "{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64)
            }
            _ if bytes == 1 => f.write_str("1 byte"),
            _ => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (512, "512 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1536 bytes"),
            (4096, "4 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (10 << 30, "10 GiB"),
            ((10 << 30) + 1, "10.0 GiB"),
            (5 << 50, "5 PiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
