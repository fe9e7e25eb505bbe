//! Seasonality within the session: volume against what this time of the session usually has.
//!
//! A session (a day in the configured zone) is cut into 48 slots of half an hour of its local time. Of each slot the mean volume over earlier sessions is kept,
//! and `seasonal_volume = volume of the bar / (mean volume of the slot / bars of a slot)`: 1 is as usual, 3 three times
//! that.
//!
//! - A session counts when the symbol traded in it; a slot of it without a trade counts as 0.
//! - In the symbol's first session only slots after the one of its first trade count: what came before was not seen.
//! - Half an hour that comes twice, because clocks are set back, counts for the slot that was open when they were.
//! - Where no earlier session saw the slot, or none had volume in it, the value is not ready.
//!
//! Source: the average of intraday volume by time bucket, as in P. Jain, G. Joh, "The Dependence between Hourly Prices and
//! Trading Volume", Journal of Financial and Quantitative Analysis 23(3), 1988; traders' screens call the ratio relative
//! volume (RVOL) at time.

use super::bar::{BAR_NS, SESSION_NS};
use bytemuck::{Pod, Zeroable};

/// Slots of a session.
pub const SEASON_SLOTS: usize = 48;
/// Length of a slot in nanoseconds.
pub const SLOT_NS: u64 = SESSION_NS / SEASON_SLOTS as u64;
/// Bars of a slot.
const SLOT_BARS: f64 = (SLOT_NS / BAR_NS) as f64;

const _: () = assert!(SLOT_NS.is_multiple_of(BAR_NS), "no bar lies in two slots");

/// Volume by slot of the session.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Pod, Zeroable)]
pub struct Seasonality {
    /// Mean volume of each slot over the sessions that counted it.
    mean: [f64; SEASON_SLOTS],
    /// Volume of the open slot.
    open: f64,
    /// Number of the open slot since the epoch, plus 1; 0 = nothing traded yet.
    slot: u64,
    /// Number of the slot of the first trade since the epoch, plus 1.
    first: u64,
    /// Sessions that ended, with a trade in them.
    sessions: u32,
    /// Local time less UTC, seconds.
    offset_s: i32,
}

impl Default for Seasonality {
    fn default() -> Self {
        Self::zeroed()
    }
}

/// Slot of the session of slot `number`, counted from the epoch and from 1.
const fn of_session(number: u64) -> usize {
    ((number - 1) % SEASON_SLOTS as u64) as usize
}

impl Seasonality {
    /// Local time is that many seconds ahead of UTC from now on.
    #[inline]
    pub fn set_offset(&mut self, offset_s: i32) {
        self.offset_s = offset_s;
    }

    /// Number of the slot of a bar that ends at `end_ns`, since the epoch in local time, plus 1.
    #[inline]
    fn slot_of(&self, end_ns: u64) -> u64 {
        let local_ns = (end_ns - 1).saturating_add_signed(i64::from(self.offset_s) * 1_000_000_000);
        local_ns / SLOT_NS + 1
    }

    /// Takes the volume of a bar in that ends at `end_ns`, later than the one before. O(1); at the start of a slot, O(slots
    /// since the last trade, at most two sessions of them).
    #[inline]
    pub fn update(&mut self, end_ns: u64, volume: f64) {
        let slot = self.slot_of(end_ns).max(self.slot);
        if slot != self.slot {
            self.turn(slot);
        }
        self.open += volume;
    }

    /// Ends the open slot, and those without a trade up to `slot`.
    #[cold]
    fn turn(&mut self, slot: u64) {
        if self.slot == 0 {
            self.first = slot;
        } else {
            // Sessions without a trade do not count, so the walk leaps from the end of one to the start of another.
            let mut at = self.slot;
            while at < slot {
                self.end_slot(at);
                at += 1;
                if of_session(at) == 0 {
                    self.sessions += 1;
                    at = slot - of_session(slot) as u64;
                }
            }
        }
        self.slot = slot;
    }

    /// The open slot's volume goes into its mean. The next one begins with none.
    fn end_slot(&mut self, at: u64) {
        let volume = core::mem::take(&mut self.open);
        // What lies before the first trade was not seen, and its own slot not from its start.
        if at > self.first {
            let slot = of_session(at);
            let mean = &mut self.mean[slot];
            // This session is one more than those that ended; the first one counts for later slots only.
            let seen = self.sessions + 1 - u32::from(slot <= of_session(self.first));
            *mean += (volume - *mean) / f64::from(seen);
        }
    }

    /// Volume of a bar against the mean of its slot, a ratio; `None` where there is none yet. `end_ns` is the end of the bar,
    /// not before that of the last update.
    #[inline]
    #[must_use]
    pub fn value(&self, end_ns: u64, volume: f64) -> Option<f64> {
        if end_ns == 0 {
            return None;
        }
        let slot = of_session(self.slot_of(end_ns));
        let mean = self.mean[slot];
        (mean > 0.0).then(|| volume / mean * SLOT_BARS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut season = Seasonality::default();
        let bar = |day: u64, slot: u64| day * SESSION_NS + slot * SLOT_NS + BAR_NS;
        season.update(bar(10, 20), 500.0);
        season.update(bar(10, 21), 100.0);
        season.update(bar(10, 21) + BAR_NS, 80.0);
        season.update(bar(10, 23), 90.0);
        assert_eq!(season.value(bar(10, 21), 1.0), Some(10.0), "180 a slot, of 1,800 bars");
        assert_eq!(season.value(bar(10, 23), 1.0), None, "this session's own slot has not ended");
        // A weekend without a trade, and a session that begins earlier.
        season.update(bar(13, 0), 360.0);
        assert_eq!(season.value(bar(13, 20), 1.0), None, "the slot of the first trade was not whole");
        assert_eq!(season.value(bar(13, 22), 1.0), None, "no volume in it");
        assert_eq!(season.value(bar(13, 23), 1.0), Some(20.0));
        assert_eq!(season.value(bar(13, 0), 1.0), None);
        season.update(bar(13, 20), 18.0);
        season.update(bar(13, 21), 540.0);
        season.update(bar(14, 1), 1.0);
        assert_eq!(
            season.value(bar(14, 0), 2.0),
            Some(20.0),
            "the mean of 360 and of this session's 0, which has ended"
        );
        assert_eq!(season.value(bar(14, 20), 1.0), Some(100.0));
        assert_eq!(season.value(bar(14, 21), 1.0), Some(5.0), "the mean of 180 and 540");
        assert_eq!(season.value(bar(14, 23), 1.0), Some(40.0), "the mean of 90 and 0");
    }

    /// A zone whose clocks are set: the slots are those of local time, and none is counted twice.
    #[test]
    fn slots_are_of_local_time() {
        let mut season = Seasonality::default();
        let bar = |day: u64, slot: u64| day * SESSION_NS + slot * SLOT_NS + BAR_NS;
        season.set_offset(-5 * 3_600);
        season.update(bar(10, 20), 1.0);
        season.update(bar(10, 29), 180.0);
        // The next day at the same local time, an hour earlier by UTC.
        season.update(bar(11, 10), 1.0);
        season.set_offset(-4 * 3_600);
        assert_eq!(season.value(bar(11, 27), 1.0), Some(10.0));
        // Set back: the hour comes again, and goes into the slot that was open.
        season.update(bar(11, 27), 40.0);
        season.set_offset(-5 * 3_600);
        season.update(bar(11, 28), 50.0);
        season.update(bar(11, 30), 1.0);
        assert_eq!(season.value(bar(12, 29), 1.0), Some(1_800.0 / 135.0), "the mean of 180 and 90");
    }

    /// Against sums over every slot of every session.
    #[test]
    fn means_equal_those_of_the_whole_past() {
        let mut prng = crate::testing::Prng::new(3);
        let mut season = Seasonality::default();
        let mut bars: Vec<(u64, f64)> = Vec::new();
        let mut end = 19_943 * SESSION_NS + 5 * SLOT_NS;
        for _ in 0..600 {
            end += match prng.index(20) {
                0 => SESSION_NS + prng.in_range(0..5) * SLOT_NS,
                1..=9 => prng.in_range(1..8) * SLOT_NS,
                _ => BAR_NS,
            };
            let volume = 1.0 + prng.index(100) as f64;
            season.update(end, volume);
            bars.push((end, volume));
            let slot_of = |end: u64| (end - 1) / SLOT_NS;
            let (first, now) = (slot_of(bars[0].0), slot_of(end));
            let mut days: Vec<u64> = bars.iter().map(|bar| slot_of(bar.0) / 48).collect();
            days.dedup();
            for slot in 0..48 {
                let seen: Vec<f64> = days
                    .iter()
                    .map(|day| day * 48 + slot)
                    .filter(|slot| *slot > first && *slot < now)
                    .map(|slot| bars.iter().filter(|bar| slot_of(bar.0) == slot).map(|bar| bar.1).sum())
                    .collect();
                let mean = seen.iter().sum::<f64>() / seen.len() as f64;
                let expected = (mean > 0.0).then(|| 7.0 * SLOT_BARS / mean);
                let value = season.value(end / SESSION_NS * SESSION_NS + slot * SLOT_NS + BAR_NS, 7.0);
                assert_eq!(value.is_some(), expected.is_some(), "slot {slot} of {end}");
                if let (Some(value), Some(expected)) = (value, expected) {
                    assert!((value / expected - 1.0).abs() < 1e-12, "slot {slot} of {end}: {value} and {expected}");
                }
            }
        }
    }
}
