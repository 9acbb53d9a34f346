//! Moments in UTC, to the second.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::NameError;

const DAY_S: u64 = 86_400;
/// The first day of the year 10000, in days since 1970.
const DAYS_MAX: u64 = 2_932_897;

/// A moment, written as RFC 3339 writes it: `2026-01-31T12:00:00Z`. From 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcTime {
    unix_s: u64,
}

impl UtcTime {
    /// The moment `unix_s` seconds after 1970; the last second of 9999 if it is later.
    pub fn from_unix(unix_s: u64) -> UtcTime {
        UtcTime { unix_s: unix_s.min(DAYS_MAX * DAY_S - 1) }
    }

    /// What the host's clock says.
    pub fn now() -> UtcTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UtcTime::from_unix(since.as_secs())
    }

    /// Seconds since 1970.
    pub fn unix_s(self) -> u64 {
        self.unix_s
    }
}

impl Display for UtcTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.unix_s / DAY_S);
        let second = self.unix_s % DAY_S;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl FromStr for UtcTime {
    type Err = NameError;

    fn from_str(text: &str) -> Result<UtcTime, NameError> {
        let refused = || NameError("a time has to be written like 2026-01-31T12:00:00Z".to_owned());
        if text.len() != 20 || !text.is_ascii() {
            return Err(refused());
        }
        let number = |at: usize, digits: usize| text[at..at + digits].parse::<u64>().map_err(|_| refused());
        let days = days(number(0, 4)?, number(5, 2)?, number(8, 2)?).ok_or_else(refused)?;
        let second = number(11, 2)? * 3600 + number(14, 2)? * 60 + number(17, 2)?;
        let time = UtcTime { unix_s: days * DAY_S + second };
        // What is not written just as we write it names no moment.
        if time.to_string() == text { Ok(time) } else { Err(refused()) }
    }
}

impl TryFrom<String> for UtcTime {
    type Error = NameError;

    fn try_from(text: String) -> Result<UtcTime, NameError> {
        text.parse()
    }
}

impl From<UtcTime> for String {
    fn from(time: UtcTime) -> String {
        time.to_string()
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn year_days(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

/// Year, month and day, `days` after 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

/// Days from 1970-01-01 to a date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let right = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
    let years = || (1970..year).map(year_days).sum::<u64>();
    let months = || (1..month).map(|month| month_days(year, month)).sum::<u64>();
    right.then(|| years() + months() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(UtcTime::from_unix(unix_s).to_string(), text);
            assert_eq!(text.parse::<UtcTime>().unwrap().unix_s(), unix_s);
        }
        assert_eq!(UtcTime::from_unix(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for bad in [
            "",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01 00:00:00Z",
        ] {
            assert!(bad.parse::<UtcTime>().is_err(), "{bad}");
        }
        assert!("+025-01-01T00:00:00Z".parse::<UtcTime>().is_err());
    }
}
