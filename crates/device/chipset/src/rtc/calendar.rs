//! Days and dates of the proleptic Gregorian calendar, in pure integer arithmetic.

/// Seconds of a day.
const DAY_S: i64 = 86_400;
/// Days of a 400-year cycle.
const CYCLE_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// A moment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// From 1.
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
}

impl Moment {
    /// The moment `seconds` after 1970-01-01 00:00.
    pub fn from_unix(seconds: i64) -> Moment {
        let days = seconds.div_euclid(DAY_S) + EPOCH_DAYS;
        let rest = seconds.rem_euclid(DAY_S);
        let (cycle, day_of_cycle) = (days.div_euclid(CYCLE_DAYS), days.rem_euclid(CYCLE_DAYS));
        // Years of a cycle begin in March, so that a leap day is the last of its year.
        let year_of_cycle =
            (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Moment {
            year: cycle * 400 + year_of_cycle + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Seconds since 1970-01-01 00:00. Days, hours and so on beyond their end count on into the next month,
    /// day and so on; a month that does not exist is taken as the nearest.
    pub fn to_unix(self) -> i64 {
        let month = self.month.clamp(1, 12);
        let year = self.year - i64::from(month <= 2);
        let (cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
        let march_month = (month + 9) % 12;
        let day_of_year = (153 * march_month + 2) / 5 + self.day - 1;
        let days = cycle * CYCLE_DAYS + year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100
            + day_of_year
            - EPOCH_DAYS;
        days * DAY_S + self.hour * 3600 + self.minute * 60 + self.second
    }

    /// Day of the week, 1 for Sunday.
    pub fn weekday(self) -> i64 {
        // 1970-01-01 was a Thursday, day 5.
        (self.to_unix().div_euclid(DAY_S) + 4).rem_euclid(7) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let cases = [
            (0, (1970, 1, 1, 0, 0, 0), 5),
            (951_782_399, (2000, 2, 28, 23, 59, 59), 2),
            (951_782_400, (2000, 2, 29, 0, 0, 0), 3),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0), 2),
            (1_709_210_096, (2024, 2, 29, 12, 34, 56), 5),
            (-1, (1969, 12, 31, 23, 59, 59), 4),
        ];
        for (unix, (year, month, day, hour, minute, second), weekday) in cases {
            let moment = Moment { year, month, day, hour, minute, second };
            assert_eq!(Moment::from_unix(unix), moment);
            assert_eq!((moment.to_unix(), moment.weekday()), (unix, weekday), "{moment:?}");
        }
    }

    #[test]
    fn every_day_of_a_cycle_round_trips() {
        for day in 0..CYCLE_DAYS {
            assert_eq!(Moment::from_unix(day * DAY_S).to_unix(), day * DAY_S);
        }
    }
}
