//! Volatility of log returns.
//!
//! - [`Realised`]: `sqrt(sum(r[i]^2))` over the returns of a session. Source: T. Andersen, T. Bollerslev, F. Diebold,
//!   P. Labys, "Modeling and Forecasting Realized Volatility", Econometrica 71(2), 2003.
//! - [`Ewma`]: `var[0] = r[0]^2`, `var[i] = lambda * var[i-1] + (1 - lambda) * r[i]^2`, its square root, with
//!   `lambda = 0.94`. Source: J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th edition (1996), section 5.2.
//! - [`Ranges`], over the last 20 bars with open O, high H, low L, close C:
//!   - Parkinson `sqrt(mean(ln(H/L)^2) / (4 ln 2))`. Source: M. Parkinson, "The Extreme Value Method for Estimating the
//!     Variance of the Rate of Return", Journal of Business 53(1), 1980.
//!   - Garman-Klass `sqrt(mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))`. Source: M. Garman, M. Klass, "On the Estimation
//!     of Security Price Volatilities from Historical Data", Journal of Business 53(1), 1980, their second estimator
//!     as it is commonly used.
//!
//! None is annualised: the first is in units of the return of the session so far, the others in those of one bar.

use super::closed::ClosedBar;
use super::returns::log_return;
use super::window::Sum;
use bytemuck::{Pod, Zeroable};
use core::f64::consts::LN_2;

/// Realised volatility since its state was zeroed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Realised {
    /// Sum of squared returns.
    sum: f64,
    /// Returns so far.
    count: u64,
}

impl Realised {
    /// Returns before the value is ready: with 20, the relative standard error of a volatility, about
    /// `1 / sqrt(2 n)`, is 16 %.
    pub const WARM_UP: u64 = 20;

    /// Takes a return in. O(1).
    #[inline]
    pub fn update(&mut self, r: f64) {
        self.sum += r * r;
        self.count += 1;
    }

    /// The volatility, dimensionless; `None` before [`Realised::WARM_UP`] returns. One square root.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count >= Self::WARM_UP).then(|| self.sum.sqrt())
    }
}

/// Exponentially weighted volatility (RiskMetrics).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Ewma {
    /// Weighted mean of squared returns; 0 before the first.
    variance: f64,
    /// Returns so far.
    count: u64,
}

impl Ewma {
    /// Decay factor.
    pub const LAMBDA: f64 = 0.94;
    /// Returns before the value is ready: N of the EMA with the same factor, `2 / (1 - lambda) - 1`, rounded up.
    pub const WARM_UP: u64 = 33;

    /// Takes a return in. O(1).
    #[inline]
    pub fn update(&mut self, r: f64) {
        let square = r * r;
        self.variance =
            if self.count == 0 { square } else { Self::LAMBDA * self.variance + (1.0 - Self::LAMBDA) * square };
        self.count += 1;
    }

    /// The volatility per bar, dimensionless; `None` before [`Ewma::WARM_UP`] returns. One square root.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count >= Self::WARM_UP).then(|| self.variance.sqrt())
    }
}

/// Volatility from the ranges of bars.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Ranges {
    /// ln(H/L)^2.
    parkinson: Sum,
    /// Garman and Klass's variance of one bar.
    garman_klass: Sum,
}

impl Ranges {
    /// Bars of the mean.
    pub const BARS: u32 = 20;

    /// Takes a bar in. O(1); two logarithms, none for a bar of one price.
    #[inline]
    pub fn update(&mut self, bar: &ClosedBar) {
        let (range, body) = if bar.high > bar.low {
            (log_return(bar.low, bar.high), log_return(bar.open, bar.close))
        } else {
            (0.0, 0.0)
        };
        let square = range * range;
        self.parkinson.update(Self::BARS, square);
        // The body is within the range, so that this is not below 0.
        self.garman_klass.update(Self::BARS, (0.5 * square - (2.0 * LN_2 - 1.0) * (body * body)).max(0.0));
    }

    /// Parkinson's volatility per bar, dimensionless; `None` before [`Ranges::BARS`] bars. One square root.
    #[inline]
    #[must_use]
    pub fn parkinson(&self) -> Option<f64> {
        self.parkinson.mean(Self::BARS).map(|mean| (mean / (4.0 * LN_2)).sqrt())
    }

    /// Garman and Klass's volatility per bar, dimensionless; `None` before [`Ranges::BARS`] bars. One square root.
    #[inline]
    #[must_use]
    pub fn garman_klass(&self) -> Option<f64> {
        self.garman_klass.mean(Self::BARS).map(f64::sqrt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_hand() {
        let mut ranges = Ranges::default();
        for i in 0..Ranges::BARS {
            assert_eq!((ranges.parkinson(), ranges.garman_klass()), (None, None), "{i}");
            // Half of the bars are of one price; the others span a factor of two and close half a factor up.
            let bar = if i % 2 == 0 { (100, 100, 100, 100) } else { (100, 200, 100, 200) };
            ranges.update(&ClosedBar { open: bar.0, high: bar.1, low: bar.2, close: bar.3, ..ClosedBar::default() });
        }
        assert!((ranges.parkinson().unwrap() - (LN_2 / 8.0).sqrt()).abs() < 1e-15);
        let variance = 0.5 * (0.5 - (2.0 * LN_2 - 1.0)) * LN_2 * LN_2;
        assert!((ranges.garman_klass().unwrap() - variance.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn by_hand() {
        let (mut realised, mut ewma) = (Realised::default(), Ewma::default());
        for i in 0..Ewma::WARM_UP {
            assert_eq!(realised.value().is_some(), i >= Realised::WARM_UP);
            assert_eq!(ewma.value(), None);
            let r = if i % 2 == 0 { 0.25 } else { -0.25 };
            realised.update(r);
            ewma.update(r);
        }
        assert_eq!(realised.value(), Some((33.0f64 / 16.0).sqrt()));
        assert!((ewma.value().unwrap() - 0.25).abs() < 1e-15, "a constant square is its own mean");
        ewma.update(0.5);
        assert!((ewma.value().unwrap() - (0.94f64 * 0.0625 + 0.06 * 0.25).sqrt()).abs() < 1e-15);
    }
}
