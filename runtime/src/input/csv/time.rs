//! Times of a CSV: numbers in a unit, or texts; since 1970, or since the midnight of a day.

use crate::input::decimal::{self, DecimalError};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use tapeline_core::units::UnixNanos;

const MINUTE_NS: u64 = 60_000_000_000;
const DAY_NS: u64 = 86_400_000_000_000;

/// How times are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeUnit {
    /// Nanoseconds.
    Nanos,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// ISO 8601: `2024-01-02T14:30:00.123Z`, `2024-01-02 14:30:00.123`, `20240102T143000`; with a day, also `14:30:00.123`.
    Text,
}

impl TimeUnit {
    /// Decimals after which a number is in ns.
    const fn decimals(self) -> u8 {
        match self {
            Self::Nanos | Self::Text => 0,
            Self::Micros => 3,
            Self::Millis => 6,
            Self::Seconds => 9,
        }
    }

    /// The unit of a time since 1970 by its number of digits before the point: each reaches from 2001 (s) or 1970 to 2286.
    const fn of_digits(digits: usize) -> Self {
        match digits {
            0..=10 => Self::Seconds,
            11..=13 => Self::Millis,
            14..=16 => Self::Micros,
            _ => Self::Nanos,
        }
    }
}

/// Why a text is no time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum TimeError {
    #[error("{0}")]
    Decimal(#[from] DecimalError),
    #[error("no time such as 2024-01-02T14:30:00.123Z")]
    Text,
    #[error("no time of day such as 14:30:00.123")]
    OfDay,
    #[error("no day such as 2024-01-02 or 20240102")]
    Day,
    #[error("not within the years 1970 to 2554")]
    Range,
}

/// A day as it is written.
pub(super) fn day(text: &[u8]) -> Option<Date> {
    let date: Date = std::str::from_utf8(text).ok()?.parse().ok()?;
    // A date with a time after it is none.
    ((1970..2500).contains(&date.year()) && text.len() <= 10).then_some(date)
}

/// Reads times.
pub(super) struct Clock {
    /// `None` = by the look of each.
    unit: Option<TimeUnit>,
    zone: TimeZone,
    /// The day that was used last, as written.
    day: Option<(Vec<u8>, Date)>,
    /// Start of the minute of local time that was used last: its day, its minute, and the instant in ns.
    minute: Option<(Date, u64, u64)>,
}

impl Clock {
    /// Times without an offset of their own are of `zone`.
    pub(super) fn new(unit: Option<TimeUnit>, zone: TimeZone) -> Self {
        Self { unit, zone, day: None, minute: None }
    }

    /// The instant that `text` says; with `day`, a time of that day.
    pub(super) fn instant(&mut self, text: &[u8], day: Option<&[u8]>) -> Result<UnixNanos, TimeError> {
        let ns = match day {
            None => self.since_1970(text)?,
            Some(day) => {
                let day = self.day(day)?;
                self.of_day(day, text)?
            }
        };
        if ns == UnixNanos::UNKNOWN.0 { Err(TimeError::Range) } else { Ok(UnixNanos(ns)) }
    }

    fn since_1970(&mut self, text: &[u8]) -> Result<u64, TimeError> {
        let unit = self.unit.unwrap_or_else(|| {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let is_number = digits > 0 && text[digits..].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
            if is_number { TimeUnit::of_digits(digits) } else { TimeUnit::Text }
        });
        if unit != TimeUnit::Text {
            return Ok(decimal::fixed(text, unit.decimals())?);
        }
        let text = std::str::from_utf8(text).map_err(|_| TimeError::Text)?;
        let (clock, has_time) = match text.find(['T', 't', ' ']) {
            Some(at) => (&text[at + 1..], true),
            None => ("", false),
        };
        // An offset begins with a sign after the time of day; the one of a date is before it.
        if clock.ends_with(['Z', 'z']) || clock.contains(['+', '-']) {
            let at: Timestamp = text.parse().map_err(|_| TimeError::Text)?;
            return u64::try_from(at.as_nanosecond()).map_err(|_| TimeError::Range);
        }
        if !has_time {
            return Err(TimeError::Text);
        }
        let at: DateTime = text.parse().map_err(|_| TimeError::Text)?;
        self.local(at.date(), ns_of_day(at.time()))
    }

    fn of_day(&mut self, day: Date, text: &[u8]) -> Result<u64, TimeError> {
        let is_clock = text.contains(&b':');
        let since_midnight = match self.unit {
            Some(unit) if unit != TimeUnit::Text => decimal::fixed(text, unit.decimals())?,
            _ if is_clock => {
                let text = std::str::from_utf8(text).map_err(|_| TimeError::OfDay)?;
                ns_of_day(text.parse::<Time>().map_err(|_| TimeError::OfDay)?)
            }
            _ => return Err(TimeError::OfDay),
        };
        if since_midnight >= DAY_NS {
            return Err(TimeError::OfDay);
        }
        self.local(day, since_midnight)
    }

    fn day(&mut self, text: &[u8]) -> Result<Date, TimeError> {
        if let Some((written, date)) = &self.day
            && written == text
        {
            return Ok(*date);
        }
        let date = day(text).ok_or(TimeError::Day)?;
        self.day = Some((text.to_vec(), date));
        Ok(date)
    }

    /// The instant of a time of day in the zone. Where clocks go back it is the first of the two, where they go forward it is as much later.
    /// Zones change their offset at full minutes, so that one look-up holds for a minute.
    fn local(&mut self, day: Date, ns: u64) -> Result<u64, TimeError> {
        let minute = ns / MINUTE_NS;
        let start = match self.minute {
            Some((of, at, start)) if (of, at) == (day, minute) => start,
            _ => {
                let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).map_err(|_| TimeError::OfDay)?;
                let at = day.to_datetime(time).to_zoned(self.zone.clone()).map_err(|_| TimeError::Range)?;
                let start = u64::try_from(at.timestamp().as_nanosecond()).map_err(|_| TimeError::Range)?;
                self.minute = Some((day, minute, start));
                start
            }
        };
        start.checked_add(ns % MINUTE_NS).ok_or(TimeError::Range)
    }
}

fn ns_of_day(time: Time) -> u64 {
    let seconds = time.hour() as u64 * 3_600 + time.minute() as u64 * 60 + time.second() as u64;
    seconds * 1_000_000_000 + time.subsec_nanosecond() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(unit: Option<TimeUnit>, zone: &str) -> Clock {
        Clock::new(unit, TimeZone::get(zone).unwrap())
    }

    fn ns(unit: Option<TimeUnit>, zone: &str, text: &str, day: Option<&str>) -> Result<u64, TimeError> {
        clock(unit, zone).instant(text.as_bytes(), day.map(str::as_bytes)).map(|at| at.0)
    }

    const AT: u64 = 1_704_205_800_123_456_789;

    #[test]
    fn numbers_in_every_unit() {
        for (unit, text) in [
            (TimeUnit::Nanos, "1704205800123456789"),
            (TimeUnit::Micros, "1704205800123456.789"),
            (TimeUnit::Millis, "1704205800123.456789"),
            (TimeUnit::Seconds, "1704205800.123456789"),
        ] {
            assert_eq!(ns(Some(unit), "UTC", text, None), Ok(AT), "{unit:?}");
            assert_eq!(ns(None, "UTC", text, None), Ok(AT), "{unit:?} by its look");
        }
        assert_eq!(ns(Some(TimeUnit::Nanos), "UTC", "1.5", None), Err(TimeError::Decimal(DecimalError::TooFine(0))));
        assert_eq!(ns(Some(TimeUnit::Nanos), "UTC", "18446744073709551615", None), Err(TimeError::Range));
        assert!(ns(Some(TimeUnit::Seconds), "UTC", "99999999999", None).is_err());
        assert!(ns(Some(TimeUnit::Micros), "UTC", "", None).is_err());
        assert!(ns(Some(TimeUnit::Micros), "UTC", "-5", None).is_err());
    }

    #[test]
    fn texts_with_and_without_an_offset() {
        for text in [
            "2024-01-02T14:30:00.123456789Z",
            "2024-01-02 14:30:00.123456789Z",
            "2024-01-02T09:30:00.123456789-05:00",
            "2024-01-02 15:30:00.123456789+01",
        ] {
            assert_eq!(ns(None, "Asia/Tokyo", text, None), Ok(AT), "{text}");
        }
        for text in ["2024-01-02 09:30:00.123456789", "2024-01-02T09:30:00.123456789", "20240102T093000.123456789"] {
            assert_eq!(ns(Some(TimeUnit::Text), "America/New_York", text, None), Ok(AT), "{text}");
            assert_eq!(ns(None, "America/New_York", text, None), Ok(AT), "{text}");
        }
        for bad in ["2024-01-02", "14:30", "2024-13-02T00:00:00", "x", "2024-01-02T25:00:00Z", "1969-12-31T23:59:59Z"] {
            assert!(ns(None, "UTC", bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_of_a_day() {
        let new_york = "America/New_York";
        assert_eq!(ns(None, new_york, "09:30:00.123456789", Some("2024-01-02")), Ok(AT));
        assert_eq!(ns(Some(TimeUnit::Seconds), new_york, "34200.123456789", Some("20240102")), Ok(AT));
        assert_eq!(ns(Some(TimeUnit::Nanos), new_york, "34200123456789", Some("2024-01-02")), Ok(AT));
        assert_eq!(ns(None, new_york, "34200", Some("2024-01-02")), Err(TimeError::OfDay));
        assert_eq!(ns(Some(TimeUnit::Seconds), new_york, "86400", Some("2024-01-02")), Err(TimeError::OfDay));
        assert_eq!(ns(None, new_york, "09:30:00", Some("2024-02-30")), Err(TimeError::Day));
        assert_eq!(ns(None, new_york, "24:30:00", Some("2024-02-03")), Err(TimeError::OfDay));
        // The day on which clocks went forward: 09:30 was four hours behind UTC, not five.
        assert_eq!(ns(Some(TimeUnit::Seconds), new_york, "34200", Some("2024-03-10")), Ok(1_710_077_400_000_000_000));
        // One clock, minute after minute and back, equals a new one for each.
        let mut one = clock(None, new_york);
        for text in ["01:59:59.5", "02:00:00", "03:00:00.25", "01:59:59.5", "23:59:59.999999999"] {
            for day in ["2024-03-10", "2024-11-03"] {
                let got = one.instant(text.as_bytes(), Some(day.as_bytes())).map(|at| at.0);
                assert_eq!(got, ns(None, new_york, text, Some(day)), "{day} {text}");
            }
        }
    }
}
