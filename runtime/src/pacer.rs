//! The pacer: when each event is due.
//!
//! The schedule is anchored once. By capture time, `due = t0 + (ts - ts0) / speed`; at a constant rate,
//! `due = t0 + k / rate` for the k-th message. Deltas are never chained, so that nothing drifts, and the schedule is never
//! stretched: an event that is late goes out at once, and its lag is counted.

use tapeline_core::units::UnixNanos;

/// How fast a capture is replayed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// By capture time, this many times as fast. Above 0 and finite.
    Speed(f64),
    /// Messages a second, whatever their times. Above 0 and finite.
    Rate(f64),
    /// As fast as the engine takes them: no schedule, no response times.
    Max,
}

impl Pace {
    /// Whether there is a schedule.
    #[must_use]
    pub fn is_paced(self) -> bool {
        self != Self::Max
    }
}

/// How the messages of a rate follow each other. Not looked at without a rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// Independently of each other.
    Poisson,
}

/// The schedule of one run. Pure arithmetic: the caller brings the clock.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// Gaps longer than this are shortened to it, in ns of capture time.
    max_gap_ns: u64,
    anchor: Option<Anchor>,
    arrivals: Arrivals,
    /// Of Poisson arrivals: where the random numbers are, and the sum of the distances so far, in mean distances.
    random: u64,
    sum: f64,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    /// Run clock at the first message.
    t0_ns: u64,
    /// Capture time of the first message, plus all that gaps were shortened by.
    ts0: u64,
    /// Capture time of the message before.
    last_ts: u64,
    /// Messages before this one.
    messages: u64,
}

impl Pacer {
    /// A schedule that is anchored by its first message.
    ///
    /// # Panics
    /// When a speed or rate is not above 0 and finite.
    #[must_use]
    pub fn new(pace: Pace, max_gap_ns: Option<u64>) -> Self {
        if let Pace::Speed(factor) | Pace::Rate(factor) = pace {
            assert!(factor > 0.0 && factor.is_finite(), "speed and rate are above 0, not {factor}");
        }
        Self {
            pace,
            max_gap_ns: max_gap_ns.unwrap_or(u64::MAX),
            anchor: None,
            arrivals: Arrivals::Constant,
            random: 0,
            sum: 0.0,
        }
    }

    /// The same with these arrivals, which go by `seed` where they are random.
    #[must_use]
    pub fn with_arrivals(self, arrivals: Arrivals, seed: u64) -> Self {
        Self { arrivals, random: seed, ..self }
    }

    /// Whether there is a schedule.
    #[inline]
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.pace.is_paced()
    }

    /// Whether the first message has been seen.
    #[inline]
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        self.anchor.is_some()
    }

    /// When the next message is due on the run clock. `ts` is its capture time and never runs back; `now_ns` is the run
    /// clock, which anchors the schedule at the first message. Call once for each message, in order. O(1).
    #[inline]
    pub fn due_ns(&mut self, ts: UnixNanos, now_ns: u64) -> u64 {
        let anchor = self.anchor.get_or_insert(Anchor { t0_ns: now_ns, ts0: ts.0, last_ts: ts.0, messages: 0 });
        let gap_ns = ts.0.saturating_sub(anchor.last_ts);
        if gap_ns > self.max_gap_ns {
            anchor.ts0 += gap_ns - self.max_gap_ns;
        }
        anchor.last_ts = anchor.last_ts.max(ts.0);
        let message = anchor.messages;
        anchor.messages += 1;
        match self.pace {
            // f64 holds 104 days of nanoseconds exactly; beyond, it is off by a few ns and still does not drift.
            Pace::Speed(1.0) => anchor.t0_ns.saturating_add(anchor.last_ts - anchor.ts0),
            Pace::Speed(speed) => anchor.t0_ns.saturating_add(((anchor.last_ts - anchor.ts0) as f64 / speed) as u64),
            Pace::Rate(rate) if self.arrivals == Arrivals::Poisson => {
                let due = anchor.t0_ns.saturating_add((self.sum * 1e9 / rate) as u64);
                self.sum += exponential(&mut self.random);
                due
            }
            Pace::Rate(rate) => anchor.t0_ns.saturating_add((message as f64 * 1e9 / rate) as u64),
            Pace::Max => now_ns,
        }
    }
}

/// A number of the exponential distribution with mean 1, by inversion, from SplitMix64 (Steele, Lea and Flood 2014).
fn exponential(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^= word >> 31;
    // 53 bits, and never 0.
    let uniform = ((word >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -libm::log(uniform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_long_schedule_drifts_by_nothing() {
        for speed in [0.5, 1.0, 2.0, 10.0, 3.0] {
            let mut pacer = Pacer::new(Pace::Speed(speed), None);
            let (mut ts, mut due) = (1_700_000_000_000_000_000, 0);
            let start = ts;
            for _ in 0..3_600_000 {
                due = pacer.due_ns(UnixNanos(ts), 1_000);
                ts += 1_000_003;
            }
            let exact = 1_000 + ((ts - 1_000_003 - start) as f64 / speed) as u64;
            assert_eq!(due, exact, "speed {speed}");
        }
        let mut pacer = Pacer::new(Pace::Rate(100_000.0), None);
        let dues: Vec<u64> = (0..360_000).map(|_| pacer.due_ns(UnixNanos(5), 7)).collect();
        assert_eq!(dues[0], 7);
        assert_eq!(dues[359_999], 7 + 359_999 * 10_000);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_come_in_bursts() {
        let mut pacer = Pacer::new(Pace::Rate(50_000.0), None).with_arrivals(Arrivals::Poisson, 7);
        let dues: Vec<u64> = (0..200_000).map(|_| pacer.due_ns(UnixNanos(5), 1_000)).collect();
        assert_eq!(dues[0], 1_000, "anchored at the first");
        assert!(dues.is_sorted());
        // 200,000 distances of 20 us: four seconds, off by the root of their number.
        let span = dues[199_999] - dues[0];
        assert!(span.abs_diff(4_000_000_000) < 4 * 447 * 20_000, "{span}");
        let gaps: Vec<u64> = dues.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let share = |most: u64| gaps.iter().filter(|gap| **gap < most).count() as f64 / gaps.len() as f64;
        // 1 - exp(-x) of the distances are below x times their mean.
        for (most, expected) in [(2_000, 0.0952), (20_000, 0.6321), (60_000, 0.9502)] {
            assert!((share(most) - expected).abs() < 0.005, "{most}: {}", share(most));
        }
        let mut again = Pacer::new(Pace::Rate(50_000.0), None).with_arrivals(Arrivals::Poisson, 7);
        assert!(dues.iter().all(|due| again.due_ns(UnixNanos(9), 1_000) == *due), "the same for the same seed");
    }

    #[test]
    fn lateness_does_not_stretch_the_schedule() {
        let mut pacer = Pacer::new(Pace::Speed(1.0), None);
        pacer.due_ns(UnixNanos(100), 50);
        assert_eq!(pacer.due_ns(UnixNanos(200), 1_000_000), 150, "the clock is only looked at once");
        assert_eq!(pacer.due_ns(UnixNanos(150), 1_000_000), 150, "time does not run back");
    }

    #[test]
    fn max_gap_shortens_gaps_for_pacing_only() {
        let mut pacer = Pacer::new(Pace::Speed(2.0), Some(1_000));
        assert_eq!(pacer.due_ns(UnixNanos(0), 0), 0);
        assert_eq!(pacer.due_ns(UnixNanos(500), 0), 250);
        assert_eq!(pacer.due_ns(UnixNanos(1_000_500), 0), 750);
        assert_eq!(pacer.due_ns(UnixNanos(1_000_600), 0), 800);
    }
}
