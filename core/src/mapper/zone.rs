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
    fn offsets_that_are_no_zone_are_refused() {
        let at = UnixNanos;
        assert_eq!(Zone::new(0, &[(at(5), 0), (at(5), 1)]), Err(ZoneError::Order(1)));
        assert_eq!(Zone::new(93_601, &[]), Err(ZoneError::Offset(93_601)));
        assert_eq!(Zone::new(0, &[(at(5), -93_601)]), Err(ZoneError::Offset(-93_601)));
        let many: Vec<_> = (0..=ZONE_TRANSITIONS_MAX as u64).map(|ns| (at(ns), 0)).collect();
        assert_eq!(Zone::new(0, &many), Err(ZoneError::TooMany(ZONE_TRANSITIONS_MAX + 1)));
    }
}
