//! Time zones by name, from the IANA's database as it is compiled in: a run does not depend on what the machine has of it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tapeline_core::limits::{TIME_NS_MAX, ZONE_TRANSITIONS_MAX};
use tapeline_core::units::UnixNanos;
use tapeline_core::zone::Zone;

/// The offsets of a zone from 1970 to the end of time; `None` when there is none of that name.
pub(super) fn zone(name: &str) -> Option<Zone> {
    let zone = TimeZone::get(name).ok()?;
    let ns = |at: Timestamp| u64::try_from(at.as_nanosecond()).ok().filter(|ns| *ns <= TIME_NS_MAX);
    let transitions: Vec<(UnixNanos, i32)> = zone
        .following(Timestamp::UNIX_EPOCH)
        .map_while(|next| Some((UnixNanos(ns(next.timestamp())?), next.offset().seconds())))
        .take(ZONE_TRANSITIONS_MAX)
        .collect();
    Zone::new(zone.to_offset(Timestamp::UNIX_EPOCH).seconds(), &transitions).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_zone() {
        let at = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
        let new_york = zone("America/New_York").unwrap();
        // Clocks went forward on 2024-03-10 at 7:00 UTC, and back on 2024-11-03 at 6:00 UTC.
        for (second, hours) in
            [(0, -5), (1_710_053_999, -5), (1_710_054_000, -4), (1_730_613_599, -4), (1_730_613_600, -5)]
        {
            assert_eq!(new_york.offset_s(at(second)), hours * 3_600, "{second}");
        }
        // Still by the same rule in 2200: 1 July is summer.
        assert_eq!(new_york.offset_s(at(7_273_929_600)), -4 * 3_600);
        assert_eq!(zone("UTC"), Some(Zone::utc()));
        assert_eq!(zone("Asia/Tokyo").unwrap().offset_s(at(1_700_000_000)), 9 * 3_600);
        assert_eq!(zone("America/Atlantis"), None);
    }
}
