//! Times, as records have them and as people read them.

use image_model::UtcTime;

/// Seconds since 1970-01-01 00:00 UTC.
pub fn now_s() -> u64 {
    UtcTime::now().unix_s()
}

/// A time as people read it: `2026-11-30 21:45:10 UTC`.
pub fn utc(seconds: u64) -> String {
    UtcTime::from_unix(seconds).to_string().replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_796_074_310, "2026-11-30 21:31:50 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
