//! Sliding windows over the last N values, in O(1) a value and without subtraction.
//!
//! A running sum that subtracts what leaves the window keeps the rounding errors of everything that was ever in it: one
//! absurd value spoils it for good. Here nothing is subtracted. The slots of a window are filled in laps; when a lap is
//! full, each slot is replaced by the aggregate of itself and all that came after it, and what comes next is aggregated
//! apart:
//! ```text
//! slots  [ x4 x5 | s2 s3 ]     s2 = x2 + x3, s3 = x3: the lap before, from behind
//! back     x4 + x5             window of the last four = s2 + back
//! ```
//! An update takes one operation, a value one more, and a lap N, which is one an update. What has left the window is
//! nowhere any more.
//!
//! Source: M. van Herk, "A fast algorithm for local minimum and maximum filters", Pattern Recognition Letters 13(7),
//! 1992; J. Gil, M. Werman, "Computing 2-D min, median, and max filters", IEEE PAMI 15(5), 1993. The same for any
//! associative operation: K. Tangwongsan, M. Hirzel, S. Schneider, "Low-Latency Sliding-Window Aggregation", DEBS 2017.

use bytemuck::{Pod, Zeroable};

/// The longest window.
pub const WINDOW_MAX: usize = 20;

/// Where the window stands: the same for every window that is fed together.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub(super) struct Lap {
    /// Slot of the next value, below the length.
    at: u32,
    /// Values so far, at most the length.
    count: u32,
}

impl Lap {
    /// Moves on by one value; whether the lap of `n` is full.
    #[inline]
    fn advance(&mut self, n: u32) -> bool {
        debug_assert!(n >= 1 && n as usize <= WINDOW_MAX, "Invariant: a window fits its slots: n={n}");
        self.at += 1;
        self.count = n.min(self.count + 1);
        let is_full = self.at >= n;
        self.at = if is_full { 0 } else { self.at };
        is_full
    }
}

/// Sum of the last N values. N, 1 to [`WINDOW_MAX`], is the caller's: one state, one N.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Sum {
    slots: [f64; WINDOW_MAX],
    /// Sum of this lap.
    back: f64,
    lap: Lap,
}

impl Sum {
    /// Takes a finite `x` in. O(1): over a lap of `n`, two additions a value.
    #[inline]
    pub fn update(&mut self, n: u32, x: f64) {
        self.slots[self.lap.at as usize] = x;
        self.back += x;
        if self.lap.advance(n) {
            self.back = 0.0;
            let mut behind = 0.0;
            for slot in self.slots[..n as usize].iter_mut().rev() {
                behind += *slot;
                *slot = behind;
            }
        }
    }

    /// The sum of the last `n` values; `None` before there were as many.
    #[inline]
    #[must_use]
    pub fn value(&self, n: u32) -> Option<f64> {
        (self.lap.count >= n).then(|| self.slots[self.lap.at as usize] + self.back)
    }

    /// The mean of the last `n` values; `None` before there were as many.
    #[inline]
    #[must_use]
    pub fn mean(&self, n: u32) -> Option<f64> {
        self.value(n).map(|sum| sum / f64::from(n))
    }
}

/// Highest of the last N highs and lowest of the last N lows, in 1e-9. N, 1 to [`WINDOW_MAX`], is the caller's.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Extremes {
    highs: [i64; WINDOW_MAX],
    lows: [i64; WINDOW_MAX],
    /// Highest and lowest of this lap; meaningless at its start.
    high: i64,
    low: i64,
    lap: Lap,
}

impl Extremes {
    /// Takes the high and the low of a bar in. O(1): over a lap of `n`, two comparisons for each of both.
    #[inline]
    pub fn update(&mut self, n: u32, high: i64, low: i64) {
        let at = self.lap.at as usize;
        (self.highs[at], self.lows[at]) = (high, low);
        let is_first = at == 0;
        self.high = if is_first { high } else { self.high.max(high) };
        self.low = if is_first { low } else { self.low.min(low) };
        if self.lap.advance(n) {
            let (mut above, mut below) = (high, low);
            let slots = self.highs[..n as usize].iter_mut().zip(&mut self.lows[..n as usize]);
            for (high, low) in slots.rev() {
                (above, below) = (above.max(*high), below.min(*low));
                (*high, *low) = (above, below);
            }
        }
    }

    /// Highest high and lowest low of the last `n` bars, 1e-9; `None` before there were as many.
    #[inline]
    #[must_use]
    pub fn value(&self, n: u32) -> Option<(i64, i64)> {
        if self.lap.count < n {
            return None;
        }
        let at = self.lap.at as usize;
        let (high, low) = (self.highs[at], self.lows[at]);
        Some(if at == 0 { (high, low) } else { (high.max(self.high), low.min(self.low)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Prng;

    /// Every length, against the window written out; integers, so that sums are exact.
    #[test]
    fn windows_equal_what_they_hold() {
        for n in 1..=WINDOW_MAX as u32 {
            let mut prng = Prng::new(u64::from(n));
            let (mut sum, mut extremes) = (Sum::default(), Extremes::default());
            let mut past: Vec<(i64, i64)> = Vec::new();
            for i in 0..200 {
                let low = prng.index(1_000) as i64 - 500;
                let high = low + prng.index(100) as i64;
                past.push((high, low));
                sum.update(n, high as f64);
                extremes.update(n, high, low);
                let window = &past[past.len().saturating_sub(n as usize)..];
                if window.len() < n as usize {
                    assert_eq!((sum.value(n), sum.mean(n), extremes.value(n)), (None, None, None), "{n}, {i}");
                    continue;
                }
                let total = window.iter().map(|bar| bar.0).sum::<i64>() as f64;
                assert_eq!((sum.value(n), sum.mean(n)), (Some(total), Some(total / f64::from(n))), "{n}, {i}");
                let highest = window.iter().map(|bar| bar.0).max().unwrap();
                let lowest = window.iter().map(|bar| bar.1).min().unwrap();
                assert_eq!(extremes.value(n), Some((highest, lowest)), "{n}, {i}");
            }
        }
    }

    #[test]
    fn what_has_left_the_window_leaves_no_trace() {
        let (mut sum, mut running) = (Sum::default(), 0.0);
        sum.update(3, 1e18);
        running += 1e18;
        for _ in 0..3 {
            sum.update(3, 0.1);
            running += 0.1;
        }
        running -= 1e18;
        assert_eq!(sum.value(3), Some(0.1 + 0.1 + 0.1));
        assert_eq!(running, 0.0, "a running sum has lost all three");
    }
}
