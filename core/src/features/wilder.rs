//! Wilder's smoothing, and what is made of it alone: RSI and ATR.
//!
//! `w[N-1]` = mean of the first N inputs, `w[i] = (w[i-1] (N - 1) + x[i]) / N`.
//!
//! - [`Rsi`]: `100 U / (U + D)`, U and D the smoothed rises and falls of the close; 50 where the close has not moved at
//!   all (TA-Lib: 0).
//! - Average true range: the smoothed [`true_range`] `max(high, before) - min(low, before)`, `before` the close before.
//!
//! Source: J. Welles Wilder, *New Concepts in Technical Trading Systems* (1978). Equal to `RSI` and `ATR` of TA-Lib.

use super::closed::ClosedBar;
use bytemuck::{Pod, Zeroable};

/// A smoothed value. Its length N is the caller's: one state, one N.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Wilder {
    /// Sum of the inputs before N of them, then the smoothed value.
    value: f64,
    /// Inputs so far.
    count: u64,
}

impl Wilder {
    /// Takes a finite `x` in. O(1), one division.
    #[inline]
    pub fn update(&mut self, n: u32, x: f64) {
        self.count += 1;
        self.value = smoothed(self.count, n, self.value, x);
    }

    /// The smoothed value; `None` before `n` inputs.
    #[inline]
    #[must_use]
    pub fn value(&self, n: u32) -> Option<f64> {
        (self.count >= u64::from(n)).then_some(self.value)
    }
}

/// `value` after the input `x`, which is the `count`-th. A branch that never changes once it is warm, instead of two choices.
#[inline]
fn smoothed(count: u64, n: u32, value: f64, x: f64) -> f64 {
    if count > u64::from(n) {
        (value * f64::from(n - 1) + x) / f64::from(n)
    } else if count == u64::from(n) {
        (value + x) / f64::from(n)
    } else {
        value + x
    }
}

/// Relative strength index.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Rsi {
    /// As [`Wilder`] has them, of the same steps.
    rises: f64,
    falls: f64,
    /// Steps so far.
    count: u64,
    /// Always 0.
    reserved: u64,
}

impl Rsi {
    /// Takes the step from one close to the next in. O(1), two divisions.
    #[inline]
    pub fn update(&mut self, n: u32, change: f64) {
        self.count += 1;
        self.rises = smoothed(self.count, n, self.rises, change.max(0.0));
        self.falls = smoothed(self.count, n, self.falls, (-change).max(0.0));
    }

    /// 0 to 100; `None` before `n` steps.
    #[inline]
    #[must_use]
    pub fn value(&self, n: u32) -> Option<f64> {
        if self.count < u64::from(n) {
            return None;
        }
        let both = self.rises + self.falls;
        Some(if both > 0.0 { self.rises / both * 100.0 } else { 50.0 })
    }
}

/// How far a price went in `bar`, the gap from the close before it included, in 1e-9.
#[inline]
#[must_use]
pub fn true_range(before: i64, bar: &ClosedBar) -> i64 {
    bar.high.max(before) - bar.low.min(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut wilder = Wilder::default();
        let mut seen = Vec::new();
        for x in [3.0, 6.0, 9.0, 12.0, 0.0] {
            wilder.update(3, x);
            seen.push(wilder.value(3));
        }
        assert_eq!(seen, [None, None, Some(6.0), Some(8.0), Some(16.0 / 3.0)]);

        let mut rsi = Rsi::default();
        for change in [1.0, -1.0, 2.0] {
            assert_eq!(rsi.value(3), None);
            rsi.update(3, change);
        }
        assert_eq!(rsi.value(3), Some(75.0), "3 up, 1 down");
        let mut still = Rsi::default();
        (0..3).for_each(|_| still.update(3, 0.0));
        assert_eq!(still.value(3), Some(50.0));

        let bar = |high, low| ClosedBar { high, low, ..ClosedBar::default() };
        assert_eq!(true_range(10, &bar(12, 9)), 3);
        assert_eq!(true_range(5, &bar(12, 9)), 7, "a gap up");
        assert_eq!(true_range(20, &bar(12, 9)), 11, "a gap down");
    }
}
