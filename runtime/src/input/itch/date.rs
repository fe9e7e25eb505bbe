//! The day of a session: ITCH counts from midnight in New York and does not say of which day.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;
use tapeline_core::units::UnixNanos;

const HOUR_NS: u64 = 3_600 * 1_000_000_000;

/// A day in New York.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionDate(Date);

impl SessionDate {
    /// The day that is taken where nothing tells it: 1970-01-01.
    pub const UNKNOWN: Self = Self(Date::constant(1970, 1, 1));

    /// The day in the name of a file, as Nasdaq names its files: `01302020.NASDAQ_ITCH50.gz` (month, day, year),
    /// `S081321-v50.txt.gz` (month, day, year without the century), also `20200130...` (year, month, day). The first run of six or eight
    /// digits that is a day counts; folders do not.
    #[must_use]
    pub fn of_file_name(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.split(|c: char| !c.is_ascii_digit()).find_map(|digits| {
            let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
            let day = |year: i16, month: i16, day: i16| Date::new(year, month as i8, day as i8).ok();
            let is_recent = |date: &Date| (1998..2100).contains(&date.year());
            let date = match digits.len() {
                6 => day(2000 + number(4, 6)?, number(0, 2)?, number(2, 4)?),
                8 => day(number(4, 8)?, number(0, 2)?, number(2, 4)?)
                    .filter(is_recent)
                    .or_else(|| day(number(0, 4)?, number(4, 6)?, number(6, 8)?)),
                _ => None,
            };
            date.filter(is_recent).map(Self)
        })
    }

    /// The day in New York at an instant, ns since the UNIX epoch.
    #[must_use]
    pub fn at(ns: u64) -> Self {
        let instant = Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        Self(instant.to_zoned(new_york()).date())
    }

    /// Midnight in New York at the day's start, ns since the UNIX epoch.
    ///
    /// # Panics
    /// Never: the zone is part of the program.
    #[must_use]
    pub fn midnight_ns(self) -> u64 {
        let midnight = self.0.to_zoned(new_york()).expect("midnight of a day since 1970");
        u64::try_from(midnight.timestamp().as_nanosecond()).unwrap_or(0)
    }

    /// Midnight of the day for which `since_midnight_ns` comes nearest to `near`: the session of what was captured then.
    #[must_use]
    pub fn midnight_near(near: UnixNanos, since_midnight_ns: u64) -> u64 {
        let now = Timestamp::from_nanosecond(i128::from(near.0)).unwrap_or(Timestamp::UNIX_EPOCH);
        let guess = now.checked_sub(SignedDuration::from_nanos(since_midnight_ns as i64)).unwrap_or(now);
        let today = guess.to_zoned(new_york()).date();
        let days = [today.yesterday().unwrap_or(today), today, today.tomorrow().unwrap_or(today)];
        let midnights = days.map(|day| Self(day).midnight_ns());
        let distance = |midnight: &u64| midnight.saturating_add(since_midnight_ns).abs_diff(near.0);
        midnights.into_iter().min_by_key(distance).unwrap_or(0)
    }

    /// Whether a time lies so far from when it was captured that it must be of another day.
    pub(super) const fn is_other_day(ts_event: u64, ts_recv: u64) -> bool {
        ts_event.abs_diff(ts_recv) > 13 * HOUR_NS
    }
}

impl FromStr for SessionDate {
    type Err = String;

    /// `2020-01-30`.
    fn from_str(text: &str) -> Result<Self, String> {
        let date: Date = text.parse().map_err(|_| format!("\"{text}\" is no day such as 2020-01-30"))?;
        // What nanoseconds of 64 bits reach, with room to spare.
        if (1970..2500).contains(&date.year()) {
            Ok(Self(date))
        } else {
            Err(format!("{text} is not from 1970 to 2499"))
        }
    }
}

impl fmt::Display for SessionDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn new_york() -> TimeZone {
    TimeZone::get("America/New_York").expect("the zones are part of the program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_from_names_as_nasdaq_writes_them() {
        for (name, day) in [
            ("01302020.NASDAQ_ITCH50.gz", Some("2020-01-30")),
            ("/data/19990101/01302020.NASDAQ_ITCH50", Some("2020-01-30")),
            ("S081321-v50.txt.gz", Some("2021-08-13")),
            ("20190830.PSX_ITCH_50", Some("2019-08-30")),
            ("itch-20200130-v5.bin", Some("2020-01-30")),
            ("99999999.itch", None),
            ("13302020.itch", None),
            ("itch50.bin", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(SessionDate::of_file_name(name).map(|date| date.to_string()), day.map(str::to_owned), "{name}");
        }
    }

    #[test]
    fn midnight_is_new_yorks_in_winter_and_summer() {
        let midnight = |day: &str| day.parse::<SessionDate>().unwrap().midnight_ns() / 1_000_000_000;
        // date -d '2020-01-30 00:00 EST' +%s, date -d '2021-08-13 00:00 EDT' +%s.
        assert_eq!(midnight("2020-01-30"), 1_580_360_400);
        assert_eq!(midnight("2021-08-13"), 1_628_827_200);
        assert_eq!(SessionDate::UNKNOWN.midnight_ns(), 5 * HOUR_NS);
        assert!("2020-02-30".parse::<SessionDate>().is_err());
        assert!("1969-12-31".parse::<SessionDate>().is_err());
    }

    #[test]
    fn the_day_of_a_capture_is_the_nearest_one() {
        let midnight = "2020-01-30".parse::<SessionDate>().unwrap().midnight_ns();
        for hour in 0..24 {
            let since = hour * HOUR_NS + 7;
            for skew in [-2_000_000_000i64, 0, 500, 3_000_000_000] {
                let near = UnixNanos((midnight + since).wrapping_add_signed(skew));
                assert_eq!(SessionDate::midnight_near(near, since), midnight, "hour {hour}, skew {skew}");
            }
        }
        assert!(SessionDate::is_other_day(0, 14 * HOUR_NS) && !SessionDate::is_other_day(0, 12 * HOUR_NS));
        // Whatever the numbers are.
        for (near, since) in [(0, 0), (u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (1, 1 << 47)] {
            let _ = SessionDate::midnight_near(UnixNanos(near), since);
        }
    }
}
