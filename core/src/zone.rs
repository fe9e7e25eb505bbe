//! Local time from a table of offsets: what a time zone is to the core, which knows no names of zones.

use crate::limits::ZONE_TRANSITIONS_MAX;
use crate::units::UnixNanos;

const SECOND_NS: u64 = 1_000_000_000;
/// Seconds of a day.
pub const DAY_S: u32 = 86_400;
/// Seconds of a week.
pub const WEEK_S: u32 = 7 * DAY_S;
/// The largest offset from UTC, in seconds: a little more than a day, as in RFC 8536.
const OFFSET_S_MAX: i32 = 26 * 3_600;

/// Offsets from UTC, each from an instant on. Made once, at start, from the name of a zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Zone {
    /// Before the first transition, seconds east of UTC.
    first_s: i32,
    /// From that instant on (ns since the UNIX epoch), so many seconds east of UTC. In rising order.
    transitions: Box<[(u64, i32)]>,
}

/// Why offsets are no zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// More transitions than [`ZONE_TRANSITIONS_MAX`].
    #[error("a zone has at most {ZONE_TRANSITIONS_MAX} transitions, not {0}")]
    TooMany(usize),
    /// Transitions are not in rising order.
    #[error("transition {0} of the zone is not after the one before")]
    Order(usize),
    /// An offset of more than 26 hours.
    #[error("an offset from UTC is at most 26 hours, not {0} seconds")]
    Offset(i32),
}

impl Zone {
    /// The zone with offset `first_s` (seconds east of UTC) before the first of `transitions`, and from each of them on its own.
    ///
    /// # Errors
    /// [`ZoneError`] that names the first fault.
    pub fn new(first_s: i32, transitions: &[(UnixNanos, i32)]) -> Result<Self, ZoneError> {
        if transitions.len() > ZONE_TRANSITIONS_MAX {
            return Err(ZoneError::TooMany(transitions.len()));
        }
        if let Some(index) = transitions.windows(2).position(|pair| pair[0].0 >= pair[1].0) {
            return Err(ZoneError::Order(index + 1));
        }
        let mut offsets = transitions.iter().map(|(_, offset)| *offset).chain([first_s]);
        if let Some(offset) = offsets.find(|offset| offset.abs() > OFFSET_S_MAX) {
            return Err(ZoneError::Offset(offset));
        }
        Ok(Self { first_s, transitions: transitions.iter().map(|(at, offset)| (at.0, *offset)).collect() })
    }

    /// Coordinated Universal Time: no offset, ever.
    #[must_use]
    pub fn utc() -> Self {
        Self::default()
    }

    /// Seconds east of UTC at `at`. O(log transitions).
    #[must_use]
    pub fn offset_s(&self, at: UnixNanos) -> i32 {
        let after = self.transitions.partition_point(|(from, _)| *from <= at.0);
        after.checked_sub(1).map_or(self.first_s, |index| self.transitions[index].1)
    }

    /// Seconds since the last Monday, 0:00 local time, at `at`: 0 to [`WEEK_S`] - 1. O(log transitions).
    #[must_use]
    pub fn second_of_week(&self, at: UnixNanos) -> u32 {
        // 1970-01-01 was a Thursday.
        const THURSDAY_S: i64 = 3 * DAY_S as i64;
        let local = (at.0 / SECOND_NS) as i64 + i64::from(self.offset_s(at)) + THURSDAY_S;
        local.rem_euclid(i64::from(WEEK_S)) as u32
    }

    /// End of the local day of `at`: the first instant after it that is 0:00 local time of the next day, or later on a day that
    /// begins later; [`UnixNanos::UNKNOWN`] where u64 does not hold it. O(log transitions).
    #[must_use]
    pub fn day_end(&self, at: UnixNanos) -> UnixNanos {
        let day_s = i64::from(DAY_S);
        let second = (at.0 / SECOND_NS) as i64;
        let mut next = self.transitions.partition_point(|(from, _)| *from <= at.0);
        let mut offset_s = i64::from(self.offset_s(at));
        let midnight = ((second + offset_s).div_euclid(day_s) + 1) * day_s;
        let mut from = 0;
        loop {
            let end = u64::try_from(midnight - offset_s).unwrap_or(0).saturating_mul(SECOND_NS).max(from);
            match self.transitions.get(next) {
                // The clock is set before, or just when, it shows midnight.
                Some((until, after_s)) if *until <= end => {
                    (from, offset_s, next) = (*until, i64::from(*after_s), next + 1);
                }
                _ => return UnixNanos(end),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New York in 2024: EST, then EDT from 10 March 7:00 UTC, then EST from 3 November 6:00 UTC.
    fn new_york() -> Zone {
        let at = |s: u64| UnixNanos(s * SECOND_NS);
        Zone::new(-5 * 3_600, &[(at(1_710_054_000), -4 * 3_600), (at(1_730_613_600), -5 * 3_600)]).unwrap()
    }

    #[test]
    fn local_time_follows_the_offsets_and_the_week_begins_on_monday() {
        let (utc, zone) = (Zone::utc(), new_york());
        let at = |s: u64| UnixNanos(s * SECOND_NS);
        assert_eq!(utc.second_of_week(at(0)), 3 * DAY_S, "1970-01-01 was a Thursday");
        assert_eq!(utc.second_of_week(at(4 * 86_400 - 1)), WEEK_S - 1);
        assert_eq!(utc.second_of_week(at(4 * 86_400)), 0);
        // Friday 2024-03-08, 9:30 in New York, and Monday the 11th: one hour less of UTC.
        let (friday, monday) = (1_709_908_200, 1_710_163_800);
        assert_eq!(zone.second_of_week(at(friday)), 4 * DAY_S + 34_200);
        assert_eq!(zone.second_of_week(at(monday)), 34_200);
        assert_eq!(zone.offset_s(at(1_710_054_000 - 1)), -18_000);
        assert_eq!(zone.offset_s(at(1_710_054_000)), -14_400);
        // Before the epoch in local time.
        assert_eq!(zone.second_of_week(at(0)), 3 * DAY_S - 5 * 3_600);
        assert_eq!(
            zone.second_of_week(UnixNanos(u64::MAX)),
            Zone::new(-18_000, &[]).unwrap().second_of_week(UnixNanos(u64::MAX))
        );
    }

    #[test]
    fn days_end_at_local_midnight() {
        let at = |s: u64| UnixNanos(s * SECOND_NS);
        let (utc, zone) = (Zone::utc(), new_york());
        let end = |zone: &Zone, s: u64| zone.day_end(at(s)).0 / SECOND_NS;
        assert_eq!((end(&utc, 0), end(&utc, 86_399), end(&utc, 86_400)), (86_400, 86_400, 172_800));
        assert_eq!(utc.day_end(UnixNanos(u64::MAX)), UnixNanos(u64::MAX));
        assert_eq!((end(&zone, 0), end(&zone, 5 * 3_600)), (5 * 3_600, 29 * 3_600), "1969-12-31, 19:00 in New York");
        // 2024-03-10 has 23 hours, 2024-11-03 has 25.
        assert_eq!(end(&zone, 1_710_046_800), 1_710_046_800 + 23 * 3_600);
        assert_eq!(end(&zone, 1_730_606_400), 1_730_606_400 + 25 * 3_600);
        // Clocks that are set at midnight: forward, when the day begins at 1:00; back, when 23:00 comes twice.
        let set = |to_s| Zone::new(0, &[(at(86_400), to_s)]).unwrap();
        assert_eq!((end(&set(3_600), 80_000), end(&set(3_600), 86_400)), (86_400, 86_400 + 23 * 3_600));
        assert_eq!((end(&set(-3_600), 80_000), end(&set(-3_600), 86_400)), (90_000, 90_000));
    }

    /// Against a search second by second, in zones whose clocks are set all the time.
    #[test]
    fn days_end_where_a_search_finds_it() {
        let mut prng = crate::testing::Prng::new(7);
        for _ in 0..40 {
            let mut offset = || [-36_000, -12_600, -3_600, 0, 1_800, 3_600, 20_700, 43_200][prng.index(8)];
            let first = offset();
            let offsets: Vec<i32> = (0..4).map(|_| offset()).collect();
            let mut from = 200_000;
            let transitions = offsets.iter().map(|offset| {
                from += prng.in_range(1..200_000);
                (UnixNanos(from * SECOND_NS), *offset)
            });
            let zone = Zone::new(first, &transitions.collect::<Vec<_>>()).unwrap();
            let day = |s: u64| (s as i64 + i64::from(zone.offset_s(UnixNanos(s * SECOND_NS)))).div_euclid(86_400);
            for _ in 0..5 {
                let second = 150_000 + prng.in_range(0..800_000);
                let found = (second + 1..).find(|later| day(*later) > day(second)).unwrap();
                assert_eq!(zone.day_end(UnixNanos(second * SECOND_NS + 5)), UnixNanos(found * SECOND_NS), "{zone:?}");
            }
        }
    }

    #[test]
    fn offsets_that_are_no_zone_are_refused() {
        let at = UnixNanos;
        assert_eq!(Zone::new(0, &[(at(5), 0), (at(5), 1)]), Err(ZoneError::Order(1)));
        assert_eq!(Zone::new(93_601, &[]), Err(ZoneError::Offset(93_601)));
        assert_eq!(Zone::new(0, &[(at(5), -93_601)]), Err(ZoneError::Offset(-93_601)));
        let many: Vec<_> = (0..=ZONE_TRANSITIONS_MAX as u64).map(|ns| (at(ns), 0)).collect();
        assert_eq!(Zone::new(0, &many), Err(ZoneError::TooMany(ZONE_TRANSITIONS_MAX + 1)));
    }
}
