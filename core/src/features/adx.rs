//! Directional movement: +DI, -DI and the average directional index.
//!
//! Of each bar, against the one before: `up = high - high'`, `down = low' - low`; `+DM = up` if `up > down` and `up > 0`,
//! else 0, `-DM` the other way round, `TR` the true range. Each is smoothed as a sum: `s = s - s/N + x`, begun with the
//! sum of the first N - 1. Then `DI = 100 DM / TR`, `DX = 100 |+DI - -DI| / (+DI + -DI)`, and ADX is the mean of the first
//! N values of DX, then `(adx (N - 1) + dx) / N`. Where nothing moved, DI is 0 and ADX keeps its value.
//!
//! Source: J. Welles Wilder, *New Concepts in Technical Trading Systems* (1978), section 4. Equal to `PLUS_DI`,
//! `MINUS_DI` and `ADX` of TA-Lib, whose way to begin it is.

use super::closed::ClosedBar;
use super::wilder::true_range;
use bytemuck::{Pod, Zeroable};

/// N: bars that are smoothed over.
pub const ADX_BARS: u32 = 14;

/// The smoothed sums and the index.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Adx {
    /// Smoothed +DM, 1e-9.
    plus: f64,
    /// Smoothed -DM, 1e-9.
    minus: f64,
    /// Smoothed true range, 1e-9.
    range: f64,
    /// Sum of the first values of DX, then the index.
    adx: f64,
    /// Steps so far.
    count: u64,
}

impl Adx {
    /// Steps before ADX is ready.
    const READY: u64 = 2 * ADX_BARS as u64 - 1;

    /// Takes the step from the bar `before` to `bar` in. O(1), six divisions at most.
    #[inline]
    pub fn update(&mut self, before: &ClosedBar, bar: &ClosedBar) {
        let n = f64::from(ADX_BARS);
        let (up, down) = (bar.high - before.high, before.low - bar.low);
        let plus = if up > down && up > 0 { up as f64 } else { 0.0 };
        let minus = if down > up && down > 0 { down as f64 } else { 0.0 };
        let range = true_range(before.close, bar) as f64;
        self.count += 1;
        if self.count < u64::from(ADX_BARS) {
            self.plus += plus;
            self.minus += minus;
            self.range += range;
            return;
        }
        self.plus = self.plus - self.plus / n + plus;
        self.minus = self.minus - self.minus / n + minus;
        self.range = self.range - self.range / n + range;
        // The ranges cancel.
        let both = self.plus + self.minus;
        let dx = (both > 0.0 && self.range > 0.0).then(|| (self.plus - self.minus).abs() / both * 100.0);
        if self.count <= Self::READY {
            self.adx += dx.unwrap_or(0.0);
            self.adx = if self.count == Self::READY { self.adx / n } else { self.adx };
        } else if let Some(dx) = dx {
            self.adx = (self.adx * (n - 1.0) + dx) / n;
        }
    }

    /// +DI and -DI, 0 to 100; `None` before [`ADX_BARS`] steps.
    #[inline]
    #[must_use]
    pub fn directional(&self) -> Option<(f64, f64)> {
        let of = |movement: f64| if self.range > 0.0 { movement / self.range * 100.0 } else { 0.0 };
        (self.count >= u64::from(ADX_BARS)).then(|| (of(self.plus), of(self.minus)))
    }

    /// ADX, 0 to 100; `None` before `2 * ADX_BARS - 1` steps.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count >= Self::READY).then_some(self.adx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let bar = |i: i64| ClosedBar { high: 110 + i, low: 100 + i, close: 105 + i, ..ClosedBar::default() };
        let mut adx = Adx::default();
        for i in 0..40 {
            assert_eq!(adx.directional().is_some(), i >= 14, "{i}");
            assert_eq!(adx.value().is_some(), i >= 27, "{i}");
            adx.update(&bar(i), &bar(i + 1));
        }
        // One up a bar, over a true range of ten.
        let (plus, minus) = adx.directional().unwrap();
        assert!((plus - 10.0).abs() < 1e-12 && minus == 0.0);
        assert!((adx.value().unwrap() - 100.0).abs() < 1e-12);
        let still = ClosedBar { high: 5, low: 5, close: 5, ..ClosedBar::default() };
        let mut flat = Adx::default();
        (0..40).for_each(|_| flat.update(&still, &still));
        assert_eq!((flat.directional(), flat.value()), (Some((0.0, 0.0)), Some(0.0)));
        // Outside on both sides by as much: neither side moved.
        let wide = ClosedBar { high: 7, low: 3, close: 5, ..ClosedBar::default() };
        let mut outside = Adx::default();
        (0..14).for_each(|_| outside.update(&still, &wide));
        assert_eq!(outside.directional(), Some((0.0, 0.0)));
    }
}
