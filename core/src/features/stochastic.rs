//! Stochastic oscillator and Williams %R: where the close stands in the range of the last N bars.
//!
//! With H the highest high and L the lowest low of N bars and C the close:
//! `%K = 100 (C - L) / (H - L)`, `%D` = mean of the last three `%K`, `%R = -100 (H - C) / (H - L)`. Where H = L, `%K` is
//! 50 and `%R` -50 (TA-Lib: 0).
//!
//! Sources: G. Lane, "Lane's Stochastics", Technical Analysis of Stocks & Commodities 2(3), 1984 (the fast form); L.
//! Williams, *How I Made One Million Dollars Last Year Trading Commodities* (1973). Equal to `STOCHF` (14, 3) and `WILLR`
//! of TA-Lib.

use super::window::Extremes;
use bytemuck::{Pod, Zeroable};

/// Bars of the range.
pub const STOCHASTIC_BARS: u32 = 14;
/// Values of %K in %D.
pub const STOCHASTIC_MEAN: u32 = 3;

/// The range and the latest values of %K.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Stochastic {
    range: Extremes,
    /// %K, the latest first.
    k: [f64; STOCHASTIC_MEAN as usize],
    /// Values of %K so far.
    count: u64,
}

impl Stochastic {
    /// Takes a bar in, prices in 1e-9. O(1), one division.
    #[inline]
    pub fn update(&mut self, high: i64, low: i64, close: i64) {
        self.range.update(STOCHASTIC_BARS, high, low);
        if let Some((high, low)) = self.range.value(STOCHASTIC_BARS) {
            let width = (high - low) as f64;
            let k = if high > low { (close - low) as f64 / width * 100.0 } else { 50.0 };
            self.k = [k, self.k[0], self.k[1]];
            self.count += 1;
        }
    }

    /// %K, 0 to 100; `None` before [`STOCHASTIC_BARS`] bars.
    #[inline]
    #[must_use]
    pub fn k(&self) -> Option<f64> {
        (self.count != 0).then_some(self.k[0])
    }

    /// %D, 0 to 100; `None` before there were [`STOCHASTIC_MEAN`] values of %K.
    #[inline]
    #[must_use]
    pub fn d(&self) -> Option<f64> {
        (self.count >= u64::from(STOCHASTIC_MEAN)).then(|| (self.k[2] + self.k[1] + self.k[0]) / 3.0)
    }

    /// Williams %R, -100 to 0; `None` before [`STOCHASTIC_BARS`] bars.
    #[inline]
    #[must_use]
    pub fn williams_r(&self) -> Option<f64> {
        self.k().map(|k| k - 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut stochastic = Stochastic::default();
        for i in 1..STOCHASTIC_BARS as i64 {
            stochastic.update(100 + i, 100 - i, 100);
            assert_eq!((stochastic.k(), stochastic.d(), stochastic.williams_r()), (None, None, None));
        }
        // The range is 80 to 120 from here on.
        stochastic.update(120, 80, 90);
        assert_eq!((stochastic.k(), stochastic.d(), stochastic.williams_r()), (Some(25.0), None, Some(-75.0)));
        stochastic.update(110, 90, 100);
        stochastic.update(120, 110, 120);
        assert_eq!(
            (stochastic.k(), stochastic.d(), stochastic.williams_r()),
            (Some(100.0), Some(175.0 / 3.0), Some(0.0))
        );
        let mut flat = Stochastic::default();
        (0..20).for_each(|_| flat.update(7, 7, 7));
        assert_eq!((flat.k(), flat.d(), flat.williams_r()), (Some(50.0), Some(50.0), Some(-50.0)));
    }
}
